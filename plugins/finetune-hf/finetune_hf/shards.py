"""The files of a set, by split, and their rows, a batch at a time.

Two forms are known: what ``Dataset.save_to_disk`` writes, which are Arrow streams with JSON beside them, and Parquet,
as the hub has it. Nothing that a set brings along is ever run.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finetune.errors import DataError
from finetune_hf.configurations import choose_configuration, configurations_in, split_in
from finetune_hf.front_matter import CARD, front_matter, licence_in

ROWS_AT_ONCE = 64
"""Rows hold whole pictures."""
FORMS = ("what Dataset.save_to_disk wrote", "Parquet files")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The files of a set, by the name of their split; None where they are of none."""

    splits: Mapping[str | None, Sequence[Path]]
    licence: str = "unknown"
    notes: tuple[str, ...] = ()


def find_shards(root: Path) -> Shards:
    """Return the files of the set that lies at ``root``; raise ``DataError`` where none does, or where several do.

    ``root`` may end with the name of a configuration that the card above it states, a folder or none.
    """
    if not root.is_file() and root.name in configurations_in(front_matter(root.parent / CARD)):
        return _parquet_below(root.parent, root.name)
    if not root.exists():
        raise DataError(f"{root} does not exist. Give --data {', or '.join(FORMS)}.")
    if root.is_file():
        return _parquet_file(root)
    if (root / "dataset_dict.json").is_file():
        names = [_own(name) for name in _json(root / "dataset_dict.json", "splits", list)]
        return _saved({name: root / name for name in names}, root)
    if (root / "state.json").is_file():
        return _saved({_json(root / "state.json", "_split", str | None): root}, root)
    return _parquet_below(root, None)


def _parquet_below(root: Path, configuration: str | None) -> Shards:
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet") if path.is_file())
    return parquet_shards(root, files, configuration, f"--data {root}/CONFIGURATION")


def _parquet_file(file: Path) -> Shards:
    if file.suffix != ".parquet":
        raise DataError(f"{file} holds no data set: neither {' nor '.join(FORMS)}.")
    licence = licence_in(front_matter(file.parent / CARD)) or "unknown"
    return Shards(splits={split_in(file.name): [file]}, licence=licence)


def parquet_shards(root: Path, files: Sequence[str], configuration: str | None, next_step: str) -> Shards:
    """Return the shards of one configuration among files below ``root``, as the card there says, or their names.

    ``next_step`` says how to choose one of several. Raises ``DataError`` where none is found.
    """
    card = front_matter(root / CARD)
    chosen = choose_configuration(files, card, configuration, str(root), next_step)
    if not chosen:
        place = f"{root}, where its card says," if configurations_in(card) else str(root)
        raise DataError(f"{place} holds no data set: neither {' nor '.join(FORMS)}.")
    splits = {split: [root / name for name in names] for split, names in chosen.items()}
    return Shards(splits=splits, licence=licence_in(card) or "unknown")


def _saved(folders: Mapping[str | None, Path], root: Path) -> Shards:
    if not folders:
        raise DataError(f"{root} holds no splits. Save the set to disk again.")
    splits = {split: _arrow_files(folder) for split, folder in folders.items()}
    said = _json(next(iter(folders.values())) / "dataset_info.json", "license", str | None)
    return Shards(splits=splits, licence=said or "unknown")


def _arrow_files(folder: Path) -> list[Path]:
    state = _json(folder / "state.json", "_data_files", list)
    files = [folder / _own(entry.get("filename") if isinstance(entry, dict) else entry) for entry in state]
    if missing := [file for file in files if not file.is_file()]:
        raise DataError(f"{missing[0]} is missing, which state.json beside it names. Copy the whole folder again.")
    return files


def _own(name: object) -> str:
    """Return the last part of a name: what a stranger wrote down must not lead elsewhere.

    Raises ``DataError`` where that is no name of an entry.
    """
    own = PurePosixPath(str(name)).name
    if own in ("", ".", ".."):
        raise DataError(f"The data set names '{name}' as one of its files, which is none. Copy the whole folder again.")
    return own


def _json(path: Path, key: str, kind: Any) -> Any:
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get(key)
    except (OSError, ValueError, AttributeError) as error:
        raise DataError(
            f"{path} cannot be read: {' '.join(str(error).split())}. Save the set to disk again."
        ) from error
    if not isinstance(found, kind):
        raise DataError(f"{path} has no '{key}' as save_to_disk writes it. Save the set to disk again.")
    return found


def schema_of(file: Path) -> pa.Schema:
    """Return the columns of a file; raise ``DataError`` where it is damaged."""
    with _refusing_damage(file):
        if file.suffix == ".parquet":
            schema = pq.read_schema(file)
        else:
            with pa.memory_map(str(file)) as source:
                schema = pa.ipc.open_stream(source).schema
    return schema


def rows_of(file: Path, columns: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """Yield the cells of those columns row by row, as Python objects; raise ``DataError`` where the file is damaged."""
    for batch in _batches(file, columns):
        cells = [batch.column(batch.schema.get_field_index(column)) for column in columns]
        for start in range(0, batch.num_rows, ROWS_AT_ONCE):
            yield from zip(*(column.slice(start, ROWS_AT_ONCE).to_pylist() for column in cells), strict=True)


def _batches(file: Path, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
    with _refusing_damage(file):
        if file.suffix == ".parquet":
            yield from pq.ParquetFile(file).iter_batches(batch_size=ROWS_AT_ONCE, columns=list(columns))
        else:
            with pa.memory_map(str(file)) as source:
                yield from pa.ipc.open_stream(source)


@contextmanager
def _refusing_damage(file: Path) -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{file} cannot be read: {reason} Copy or download it again.") from error
