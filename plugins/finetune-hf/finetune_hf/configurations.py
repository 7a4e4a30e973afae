"""Which files are which configuration of a set, and which of its splits: as its card says, or by their names.

The block ``configs`` of a card is read as the hub reads it: ``config_name``, ``default``, ``data_dir``, and
``data_files`` as a pattern, a list of patterns, or patterns by split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import PurePosixPath
from typing import Any

from finetune.errors import DataError
from finetune.types import Part
from finetune_hf.front_matter import NOTHING, text_of
from finetune_hf.patterns import Matcher, matcher, matches

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
DEFAULT = "default"
_YES = ("true", "True", "TRUE")
MOST_NAMES = 12
MOST_PATTERNS = 1000
_SPLIT_IN_NAME = re.compile(rf"(?:^|[-._ ])({'|'.join(PARTS)})(?=[-._ \d]|$)", re.IGNORECASE)

Splits = Mapping[str | None, Sequence[str]]
"""The names of files, by that of their split; None where they are of none."""


def choose_configuration(
    files: Iterable[str], card: Mapping[str, Any], wanted: str | None, where: str, next_step: str
) -> Splits:
    """Return the Parquet files of one configuration: the wanted one, the only one there is, or the default.

    ``card`` is the front matter of the set's card, {} for none. Nothing is returned where the card says that the
    configuration has other files. Raises ``DataError`` where there are several, of which ``next_step`` says how to
    choose, and where the card's patterns are none.
    """
    parquet = sorted(name for name in files if name.endswith(".parquet"))
    stated, by_folder = _stated(card), _by_folder(parquet)
    names = list(stated or by_folder)
    if not names:
        return {}
    wanted = wanted or (names[0] if len(names) == 1 else default_in(card) or DEFAULT)
    if wanted not in names:
        listed = ", ".join(names[:MOST_NAMES])
        raise DataError(
            f"{where} holds several configurations, {listed}, and not '{wanted}'. Choose one with {next_step}."
        )
    return _files_of(stated[wanted], parquet) if stated else by_folder[wanted]


def configurations_in(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the configurations that a card states, in their order."""
    return tuple(_stated(card))


def default_in(card: Mapping[str, Any]) -> str | None:
    """Return the configuration that a card says is the default; None where it does not, and it may be 'default'."""
    return next((name for name, entry in _stated(card).items() if entry.get("default") in _YES), None)


def split_in(name: str) -> str | None:
    """Return the split that the name of a file says, or one of its folders, the nearest first; None: none."""
    path = PurePosixPath(name)
    for text in (path.stem, *reversed(path.parts[:-1])):
        if found := _SPLIT_IN_NAME.search(text):
            return found[1].lower()
    return None


# ── by the names of the files ───────────────────────────────────────────────────────────────────────


def _by_folder(files: Iterable[str]) -> Mapping[str, Splits]:
    found: dict[str, list[str]] = {}
    for name in files:
        found.setdefault(_configuration_of(name), []).append(name)
    return {configuration: _by_name(names) for configuration, names in found.items()}


def _configuration_of(name: str) -> str:
    """Return the folders of a file that are neither 'data' nor a split: ``cifar10/train/0000.parquet`` → cifar10."""
    folders = [part for part in PurePosixPath(name).parts[:-1] if part != "data" and not _SPLIT_IN_NAME.search(part)]
    return "/".join(folders) or DEFAULT


def _by_name(files: Iterable[str]) -> Splits:
    splits: dict[str | None, list[str]] = {}
    for name in files:
        splits.setdefault(split_in(name), []).append(name)
    return splits


# ── by the card ─────────────────────────────────────────────────────────────────────────────────────


def _stated(card: Mapping[str, Any]) -> Mapping[str, Mapping[str, Any]]:
    """Return the entries of the block ``configs`` by name; what is none is as if it were not there."""
    entries = card.get("configs")
    entries = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    named = [(entry.get("config_name", DEFAULT), entry) for entry in entries]
    return {name: entry for name, entry in named if text_of(name) and isinstance(entry.get("data_dir", ""), str)}


def _files_of(entry: Mapping[str, Any], files: Sequence[str]) -> Splits:
    """Return a configuration's files: by its patterns, or where it states none, by the names in its folder."""
    folder = (text_of(entry.get("data_dir")) or "").strip("./")
    prefix = f"{folder}/" if folder else ""
    if entry.get("data_files", "") in NOTHING:
        return _by_name(name for name in files if name.startswith(prefix))
    wanted: dict[str, list[Matcher]] = {}
    for split, pattern in _patterns(entry["data_files"]):
        wanted.setdefault(split, []).append(matcher(prefix + pattern.removeprefix("./")))
    found = {split: [name for name in files if any(matches(each, name) for each in wanted[split])] for split in wanted}
    return {split: names for split, names in found.items() if names}


def _patterns(stated: object) -> Iterable[tuple[str, str]]:
    """Return the patterns with their splits, each once; raise ``DataError`` where there are too many."""
    pairs = list(islice(_pairs(stated), MOST_PATTERNS + 1))
    if len(pairs) > MOST_PATTERNS:
        raise DataError(
            f"The card names a configuration's files by more than {MOST_PATTERNS} patterns. Download the set, write "
            "fewer into the card of the copy, and give --data DIR."
        )
    return dict.fromkeys((split, path) for split, path in pairs if text_of(split) and text_of(path))


def _pairs(stated: Any) -> Iterator[tuple[Any, Any]]:
    """Yield splits with paths, whatever they are; patterns without a split are those of 'train', as on the hub."""
    if isinstance(stated, dict):
        stated = [{"split": split, "path": path} for split, path in stated.items()]
    for each in stated if isinstance(stated, list) else [stated]:
        of_split = each if isinstance(each, dict) else {"path": each}
        path = of_split.get("path")
        for one in (path or [None]) if isinstance(path, list) else [path]:
            yield of_split.get("split", "train"), one
