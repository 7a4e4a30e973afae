"""Nothing that is published says where it was made: no file holds a place on this machine."""

from __future__ import annotations

import csv
import json
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from finetune import run_folder
from finetune.errors import ModelError
from finetune_hf.finished import CARD, OURS, Finished, damaged

_HOME_OF_SOMEBODY = re.compile(r"(?<![\w.])(?:/home|/Users|[A-Za-z]:\\{1,2}Users)[/\\][^\s\"'`<>]+")
_SHORTEST = 4
"""A shorter place, such as ``/``, would be found in anything."""
_LONG = 8
"""A place that is shorter may stand among the bytes of weights by chance; there it needs something behind it."""
_END = r"(?![\w-]|\.\w)"
"""Where a name ends: a full stop does not belong to it, and an extension does."""


def check_privacy(found: Finished, card: str) -> None:
    """Raise ``ModelError`` for the first file that names a place on this machine, or somebody's home.

    Looked for are this user's home, the run, and where its pictures lay: in the contract and the card, and byte by byte
    in everything else. Raises ``ConfigError`` where the records that say so are damaged.
    """
    places = sorted(set(_places(found.run)))
    contract = json.dumps(asdict(found.contract), ensure_ascii=False)
    contents = {CARD: card.encode(), **{name: path.read_bytes() for name, path in found.files.items()}}
    for name, content in contents.items():
        text = contract if name == OURS else "" if name.endswith(".onnx") else content.decode()
        told = [place for place in places if _tells(place, text, content)]
        told += [match[0] for match in _HOME_OF_SOMEBODY.finditer(text)]
        if told:
            raise ModelError(
                f"{name} names {told[0]}, a place on this machine, and would tell it to everybody. Name the data set "
                "and its labels otherwise, and train again."
            )


def _tells(place: str, text: str, content: bytes) -> bool:
    """Whether a place is named, or what lies in it; ``/data/pets`` is not by ``/data/pets-2``."""
    if re.search(re.escape(place) + _END, text):
        return True
    end = _END if len(place) >= _LONG else "/"
    return re.search(re.escape(os.fsencode(place)) + end.encode(), content) is not None


def _places(run: Path) -> Iterator[str]:
    """Yield the folders that are this machine's own business."""
    folders = {Path.home(), Path.cwd(), run.resolve(), *_pictures(run)}
    for folder in folders:
        if folder.is_absolute() and len(str(folder)) >= _SHORTEST:
            yield str(folder)


def _pictures(run: Path) -> Iterator[Path]:
    """Yield where the run's pictures lay, as its records say, which themselves stay here."""
    split, config = run / run_folder.SPLIT, run / run_folder.CONFIG
    if split.is_file():
        with _refusing_damage(split), split.open(encoding="utf-8", newline="") as file:
            yield from {Path(row["path"]).parent for row in csv.DictReader(file)}
    if config.is_file():
        with _refusing_damage(config):
            data = tomllib.loads(config.read_text(encoding="utf-8")).get("data")
        yield from [Path(data).absolute()] if isinstance(data, str) else []


@contextmanager
def _refusing_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as error:
        raise damaged(path) from error
