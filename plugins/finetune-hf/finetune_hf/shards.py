"""The files of a set: which belong to which split, and their rows, a batch at a time.

Two forms are known: what ``Dataset.save_to_disk`` writes, which are Arrow streams with JSON beside them, and Parquet,
as the hub has it. Nothing that a set brings along is ever run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from finetune.errors import DataError
from finetune.types import Part

ROWS_AT_ONCE = 64
"""Rows hold whole pictures."""
PARTS: dict[str, Part] = {
    "train": "train",
    "training": "train",
    "valid": "valid",
    "validation": "valid",
    "val": "valid",
    "dev": "valid",
    "test": "test",
    "testing": "test",
    "eval": "test",
    "evaluation": "test",
}
"""What a split is to a run, by the names that the hub takes for it."""
_SPLIT_IN_NAME = re.compile(rf"(?:^|[-._ ])({'|'.join(PARTS)})(?=[-._ \d]|$)", re.IGNORECASE)
_FORMS = ("what Dataset.save_to_disk wrote", "Parquet files")


@dataclass(frozen=True, kw_only=True)
class Shards:
    """The files of a set, by the name of their split; None where they are of none."""

    splits: Mapping[str | None, Sequence[Path]]
    licence: str = "unknown"
    notes: tuple[str, ...] = ()


def find_shards(root: Path) -> Shards:
    """Return the files of the set that lies at ``root``; raise ``DataError`` where none does, or where several do."""
    if not root.exists():
        raise DataError(f"{root} does not exist. Give --data {', or '.join(_FORMS)}.")
    if root.is_file():
        return parquet_shards(root.parent, [root.name], f"--data {root.parent}/CONFIGURATION")
    if (root / "dataset_dict.json").is_file():
        names = [_own(name) for name in _json(root / "dataset_dict.json", "splits", list)]
        return _saved({name: root / name for name in names}, root)
    if (root / "state.json").is_file():
        return _saved({_json(root / "state.json", "_split", str | None): root}, root)
    files = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.parquet") if path.is_file())
    return parquet_shards(root, files, f"--data {root}/CONFIGURATION")


def parquet_shards(root: Path, files: Sequence[str], next_step: str) -> Shards:
    """Return the shards among files below ``root``; ``next_step`` says how to choose one of several configurations."""
    chosen = of_configuration(files, None, str(root), next_step)
    splits: dict[str | None, list[Path]] = {}
    for name in chosen:
        splits.setdefault(split_in(name), []).append(root / name)
    return Shards(splits=splits, licence=licence_in(root / "README.md"))


def of_configuration(files: Iterable[str], wanted: str | None, where: str, next_step: str) -> list[str]:
    """Return those Parquet files that belong to one configuration of a set: the wanted one, or the only one there is.

    A set with one called 'default' means that. Raises ``DataError`` where there is none, or several.
    """
    by_name: dict[str, list[str]] = {}
    for name in sorted(files):
        if name.endswith(".parquet"):
            by_name.setdefault(_configuration_of(name), []).append(name)
    if not by_name:
        raise DataError(f"{where} holds no data set: neither {' nor '.join(_FORMS)}.")
    wanted = wanted or (next(iter(by_name)) if len(by_name) == 1 else "default")
    if wanted not in by_name:
        raise DataError(
            f"{where} holds several configurations, {', '.join(list(by_name)[:12])}, and not '{wanted}'. Choose one "
            f"with {next_step}."
        )
    return by_name[wanted]


def _configuration_of(name: str) -> str:
    """Return the folders of a file that are neither 'data' nor a split: ``cifar10/train/0000.parquet`` → cifar10."""
    folders = [part for part in PurePosixPath(name).parts[:-1] if part != "data" and not _SPLIT_IN_NAME.search(part)]
    return "/".join(folders) or "default"


def split_in(name: str) -> str | None:
    """Return the split that the name of a file says, or one of its folders, the nearest first; None: none."""
    path = PurePosixPath(name)
    for text in (path.stem, *reversed(path.parts[:-1])):
        if found := _SPLIT_IN_NAME.search(text):
            return found[1].lower()
    return None


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


def licence_in(card: Path) -> str:
    """Return the licence that a set's README states at its top, or 'unknown'."""
    from huggingface_hub import DatasetCard

    try:
        stated = DatasetCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data.get("license")
    except Exception:  # not there, or no YAML: then nothing is stated
        return "unknown"
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or "unknown")


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
