"""``python -m finetune.testing.load_once JSON``: one source is loaded, and what came and what it did is told as JSON.

It is the process that a data set's ``load`` may break, and that may be killed in the middle. The network beyond this
machine is as if the cable were pulled; what ``finetune.download.fetch`` is asked for may come from a stand-in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from finetune import download
from finetune.errors import DataError, FinetuneError, PluginError
from finetune.loading import check_dataset
from finetune.plugins import load_function, load_plugins
from finetune.reporting import SILENT
from finetune.testing.processes import tell
from finetune.testing.surroundings import Surroundings, Watch
from finetune.types import Dataset, DatasetRequest, DatasetSpec, Example, Reporter

KEPT = ("the working directory", "the state of random", "the state of numpy.random")
"""What a load leaves as it was. The libraries that it needs may change the rest, as numpy does with warnings."""


_served: list[str] = []
"""The archives that stand-ins were taken for."""


class NoStandIn(Exception):  # noqa: N818 - it ends a load, and says that it cannot be tried
    """An archive is asked for, and there is no stand-in of that name."""


def main(asked: Mapping[str, Any]) -> None:
    """Load as often as ``times`` says, in one process; tell what came of each, and end."""
    cache = Path(asked["cache"])
    if asked["archives"] is not None:
        serve_stand_ins(asked["url"], asked["archives"])
    spec = load_plugins().find("dataset", asked["dataset"])
    request = DatasetRequest(
        source=asked["source"],
        data=Path(asked["data"]) if asked["data"] else None,
        cache=cache,
        reporter=SILENT,
        name=asked["name"],
    )
    watch = Watch(_Killer(cache, asked["kill_at_file"]))
    loads = _loads(spec, request, asked["times"])
    outside = [str(file) for file in watch.written if not file.is_relative_to(cache) and not _is_scratch(file)]
    tell({"loads": loads, "asked": watch.asked, "served": _served, "outside": list(dict.fromkeys(outside))})


def serve_stand_ins(server: str, archives: Mapping[str, tuple[int, str]]) -> None:
    """Let every archive come from ``server``, with the size and the checksum of its stand-in instead of its own.

    ``finetune.download.fetch`` is the seam: all downloads of ``finetune.download`` go through it, and it is the one
    place that knows both an address and what was published there. It is laid before the plugin is imported, so that
    ``from finetune.download import fetch`` finds it laid. Everything behind it is as it is for users: the partial file,
    the request for the rest, the comparison of checksums.
    """
    fetch = download.fetch

    def fetched(
        url: str,  # noqa: ARG001 - the stand-in has an address of its own
        path: Path,
        archive: download.Archive,
        reporter: Reporter,
        attempts: int = 1,
    ) -> Path:
        if archive.name not in archives:
            raise NoStandIn(archive.name)
        _served.append(archive.name)
        size, sha256 = archives[archive.name]
        standing_in = replace(archive, size=size, sha256=sha256, unpacked=0)
        return fetch(f"{server}/{archive.name}", path, standing_in, reporter, attempts)

    download.fetch = fetched


class _Killer:
    """Kills this process just before a file below a folder is written, counted from 1; never for 0."""

    def __init__(self, folder: Path, number: int) -> None:
        self.folder, self.left = folder, number

    def __call__(self, file: Path) -> None:
        if file.is_relative_to(self.folder):
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


def _is_scratch(file: Path) -> bool:
    return file.is_relative_to(os.environ["TMPDIR"])


def _loads(spec: DatasetSpec, request: DatasetRequest, times: int) -> list[dict[str, Any]]:
    try:
        function = load_function(spec.load, f"the data set '{spec.name}'")
    except PluginError as error:
        return [{"unimportable": str(error)}] * times
    return [_load(function, request) for _ in range(times)]


def _load(function: Any, request: DatasetRequest) -> dict[str, Any]:
    import numpy  # noqa: F401 - so that its random state can be compared

    before = Surroundings.now()
    try:
        dataset = function(request)
    except NoStandIn as error:
        return {"no_stand_in": str(error)}
    except BaseException as error:  # whatever a plugin raises is told
        return _failure(error)
    changed = [name for name in Surroundings.now().changes(before) if name in KEPT]
    if not isinstance(dataset, Dataset):
        return _wrong(f"{type(dataset).__name__} instead of a Dataset")
    return described(dataset, request) | {"changed": changed}


def _failure(error: BaseException) -> dict[str, Any]:
    text = " ".join(str(error).split())
    return {"error": type(error).__name__, "text": text, "is_ours": isinstance(error, FinetuneError)}


def _wrong(found: str) -> dict[str, Any]:
    return {"error": "", "text": found, "is_ours": False}


def described(dataset: Dataset, request: DatasetRequest) -> dict[str, Any]:
    """Return a data set as plain facts, or what is not as it is declared: JSON would make a str of a Path."""
    for name in ("examples", "labels", "notes"):  # a generator would be used up by looking at it
        if not isinstance(value := getattr(dataset, name), tuple):
            return _wrong(f"that {name} is {type(value).__name__} instead of a tuple")
    try:
        with contextlib.suppress(DataError):  # too few labels have a rule of their own
            check_dataset(dataset)
        facts = _facts(dataset, request)
    except PluginError as error:
        return _wrong(str(error).rstrip("."))
    except Exception as error:  # what it returned is so strange that it cannot even be looked at
        return _failure(error)
    strange = next(_untellable(facts), None)
    return _wrong(strange) if strange else {"dataset": facts}


def _untellable(facts: Mapping[str, Any]) -> Iterator[str]:
    """Yield, by name, what is of a type that no data set is made of."""
    rows = facts["examples"]
    named = [(name, value) for name, value in facts.items() if name != "examples"]
    named += [(f"examples[{number}].{name}", value) for number, row in enumerate(rows) for name, value in row.items()]
    for name, value in named:
        try:
            json.dumps(value)
        except (TypeError, ValueError):
            yield f"that {name} is {value!r}, which cannot become JSON"


def _facts(dataset: Dataset, request: DatasetRequest) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "labels": list(dataset.labels),
        "source": dataset.source,
        "licence": dataset.licence,
        "task": dataset.task,
        "notes": list(dataset.notes),
        "examples": [_row(example, request) for example in dataset.examples],
    }


def _row(example: Example, request: DatasetRequest) -> dict[str, Any]:
    path = Path(example.path)
    content = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
    return {
        "path": str(path),
        "place": _place(path, request),
        "sha256": content,
        "label": example.label,
        "labels": list(example.labels),
        "values": [float(value) for value in example.values],
        "part": example.part,
        "group": example.group,
    }


def _place(path: Path, request: DatasetRequest) -> str:
    """Return where a picture is, in words that are the same for every cache."""
    for name, folder in (("cache", request.cache), ("data", request.data)):
        if folder is not None and path.is_relative_to(folder):
            return f"{name}/{path.relative_to(folder).as_posix()}"
    return str(path)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
