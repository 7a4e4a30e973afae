"""A limit on how long a plugin may take to load, so that one that hangs does not hang every command."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

from finetune.errors import PluginError

LOADING_LIMIT_S = 10.0
"""How long importing a plugin and calling its hooks may take, all in all; light modules take milliseconds."""


class TimeIsUp(BaseException):
    """Raised inside the plugin that takes too long; no ``Exception``, so that its ``except Exception`` lets it pass."""


@contextlib.contextmanager
def time_limit(seconds: float, distribution: str) -> Iterator[None]:
    """Raise ``PluginError`` when what is inside takes longer than ``seconds``, even where it swallows the first alarm.

    It is an alarm of the operating system's, which Python heeds between two steps of its own: in the main thread, and
    not while a library in C is at work. In other threads, and on systems without ``SIGALRM``, there is no limit.
    """
    if not _has_alarm():
        yield
        return
    alarms: list[int] = []
    former_handler = signal.signal(signal.SIGALRM, lambda number, frame: _ring(alarms, number, frame))
    former_delay_s, former_interval_s = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    due = time.monotonic() + former_delay_s
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:  # twice, for it may ring on the way out
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former_handler)
        if former_delay_s:  # somebody else's, who must not wait for ever
            signal.setitimer(signal.ITIMER_REAL, max(due - time.monotonic(), 1e-6), former_interval_s)
        if alarms:  # whatever the plugin made of it
            raise PluginError(_too_slow(seconds, distribution))


def _has_alarm() -> bool:
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGALRM) is not None  # a handler that Python did not set could not be put back


def _ring(alarms: list[int], number: int, _frame: FrameType | None) -> None:
    alarms.append(number)
    raise TimeIsUp


def _too_slow(seconds: float, distribution: str) -> str:
    return (
        f"importing it and calling its hooks took longer than {seconds:g} s; heavy imports belong into its functions. "
        f"FINETUNE_PLUGINS=NAME,NAME loads only the plugins that it names; or: pip uninstall {distribution}"
    )
