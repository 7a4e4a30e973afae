"""From a set's files to a data set: its pictures become files, its splits parts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.builtin.labels import alike
from finetune.errors import ConfigError, DataError
from finetune.types import Dataset, DatasetRequest, Example, Part, Reporter
from finetune_hf import hub
from finetune_hf.choosing import Chosen, choose
from finetune_hf.configurations import PARTS
from finetune_hf.features import features_of
from finetune_hf.hooks import HUB
from finetune_hf.labels import listed, shown
from finetune_hf.pictures import bytes_of, kept
from finetune_hf.shards import Shards, find_shards, rows_of, schema_of


def load(request: DatasetRequest) -> Dataset:
    """Return the pictures of a set, by name or from a copy.

    Raises ``ConfigError`` where the options do not fit it, ``DataError`` for a set that cannot be trained on, and
    ``ResourceError`` where network or disk fail.
    """
    if request.source == HUB:
        if not request.name:
            raise ConfigError("Which set of the hub? Give --name USER/SET, or --data DIR with a copy.")
        shards, name = hub.fetch(request.name, request.cache, request.reporter), request.name
    elif request.data is None:
        raise ConfigError("Which copy? Give --data DIR: a save_to_disk folder, or one with Parquet files.")
    else:
        shards, name = find_shards(request.data.resolve()), "a local copy"
    title = request.data.resolve().stem if request.data else name.rpartition("/")[2]
    return _dataset(request, shards, title, f"Hugging Face: {name}")


def _dataset(request: DatasetRequest, shards: Shards, title: str, source: str) -> Dataset:
    shards, notes = _trained_on(shards)
    chosen = choose(features_of(schema_of(next(_files(shards)))), request.columns)
    rows = _Rows(chosen, request.cache / "pictures", request.reporter)
    examples = rows.examples(shards)
    labels, absent = _labels(examples, chosen)
    return Dataset(
        name=title,
        examples=examples,
        labels=labels,
        source=source,
        licence=shards.licence,
        task=chosen.task,
        notes=(*shards.notes, *notes, *rows.notes(), *absent, *(alike(labels) if chosen.task != "regression" else [])),
    )


def _trained_on(shards: Shards) -> tuple[Shards, list[str]]:
    """Return the splits that are parts of a run, and a sentence on those that are not."""
    if not any(shards.splits.values()):
        raise DataError("The set holds no files. Save or download it again.")
    if len(shards.splits) == 1:
        return shards, []
    used: dict[str | None, Sequence[Path]] = {split: files for split, files in shards.splits.items() if split in PARTS}
    if "train" not in {PARTS[split] for split in used if split}:
        names = ", ".join(str(split) for split in shards.splits)
        raise DataError(f"The set's splits are {names}, and none of them is called train. Save it with one that is.")
    others = [str(split) for split in shards.splits if split not in used]
    note = f"The split(s) {', '.join(others)} are left alone: a run reads train, validation and test."
    return replace(shards, splits=used), [note] if others else []


def _files(shards: Shards) -> Iterator[Path]:
    return (file for files in shards.splits.values() for file in files)


def _labels(examples: Sequence[Example], chosen: Chosen) -> tuple[tuple[str, ...], list[str]]:
    """Return the labels in their order, and a sentence on those that the set lists and never uses."""
    known = listed(chosen)
    if chosen.task == "regression" and known:
        return known, []
    used = {label for example in examples for label in (example.labels or (example.label,)) if label}
    if known is None:
        return tuple(sorted(used)), []
    labels = tuple(label for label in dict.fromkeys(known) if label in used)
    absent = [f"'{label}'" for label in known if label not in used]
    note = f"{len(absent)} label(s) that the set lists apply to no picture and are left out: {', '.join(absent[:5])}."
    return labels, [note] if absent else []


@dataclass
class _Rows:
    """Reads the rows of a set into examples, whose pictures become files in ``folder``."""

    chosen: Chosen
    folder: Path
    reporter: Reporter
    _unknown: int = 0
    _first_unknown: str = ""

    def examples(self, shards: Shards) -> tuple[Example, ...]:
        """Return the examples in the order of splits, files and rows; raise ``DataError`` for the first wrong row."""
        self.reporter.begin("Taking pictures out of the set", unit="pictures")
        alone = len(shards.splits) == 1
        found: list[Example] = []
        for split, files in shards.splits.items():
            found += self._of_split(files, None if alone or split is None else PARTS[split])
        self.reporter.end()
        if not found:
            raise DataError("No picture of the set has a label. See --label-col.")
        return tuple(found)

    def notes(self) -> Iterator[str]:
        """Yield what was left out."""
        if self._unknown:
            yield f"Left out {self._unknown} picture(s) that the set does not label, first {self._first_unknown}."

    def _of_split(self, files: Iterable[Path], part: Part | None) -> Iterator[Example]:
        for file in files:
            for row, cells in enumerate(rows_of(file, self.chosen.names), 1):
                try:
                    example = self._example(cells, part)
                except DataError as error:
                    raise DataError(f"{file}, row {row} {error}. Correct the set, or choose other columns.") from error
                self.reporter.advance()
                if example:
                    yield example
                else:
                    self._unknown += 1
                    self._first_unknown = self._first_unknown or f"row {row} of {file.name}"

    def _example(self, cells: Sequence[object], part: Part | None) -> Example | None:
        facts = shown(cells[-len(self.chosen.labels) :], self.chosen)
        if facts is None:
            return None
        group = cells[1] if self.chosen.group else None
        path = kept(bytes_of(cells[0]), self.folder)
        return Example(path=path, part=part, group=None if group in (None, "") else str(group), **facts)
