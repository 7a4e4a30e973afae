"""Which files are which configuration of a set, and which of its splits: as its card says, or by their names.

The block ``configs`` of a card is read as the hub reads it: ``config_name``, ``default``, ``data_dir``, and
``data_files`` as a pattern, a list of patterns, or patterns by split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from finetune.errors import DataError
from finetune.types import Part

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
CARD = "README.md"
DEFAULT = "default"
MOST_NAMES = 12
_SPLIT_IN_NAME = re.compile(rf"(?:^|[-._ ])({'|'.join(PARTS)})(?=[-._ \d]|$)", re.IGNORECASE)
_WILDCARD = re.compile(r"\*\*/|\*\*|\*|\?|\[[^/\]]+\]")
_MEANING = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}

Splits = Mapping[str | None, Sequence[str]]
"""The names of files, by that of their split; None where they are of none."""


def choose_configuration(
    files: Iterable[str], card: Mapping[str, Any], wanted: str | None, where: str, next_step: str
) -> Splits:
    """Return the Parquet files of one configuration: the wanted one, the only one there is, or the default.

    ``card`` is the front matter of the set's card, {} for none. Nothing is returned where the card says that the
    configuration has other files. Raises ``DataError`` where there are several; ``next_step`` says how to choose.
    """
    parquet = sorted(name for name in files if name.endswith(".parquet"))
    found = {name: _files_of(entry, parquet) for name, entry in _stated(card).items()} or _by_folder(parquet)
    if not found:
        return {}
    wanted = wanted or (next(iter(found)) if len(found) == 1 else default_in(card) or DEFAULT)
    if wanted not in found:
        listed = ", ".join(list(found)[:MOST_NAMES])
        raise DataError(
            f"{where} holds several configurations, {listed}, and not '{wanted}'. Choose one with {next_step}."
        )
    return found[wanted]


def configurations_in(card: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the names of the configurations that a card states, in their order."""
    return tuple(_stated(card))


def default_in(card: Mapping[str, Any]) -> str | None:
    """Return the configuration that a card says is the default; None where it does not, and it may be 'default'."""
    return next((name for name, entry in _stated(card).items() if entry.get("default") is True), None)


def front_matter(card: Path) -> Mapping[str, Any]:
    """Return what a set's card states at its top; {} where there is no card, or nothing that can be read."""
    from huggingface_hub import DatasetCard

    try:
        return vars(DatasetCard(card.read_text(encoding="utf-8"), ignore_metadata_errors=True).data)
    except Exception:  # not there, or no YAML: then nothing is stated
        return {}


def licence_in(card: Mapping[str, Any]) -> str:
    """Return the licence that a card states, or 'unknown'."""
    stated = card.get("license")
    return ", ".join(map(str, stated)) if isinstance(stated, list) else str(stated or "unknown")


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
    return {str(entry.get("config_name", DEFAULT)): entry for entry in entries}


def _files_of(entry: Mapping[str, Any], files: Sequence[str]) -> Splits:
    """Return a configuration's files: by its patterns, or where it states none, by the names in its folder."""
    folder = str(entry.get("data_dir") or "").strip("./")
    prefix = f"{folder}/" if folder else ""
    if not entry.get("data_files"):
        return _by_name(name for name in files if name.startswith(prefix))
    found: dict[str | None, list[str]] = {}
    for split, patterns in _patterns(entry["data_files"]):
        matching = [re.compile(_expression(prefix + pattern.removeprefix("./"))) for pattern in patterns]
        names = [name for name in files if any(each.fullmatch(name) for each in matching)]
        if names:
            found.setdefault(split, []).extend(names)
    return found


def _patterns(stated: Any) -> Iterator[tuple[str, list[str]]]:
    """Yield each split with its patterns; patterns without a split are those of 'train', as on the hub."""
    if isinstance(stated, dict):
        stated = [{"split": split, "path": path} for split, path in stated.items()]
    for each in stated if isinstance(stated, list) else [stated]:
        of_split = each if isinstance(each, dict) else {"path": each}
        path = of_split.get("path")
        yield str(of_split.get("split", "train")), [str(name) for name in (path if isinstance(path, list) else [path])]


def _expression(pattern: str) -> str:
    """Return a pattern of paths as a regular expression: ``*`` stays in its folder, ``**`` does not."""
    found, end = "", 0
    for wildcard in _WILDCARD.finditer(pattern):
        literal, sign = pattern[end : wildcard.start()], wildcard[0]
        found += re.escape(literal) + _MEANING.get(sign, sign.replace("[!", "[^", 1))
        end = wildcard.end()
    return found + re.escape(pattern[end:])
