"""A limit on how long a plugin may take to load, so that one that hangs does not hang every command."""

from __future__ import annotations

import contextlib
import inspect
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

from finetune.errors import PluginError
from finetune.plugins.calling import comes_from_the_user

LOADING_LIMIT_S = 10.0
"""How long importing a plugin and calling its hooks may take, all in all; light modules take milliseconds."""
MOST_ALARMS = 6
"""At so many alarms even an import of somebody else's package is broken off."""


class TimeIsUp(BaseException):
    """Raised inside the plugin that takes too long; no ``Exception``, so that its ``except Exception`` lets it pass."""


class HalfImportedError(PluginError):
    """A package that is not the plugin's own was broken off while it was imported: this process cannot go on."""


@contextlib.contextmanager
def time_limit(seconds: float, distribution: str, module: str = "") -> Iterator[None]:
    """Raise ``PluginError`` when what is inside takes longer than ``seconds``, even where it swallows the first alarm.

    It is an alarm of the operating system's, which Python heeds between two steps of its own: in the main thread, and
    not while a library in C is at work. In other threads, and on systems without ``SIGALRM``, there is no limit.

    Where another package than that of the plugin's ``module`` is being imported, the alarm is remembered and rings
    again ``seconds`` later, for libraries in C can be initialised only once in a process. One that is not done at the
    last of ``MOST_ALARMS`` is broken off, which raises ``HalfImportedError``.
    """
    if not _has_alarm():
        yield
        return
    alarm = _Alarm(module)
    with _ringing(seconds, alarm.ring):
        try:
            try:
                yield
            finally:
                alarm.over = True
        except BaseException as error:  # the alarm as well, for it may have rung on the way out
            alarm.over = True
            if wanted := _of_the_user(error):
                raise wanted from None
            if not alarm.rung:
                raise
    if alarm.broken_off:
        raise HalfImportedError(_never_done(alarm.broken_off, seconds * MOST_ALARMS, distribution))
    if alarm.rung:  # whatever the plugin made of it
        raise PluginError(_too_slow(seconds, distribution))


class _Alarm:
    """What to do when it rings, and how often it did; ``broken_off`` is the package whose import was broken off."""

    def __init__(self, module: str) -> None:
        self._own = _package(module)
        self._around = len(list(self._imported(inspect.currentframe())))
        self.rung, self.over, self.broken_off = 0, False, ""

    def ring(self, _number: int, frame: FrameType | None) -> None:
        if self.over:
            return
        self.rung += 1
        inside = list(self._imported(frame))
        if len(inside) > self._around:
            if self.rung < MOST_ALARMS:
                return
            self.broken_off = inside[-1 - self._around]  # the outermost, which the plugin asked for
        raise TimeIsUp

    def _imported(self, frame: FrameType | None) -> Iterator[str]:
        """Yield the packages other than the plugin's own that are being imported, the innermost first."""
        while frame is not None:
            package = _package(_imported_by(frame))
            if package and package != self._own:
                yield package
            frame = frame.f_back


def _imported_by(frame: FrameType) -> str:
    """Return the module that a frame runs the body of, or that Python's import system loads in it; or nothing."""
    if frame.f_code.co_name == "<module>":
        return str(frame.f_globals.get("__name__", ""))
    if frame.f_code.co_name == "_load_unlocked":  # a library in C has no body
        return str(getattr(frame.f_locals.get("spec"), "name", ""))
    return ""


def _package(module: str) -> str:
    return module.partition(".")[0]


@contextlib.contextmanager
def _ringing(seconds: float, ring: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Call ``ring`` every so many seconds; what rang before goes on ringing afterwards."""
    former_handler = signal.signal(signal.SIGALRM, ring)
    former_delay_s, former_interval_s = signal.setitimer(signal.ITIMER_REAL, seconds, seconds)
    due = time.monotonic() + former_delay_s
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former_handler)
        if former_delay_s:  # somebody else's, who must not wait for ever
            signal.setitimer(signal.ITIMER_REAL, max(due - time.monotonic(), 1e-6), former_interval_s)


def _has_alarm() -> bool:
    if not hasattr(signal, "SIGALRM") or threading.current_thread() is not threading.main_thread():
        return False
    return signal.getsignal(signal.SIGALRM) is not None  # a handler that Python did not set could not be put back


def _of_the_user(error: BaseException) -> BaseException | None:
    """Return the Ctrl-C or the signal to end that an alarm overtook, or that the error is; None where it is neither."""
    found: BaseException | None = error
    while isinstance(found, TimeIsUp):
        found = found.__context__
    return found if found and comes_from_the_user(found) else None


def _too_slow(seconds: float, distribution: str) -> str:
    return (
        f"importing it and calling its hooks took longer than {seconds:g} s; heavy imports belong into its functions. "
        f"{_without(distribution)}"
    )


def _never_done(package: str, seconds: float, distribution: str) -> str:
    return (
        f"it imports '{package}', which was not done after {seconds:g} s and was broken off, so that nothing in this "
        f"process can use it. {_without(distribution)}"
    )


def _without(distribution: str) -> str:
    return f"FINETUNE_PLUGINS=NAME,NAME loads only the plugins that it names; or: pip uninstall {distribution}"
