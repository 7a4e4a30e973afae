"""What is wrong with a table's lines: all of it counted, the first of it told."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.errors import DataError

MOST_LINES = 3
"""So many lines of each further kind of problem are named."""


@dataclass(frozen=True)
class Kind:
    """A way in which a line can be wrong: what many such are called, and what to do about it."""

    plural: str
    remedy: str


class UnfitError(Exception):
    """A line that cannot be read as it should be; its text is what is wrong with it."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind = kind


class Problems:
    """The wrong lines of one table, ``where`` being its path and ``unit`` what its lines are called."""

    def __init__(self, where: str, unit: str) -> None:
        self._where, self._unit = where, unit
        self._first: tuple[int, UnfitError] | None = None
        self._counts: dict[Kind, int] = {}
        self._lines: dict[Kind, list[int]] = {}

    def add(self, line: int, error: UnfitError) -> None:
        """Count a wrong line."""
        if self._first is None:
            self._first = (line, error)
            return
        self._counts[error.kind] = self._counts.get(error.kind, 0) + 1
        lines = self._lines.setdefault(error.kind, [])
        if len(lines) <= MOST_LINES:
            lines.append(line)

    def refuse(self) -> None:
        """Raise ``DataError`` where anything is wrong: the first of it, what to do, and how much more there is."""
        if self._first is None:
            return
        line, error = self._first
        more = f" More of it: {', '.join(map(self._counted, self._counts))}." if self._counts else ""
        raise DataError(f"{self._where}, {self._unit} {line}: {error}. {error.kind.remedy}{more}")

    def _counted(self, kind: Kind) -> str:
        lines = self._lines[kind]
        shown = ", ".join(map(str, lines[:MOST_LINES])) + (", …" if len(lines) > MOST_LINES else "")
        return f"{self._counts[kind]} {kind.plural} ({self._unit}{'s' if len(lines) > 1 else ''} {shown})"
