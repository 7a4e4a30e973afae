"""What happens when a plugin's hooks are called, kept for ``finetune plugins --trace``."""

from __future__ import annotations

import inspect
import reprlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pluggy

from finetune.plugins.calling import reason


@dataclass(frozen=True, kw_only=True)
class HookCall:
    """One call of a hook of a plugin's.

    ``implementation`` is "module:function", ``place`` "file:line". ``registered`` are the names that it registered.
    ``returned`` shows what it returned, which should be nothing; ``error`` says what it raised.
    """

    hook: str
    implementation: str
    place: str
    registered: tuple[str, ...]
    milliseconds: float
    returned: str | None = None
    error: str | None = None


class Tracer:
    """Keeps every call of a manager's hooks that somebody implements, in their order.

    ``offered`` is the list that grows by (kind, thing) with everything that is registered.
    """

    def __init__(
        self, manager: pluggy.PluginManager, offered: Sequence[tuple[str, Any]], calls: list[HookCall]
    ) -> None:
        self._offered, self._calls = offered, calls
        self._before = 0
        self._began = 0.0
        manager.add_hookcall_monitoring(self._begin, self._end)

    def _begin(self, _hook: str, _implementations: Sequence[pluggy.HookImpl], _given: Mapping[str, Any]) -> None:
        self._before, self._began = len(self._offered), time.perf_counter()

    def _end(
        self,
        outcome: pluggy.Result[Any],
        hook: str,
        implementations: Sequence[pluggy.HookImpl],
        _given: Mapping[str, Any],
    ) -> None:
        if not implementations:
            return
        returned = None if outcome.exception else outcome.get_result()
        self._calls.append(
            HookCall(
                hook=hook,
                implementation=", ".join(_name(each) for each in implementations),
                place=", ".join(_place(each) for each in implementations),
                registered=tuple(item.name for _, item in self._offered[self._before :]),
                milliseconds=round((time.perf_counter() - self._began) * 1000, 3),
                returned=reprlib.repr(returned) if returned else None,
                error=reason(outcome.exception) if outcome.exception else None,
            )
        )


def _name(implementation: pluggy.HookImpl) -> str:
    function = implementation.function
    return f"{getattr(function, '__module__', '?')}:{getattr(function, '__qualname__', '?')}"


def _place(implementation: pluggy.HookImpl) -> str:
    code = getattr(inspect.unwrap(implementation.function), "__code__", None)
    return f"{code.co_filename}:{code.co_firstlineno}" if code else "?"
