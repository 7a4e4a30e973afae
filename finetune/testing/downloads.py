"""What data sets that are downloaded promise, tried with a publisher's server on this machine.

The server offers stand-ins: small archives that look as the published ones do. It cuts connections and sends other
bytes; the data set then says so in one line, keeps no half of anything, and goes on where it stopped.
"""

from __future__ import annotations

from contextlib import AbstractContextManager

from finetune.testing.published import Published
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.testing.sources import GIVE_ARCHIVES, NOTHING_DOWNLOADED, SourceSubject, compare, loaded, problem_of

_PAGE = b"<html>This is not what you are looking for.</html>"
_CUT_AT = 3
"""Connections are cut after a third of the smallest archive."""


def _takes_up(subject: SourceSubject) -> None:
    with _tried(subject) as server:
        server.hang_up_after = max(1, min(map(len, server.files.values())) // _CUT_AT)
        _refused(subject, server, "cut", "ResourceError", "a connection that was cut")
        server.hang_up_after, before = None, len(server.asked)
        _load(subject, server, "cut", "once the connection holds")
        if not any(wanted for _, wanted in server.asked[before:]):
            raise Broken("that it asks for everything again")


def _refuses_other_bytes(subject: SourceSubject) -> None:
    with _tried(subject) as server:
        whole = server.files
        server.files = {name: _PAGE * (1 + len(content) // len(_PAGE)) for name, content in whole.items()}
        _refused(subject, server, "other", "DataError", "a web page in its place")
        server.files = whole
        _load(subject, server, "other", "once the archive is the published one")


def _compares_checksums(subject: SourceSubject) -> None:
    with _tried(subject) as server:
        server.files = {name: content[:-1] + bytes([content[-1] ^ 1]) for name, content in server.files.items()}
        _refused(subject, server, "flipped", "DataError", "an archive of the right size with one other bit")


def _tried(subject: SourceSubject) -> AbstractContextManager[Published]:
    """Return a server with the stand-ins; raise ``NotChecked`` where nothing can be tried."""
    if not subject.case.archives:
        if subject.data is None and subject.first:
            raise NotChecked(NOTHING_DOWNLOADED)
        raise NotChecked(GIVE_ARCHIVES)
    subject.downloaded  # noqa: B018 - raises where there is none
    return subject.serving()


def _load(subject: SourceSubject, server: Published, cache: str, when: str) -> None:
    """Load with a cache that an earlier load has left; raise ``Broken`` where that does not become the data set."""
    told = subject.ask(cache, server=server)
    if told.answer is None:
        raise Broken(f"that {told.ending} {when}")
    (load,) = told.answer["loads"]
    if "dataset" not in load:
        raise Broken(f"{problem_of(load)}, {when}")
    compare(subject.downloaded, loaded(load), when)


def _refused(subject: SourceSubject, server: Published, cache: str, error: str, what: str) -> None:
    """Hold a load that has to fail against it: with one of our errors, and with nothing left that is no download."""
    told = subject.ask(cache, server=server)
    if told.answer is None:
        raise Broken(f"that {told.ending} with {what}")
    (load,) = told.answer["loads"]
    if "dataset" in load:
        raise Broken(f"that {what} is taken for the data set")
    if load.get("error") != error:
        raise Broken(f"{problem_of(load)} with {what}")
    downloads = [f"{name}{end}" for name in server.files for end in ("", ".part")]
    made = [file for file in (subject.folder / cache).rglob("*") if file.is_file() and file.name not in downloads]
    if made:
        raise Broken(f"that {what} leaves {made[0].name} in the cache")


_FETCH = "finetune.download.download_folder"
_RULES = (
    (
        "takes-up-a-cut-download",
        "a ResourceError in one line when a connection is cut, and the rest of the archive the next time",
        _takes_up,
    ),
    (
        "refuses-other-bytes",
        "a DataError in one line for what is no archive, and no trace of it",
        _refuses_other_bytes,
    ),
    ("compares-checksums", "a DataError in one line for an archive with another checksum", _compares_checksums),
)
RULES = tuple(
    Rule(name=name, kind="dataset", expects=expects, read=_FETCH, hold=hold) for name, expects, hold in _RULES
)
"""What every source of a data set that is downloaded is held against."""
