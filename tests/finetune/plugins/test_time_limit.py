"""How long a plugin may take to load, and what becomes of other alarms."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import pytest

from finetune.errors import PluginError
from finetune.plugins.time_limit import LOADING_LIMIT_S, time_limit

from .conftest import offering, only, plugin

pytestmark = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="there is no SIGALRM here")
LIMIT_S = 0.2
TOO_SLOW = (
    "importing it and calling its hooks took longer than 0.2 s; heavy imports belong into its functions. "
    "FINETUNE_PLUGINS=NAME,NAME loads only the plugins that it names; or: pip uninstall finetune-stranger"
)


@pytest.fixture(autouse=True)
def _no_other_alarm() -> Iterator[None]:
    """Put the alarm of the test suite's own time limit aside."""
    handler, timer = signal.getsignal(signal.SIGALRM), signal.setitimer(signal.ITIMER_REAL, 0)
    yield
    signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, *timer)


def wait() -> ModuleType:
    threading.Event().wait()
    return offering()


def spin() -> ModuleType:
    while True:
        pass


def swallow() -> ModuleType:
    while True:
        try:
            wait()
        except Exception:
            continue


def swallow_everything() -> ModuleType:
    with contextlib.suppress(BaseException):
        wait()
    return offering()


def wrap() -> ModuleType:
    try:
        return wait()
    except BaseException as error:
        raise ImportError("something went wrong") from error


@pytest.mark.parametrize("load", [wait, spin, swallow, swallow_everything, wrap])
def test_a_plugin_that_hangs_while_it_is_imported_is_set_aside(load: Callable[[], object]) -> None:
    assert only(load, limit_s=LIMIT_S).problem == TOO_SLOW


def test_a_hook_that_hangs_sets_its_plugin_aside_and_is_seen_in_the_trace() -> None:
    info = only(lambda: plugin(datasets=lambda: wait()), limit_s=LIMIT_S)

    assert info.problem == TOO_SLOW
    assert [call.hook for call in info.calls] == ["finetune_register_datasets"]


def test_in_another_thread_there_is_no_limit() -> None:
    found: list[bool] = []

    def load() -> None:
        with time_limit(1e-9, "x"):
            found.append(sum(range(100_000)) > 0)

    thread = threading.Thread(target=load)
    thread.start()
    thread.join()

    assert found == [True]


def test_afterwards_the_former_handler_is_back_and_no_alarm_is_left() -> None:
    def ours(*_: object) -> None: ...

    signal.signal(signal.SIGALRM, ours)
    for load in (offering, wait):
        only(load, limit_s=LIMIT_S)

        assert signal.getsignal(signal.SIGALRM) is ours
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_alarm_that_somebody_else_waits_for_still_comes_with_the_time_that_passed_taken_off() -> None:
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 100, 50)

    with time_limit(10, "x"):
        began = time.monotonic()
        while time.monotonic() - began < 0.05:
            pass

    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, 0)
    assert 0 < left_s <= 99.95
    assert interval_s == 50


def test_an_alarm_that_was_due_meanwhile_comes_at_once() -> None:
    rung = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: rung.set())
    signal.setitimer(signal.ITIMER_REAL, 0.01)

    with pytest.raises(PluginError), time_limit(0.05, "x"):
        wait()

    assert rung.wait(10)


def test_a_plugin_has_ten_seconds() -> None:
    assert LOADING_LIMIT_S == 10
