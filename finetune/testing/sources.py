"""A source of a data set, loaded as often and in as many processes as its rules need, and no oftener.

Every load has a process of its own, caches below a folder of the kit's, and no network. A whole one is done twice, in
two processes with different ``PYTHONHASHSEED``; one is killed when its second file is about to be written, and then
gone on with. Nothing else makes pictures, because that may take long.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from finetune.testing.folders import new_folder
from finetune.testing.processes import Told, ask
from finetune.testing.published import Published, archive_of, publishing
from finetune.testing.rules import Broken, Case, NotChecked
from finetune.types import Dataset, DatasetSpec, Example, Source

_LIMIT_S = 900.0
_MOST_NAMED = 5
_GIVE_DATA = "give a small copy with --data, or data= of the Case"
_GIVE_NAME = "give --name, or name= of the Case"
NOT_LOADED = "it could not be loaded; see the rule 'loads'"
NOTHING_DOWNLOADED = "it downloads nothing by way of finetune.download"
GIVE_ARCHIVES = "give small stand-ins for its archives, by their names, with archives= of the Case"


@dataclass(frozen=True)
class Loaded:
    """One load that came to an end: the data set as plain facts, and what loading it did beside."""

    facts: Mapping[str, Any]
    changed: tuple[str, ...]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The examples in their order, without the paths that differ from cache to cache."""
        return [{key: value for key, value in row.items() if key != "path"} for row in self.facts["examples"]]

    @property
    def contents(self) -> str:
        """A digest over contents, labels and parts, whatever the order, as a run's fingerprint is one."""
        shown = [sorted((key, str(value)) for key, value in row.items() if key != "place") for row in self.rows]
        return hashlib.sha256(json.dumps(sorted(shown)).encode()).hexdigest()[:16]

    @cached_property
    def dataset(self) -> Dataset:
        """The data set, as the process returned it."""
        facts = self.facts
        return Dataset(
            name=facts["name"],
            examples=tuple(_example(row) for row in facts["examples"]),
            labels=tuple(facts["labels"]),
            source=facts["source"],
            licence=facts["licence"],
            task=facts["task"],
            notes=tuple(facts["notes"]),
        )


def _example(row: Mapping[str, Any]) -> Example:
    shown = {"label": row["label"], "labels": tuple(row["labels"]), "values": tuple(row["values"])}
    return Example(path=Path(row["path"]), part=row["part"], group=row["group"], **shown)


@dataclass(frozen=True)
class SourceSubject:
    """A source of a data set, and what there is to try it with."""

    spec: DatasetSpec
    source: Source
    case: Case

    @cached_property
    def folder(self) -> Path:
        """A folder for caches, which goes when this process ends."""
        return new_folder()

    @property
    def data(self) -> Path | None:
        """The copy at hand, where this source takes one."""
        return self.case.data.resolve() if self.source.accepts_data and self.case.data else None

    @property
    def is_served(self) -> bool:
        """Whether stand-ins for its archives take the place of the network."""
        return bool(self.case.archives) and self.data is None

    @property
    def twice(self) -> Told:
        """Two loads in one process with one cache, the first of which finds it empty."""
        return self._trial[0]

    @property
    def touched(self) -> str:
        """The first file of the user's copy that those two loads made, changed or removed, '' for none."""
        return self._trial[1]

    @cached_property
    def _trial(self) -> tuple[Told, str]:
        before = _contents(self.data)
        told, after = self.ask("whole", times=2), _contents(self.data)
        return told, next((name for name in {**before, **after} if before.get(name) != after.get(name)), "")

    @cached_property
    def elsewhere(self) -> Loaded:
        """A load in a second process, with another hash seed, and the cache that the first has left."""
        self.first  # noqa: B018 - the cache is filled by it, or this raises what is wrong with it
        return only(self.ask("whole", hash_seed=2))

    @cached_property
    def resumed(self) -> Told | None:
        """A load with what a killed one has left; None where no file is made, and so no half of anything.

        It was killed when its second file was about to be written, or else its first.
        """
        for number in (2, 1):
            cache = f"killed at file {number}"
            if self.ask(cache, kill_at_file=number).status == -signal.SIGKILL:
                return self.ask(cache, hash_seed=2)
        return None

    @cached_property
    def anew(self) -> Loaded:
        """A load in a second process with an empty cache, which may take long: asked for only where it has to be."""
        return only(self.ask("anew", hash_seed=2))

    @cached_property
    def first(self) -> Loaded:
        """The first load; raises ``NotChecked`` where there is none."""
        return self._of_twice(0)

    @cached_property
    def again(self) -> Loaded:
        """The second load of the same process."""
        self.first  # noqa: B018 - raises where there is none
        return self._of_twice(1)

    def _of_twice(self, number: int) -> Loaded:
        self.refuse_untried()
        answer = self.twice.answer
        if answer is None or "dataset" not in answer["loads"][number]:
            raise NotChecked(NOT_LOADED)
        return loaded(answer["loads"][number])

    def refuse_untried(self) -> None:
        """Raise ``NotChecked`` where something is missing that a load needs, or where it needs the network."""
        if self.data is None and not self.is_served:
            if self.source.accepts_name and not self.case.name:
                raise NotChecked(_GIVE_NAME)
            if self.spec.needs_data:
                raise NotChecked(_GIVE_DATA)
        answer = self.twice.answer or {}
        failed = [load for load in answer.get("loads", ()) if not load.keys() & {"dataset", "unimportable"}]
        if missing := next((load["no_stand_in"] for load in failed if "no_stand_in" in load), ""):
            raise NotChecked(f"it downloads {missing}: {GIVE_ARCHIVES}")
        if failed and answer["asked"]:
            how = f"{_GIVE_DATA}, or " * self.source.accepts_data + GIVE_ARCHIVES
            raise NotChecked(f"it asks for {answer['asked'][0]}, and there is no network here: {how}")
        if failed and self.source.accepts_data and self.data is None:
            raise NotChecked(_GIVE_DATA)

    def ask(
        self,
        cache: str,
        *,
        server: Published | None = None,
        is_bare: bool = False,
        times: int = 1,
        kill_at_file: int = 0,
        hash_seed: int = 1,
    ) -> Told:
        """Load in a process of its own, with a cache of that name below the folder.

        With a ``server``, its stand-ins are downloaded, whatever else there is; where ``is_bare``, nothing is given.
        """
        if self.is_served and not is_bare and server is None:
            return self._ask_server(cache, times=times, kill_at_file=kill_at_file, hash_seed=hash_seed)
        has_data = self.data is not None and server is None and not is_bare
        request = {
            "dataset": self.spec.name,
            "source": self.source.name,
            "data": str(self.data) if has_data else None,
            "name": self.case.name if self.source.accepts_name and not is_bare else None,
            "cache": str(self.folder / cache),
            "times": times,
            "kill_at_file": kill_at_file,
            "url": server.url if server else None,
            "archives": self._facts_of_stand_ins() if server else None,
        }
        return ask(
            "finetune.testing.load_once", json.dumps(request), limit_s=_LIMIT_S, environment=self._around(hash_seed)
        )

    def _ask_server(self, cache: str, times: int = 1, kill_at_file: int = 0, hash_seed: int = 1) -> Told:
        with self.serving() as whole:
            return self.ask(cache, server=whole, times=times, kill_at_file=kill_at_file, hash_seed=hash_seed)

    def _around(self, hash_seed: int) -> dict[str, str]:
        (scratch := self.folder / "scratch").mkdir(exist_ok=True)
        return {
            "PYTHONHASHSEED": str(hash_seed),
            "TMPDIR": str(scratch),
            "FINETUNE_PLUGINS": self.case.plugin,
            "no_proxy": "127.0.0.1",
        }

    @cached_property
    def _download(self) -> Told:
        return self.twice if self.is_served else self._ask_server("downloaded")

    @property
    def downloaded(self) -> Loaded:
        """A load of which the stand-ins were downloaded; raises ``NotChecked`` where none comes of them."""
        if self.is_served:
            self.first  # noqa: B018 - raises where it cannot be loaded
        told = self._download
        if told.answer is None or not told.answer["served"]:
            raise NotChecked(NOTHING_DOWNLOADED)
        return loaded(told.answer["loads"][0])

    @contextlib.contextmanager
    def serving(self) -> Iterator[Published]:
        """Give a server that offers the stand-ins, as whole as they are."""
        with publishing() as server:
            server.files = {name: file.read_bytes() for name, file in self.case.archives.items()}
            yield server

    def _facts_of_stand_ins(self) -> dict[str, tuple[int, str]]:
        archives = [archive_of(name, file.read_bytes()) for name, file in self.case.archives.items()]
        return {archive.name: (archive.size, archive.sha256) for archive in archives}


def _contents(root: Path | None) -> dict[str, str]:
    """Return every file of a user's copy with the digest of its bytes."""
    files = sorted(root.rglob("*")) if root and root.is_dir() else [root] if root else []
    return {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files if file.is_file()}


def loaded(load: Mapping[str, Any]) -> Loaded:
    """Return a load that a process told of; raise ``Broken`` where it failed."""
    if "dataset" not in load:
        raise Broken(problem_of(load))
    return Loaded(load["dataset"], tuple(load["changed"]))


def only(told: Told) -> Loaded:
    """Return the one load that a process told of; raise ``Broken`` where it failed, or the process with it."""
    if told.answer is None:
        raise Broken(f"that {told.ending}")
    return loaded(told.answer["loads"][0])


def problem_of(load: Mapping[str, Any]) -> str:
    """Return what a load came to instead of a data set."""
    if "no_stand_in" in load:
        return f"that it downloads {load['no_stand_in']}"
    if "unimportable" in load:
        return f"that {load['unimportable']}"  # as the rule 'functions-can-be-called' says it
    return f"{load['error']}: {load['text']}" if load["error"] else str(load["text"])


def compare(first: Loaded, second: Loaded, when: str) -> None:
    """Raise ``Broken`` for the first thing in which two loads differ."""
    mine, yours = first.facts, second.facts
    if mine["labels"] != yours["labels"]:
        raise Broken(f"the labels {_few(mine['labels'])}, and {when} {_few(yours['labels'])}")
    if len(first.rows) != len(second.rows):
        raise Broken(f"{len(first.rows)} pictures, and {when} {len(second.rows)}")
    if first.contents != second.contents:
        raise Broken(f"the fingerprint {first.contents}, and {when} {second.contents}")
    for number, (one, other) in enumerate(zip(first.rows, second.rows, strict=True), 1):
        if one != other:
            raise Broken(f"{one['place']} as picture {number}, and {when} {other['place']}")


def _few(names: list[str]) -> str:
    return ", ".join(names[:_MOST_NAMED]) + (", …" if len(names) > _MOST_NAMED else "")
