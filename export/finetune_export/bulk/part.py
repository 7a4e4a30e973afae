"""The rows of a run so far, in a file of their own, so that a run that was killed goes on where it was.

``FILE.part`` begins with a line that states what the rows depend on: model, sources, options, versions. Each further
line is an answer, as JSON. What was killed in the middle of a line, or of a batch, is cut off and done again.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import fields
from itertools import chain
from pathlib import Path
from types import TracebackType
from typing import Any

from finetune_export.bulk import formats
from finetune_export.bulk.answers import Answer, Question
from finetune_export.bulk.sources import Entry
from finetune_export.errors import ResourceError, UsageError

SYNC_INTERVAL_S = 2.0
_LONGEST_FACT = 80  # letters, in messages

Batch = Sequence[Entry]
Facts = Mapping[str, Any]
"""What rows depend on, by the names that messages call it; everything that JSON knows."""


class Part:
    """``FILE.part`` of the file ``out``, locked for this process; use it as a context manager.

    Raises ``UsageError`` if it is in use, was begun with other ``facts``, or is no part of a run; with ``restart``,
    what is there is thrown away instead. Raises ``ResourceError`` where it cannot be written.

    Attributes: ``path``; ``rows``, how many are in it, and ``errors``, how many of these are one.
    """

    def __init__(self, out: Path, facts: Facts, question: Question, *, restart: bool) -> None:
        self.path = out.with_name(f"{out.name}.part")
        self.rows = self.errors = 0
        self._out = out
        self._question = question
        self._head = json.dumps(facts).encode() + b"\n"
        self._synced_at = time.monotonic()
        with _writing(self.path):
            self._file = self.path.open("ab", buffering=0)  # so that nothing is left to be written when writing fails
        try:
            self._begin(restart)
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> Part:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def remaining(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Return the batches that are not in the file yet; raise ``UsageError`` if it has rows of other pictures."""
        with self.path.open("rb") as file:
            file.seek(len(self._head))
            for batch in batches:
                start = file.tell()
                done = [self._done(entry, file.readline()) for entry in batch]
                if None in done:
                    self._cut(start)
                    return chain([batch], batches)
                self._count(answer for answer in done if answer)
            if file.readline():
                raise self._refused(f"it has rows of more pictures than the sources, which are {self.rows} now")
        return iter(())

    def append(self, answers: Sequence[Answer]) -> None:
        """Add rows; they outlive the process at once, and a loss of power after ``SYNC_INTERVAL_S``."""
        text = "".join(json.dumps(vars(answer), ensure_ascii=False) + "\n" for answer in answers)
        self._write(text.encode(errors="backslashreplace"))
        self._count(answers)
        if time.monotonic() - self._synced_at > SYNC_INTERVAL_S:
            os.fsync(self._file.fileno())
            self._synced_at = time.monotonic()

    def finish(self, kind: str) -> None:
        """Turn the rows into the file that was asked for."""
        temporary = self._out.with_name(f".{self._out.name}.tmp")  # after a crash, the next run writes over it
        try:
            with _writing(self._out):
                formats.write(kind, temporary, self._answers(), self._question)
                with temporary.open("rb+") as file:
                    os.fsync(file.fileno())
                temporary.replace(self._out)
                self.path.unlink()
        finally:
            temporary.unlink(missing_ok=True)

    def _begin(self, restart: bool) -> None:
        if not _lock(self._file.fileno()):
            raise self._refused("another process is writing it; wait for it, or end it", hint="")
        with self.path.open("rb") as file:
            found = file.readline()
        if restart or (found != self._head and self._head.startswith(found)):  # nothing yet, or half of the line
            self._cut(0)
            self._write(self._head)
        elif found != self._head:
            raise self._refused(_difference(found, json.loads(self._head)))

    def _done(self, entry: Entry, line: bytes) -> Answer | None:
        """Return the answer in a line, having seen that it is this picture's, or None if the line is not whole."""
        if not line.endswith(b"\n"):
            return None
        answer = self._answer(line)
        if answer.path != entry.path:
            raise self._refused(f"the sources have changed: it has a row of {answer.path} where {entry.path} is now")
        return answer

    def _count(self, answers: Iterable[Answer]) -> None:
        for answer in answers:
            self.rows += 1
            self.errors += answer.error is not None

    def _answers(self) -> Iterator[Answer]:
        with self.path.open("rb") as file:
            file.seek(len(self._head))
            yield from map(self._answer, file)

    def _answer(self, line: bytes) -> Answer:
        try:
            found = json.loads(line)
            return Answer(*(_hashable(found[each.name]) for each in fields(Answer)))
        except (ValueError, TypeError, KeyError) as exc:
            raise self._refused("a row is damaged") from exc

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        with _writing(self.path):
            while rest:
                rest = rest[self._file.write(rest) :]

    def _cut(self, size: int) -> None:
        with _writing(self.path):
            self._file.truncate(size)

    def _refused(self, problem: str, hint: str = "; begin anew with --restart, or give another --out") -> UsageError:
        return UsageError(f"{self.path}: {problem}{hint}")


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ResourceError(f"Cannot write {path}: {error.strerror or error}; mend that, and run again.") from error


def _lock(descriptor: int) -> bool:
    """Return whether the file is this process's now; where the system has no such locks, it always is."""
    with suppress(ImportError):
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def _hashable(value: Any) -> Any:
    """Return a value of JSON as the answer had it, with tuples for lists."""
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _difference(found: bytes, facts: Facts) -> str:
    """Return what the first line of a part says that is not as it is now."""
    try:
        before = json.loads(found)
        names = [name for name in facts if before[name] != facts[name]]
    except (ValueError, TypeError, KeyError):
        names = []
    if not names:
        return "it is no part of a run of this version"
    changes = (f"{name} {_short(before[name])}, now {_short(facts[name])}" for name in names)
    return f"it was begun with {'; '.join(changes)}"


def _short(fact: object) -> str:
    text = fact if isinstance(fact, str) else json.dumps(fact, ensure_ascii=False)
    return text if len(text) <= _LONGEST_FACT else f"{text[:_LONGEST_FACT]}…"
