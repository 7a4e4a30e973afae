"""What a rule of the kit is, and what comes of holding something against it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from finetune.plugins.calling import comes_from_the_user, reason

Verdict = Literal["ok", "failed", "not checked"]


class Broken(Exception):  # noqa: N818 - it is a finding about a plugin, and no error of ours
    """A rule does not hold: ``found`` is what came instead of what the rule expects."""

    def __init__(self, found: str) -> None:
        super().__init__(found)
        self.found = found


class NotChecked(Exception):  # noqa: N818 - likewise
    """A rule could not be tried; ``why`` says what its author may give so that it can."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


@dataclass(frozen=True, kw_only=True)
class Case:
    """A plugin, and what it takes to try it.

    ``plugin`` is the name of its entry point. ``data`` is a small copy for data sets that take one with ``--data``,
    ``name`` a ``--name``. ``archives`` are small stand-ins for what is published, by the name of the archive, so that
    downloading can be tried without a network. ``only`` names the things to try where a plugin offers many;
    ``image_size_px`` is the size to try backbones at, None for the smallest that each takes.
    """

    plugin: str
    data: Path | None = None
    name: str | None = None
    archives: Mapping[str, Path] = field(default_factory=dict)
    only: tuple[str, ...] = ()
    image_size_px: int | None = None


@dataclass(frozen=True, kw_only=True)
class Rule:
    """A promise that things of a kind make.

    ``expects`` ends the sentence "expected …". ``read`` is the dotted name of what documents it, for
    ``python -m pydoc``. ``hold`` takes the thing under test, and raises ``Broken`` or ``NotChecked``, or else returns.
    """

    name: str
    kind: str
    expects: str
    read: str
    hold: Callable[[Any], None]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What came of one rule, held against one thing."""

    rule: str
    subject: str
    verdict: Verdict
    message: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class Check:
    """One rule and one thing; ``subject`` is what people call it, such as "data set 'pets'".

    ``is_last``: no other rule is held against the thing after this one, so what it keeps for its rules is let go.
    """

    rule: Rule
    subject: str
    thing: Any
    is_last: bool = False

    @property
    def id(self) -> str:
        """A name for it that stays the same from run to run."""
        return f"{self.subject.replace(' ', '-').replace(chr(39), '')}-{self.rule.name}"

    def run(self) -> Finding:
        """Hold the thing against the rule; what the thing raises by itself is a failure, too."""
        started = time.perf_counter()
        verdict, message = self._verdict()
        if self.is_last:
            _let_go(self.thing)
        seconds = round(time.perf_counter() - started, 3)
        return Finding(rule=self.rule.name, subject=self.subject, verdict=verdict, message=message, seconds=seconds)

    def _verdict(self) -> tuple[Verdict, str]:
        try:
            self.rule.hold(self.thing)
        except Broken as broken:
            return "failed", self._message(broken.found)
        except NotChecked as left_out:
            return "not checked", left_out.why
        except BaseException as error:  # of the plugin's, whatever it is
            return "failed", self._message(fault(error))
        return "ok", ""

    def _message(self, found: str) -> str:
        return (
            f"{self.subject} breaks the rule '{self.rule.name}': expected {self.rule.expects}; found {found}. "
            f"Read: python -m pydoc {self.rule.read}"
        )


def fault(error: BaseException) -> str:
    """Return in a line what a plugin's code raised, ``SystemExit`` included; raise it again if it is the user's."""
    if comes_from_the_user(error):
        raise error
    return reason(error)


def _let_go(thing: object) -> None:
    """Drop what a thing under test has computed once and kept; it would be computed again."""
    for name in [name for name in vars(thing) if isinstance(getattr(type(thing), name, None), cached_property)]:
        del vars(thing)[name]
