"""How long a plugin may take to load, and what becomes of other alarms."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace

import pytest

from finetune.errors import PluginError
from finetune.plugins import PluginInfo, Plugins
from finetune.plugins import time_limit as module
from finetune.plugins.time_limit import LOADING_LIMIT_S, time_limit

from .conftest import candidate, offering, plugin

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


def alone(load: Callable[[], object], limit_s: float = LIMIT_S) -> PluginInfo:
    """Return what becomes of a plugin; sound neighbours, which a starved machine may hold up, are none of it."""
    return Plugins([candidate(load)], limit_s=limit_s).infos[0]


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
    assert alone(load).problem == TOO_SLOW


def test_a_hook_that_hangs_sets_its_plugin_aside_and_is_seen_in_the_trace() -> None:
    info = alone(lambda: plugin(datasets=lambda: wait()))

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
    for load, limit_s in ((offering, LOADING_LIMIT_S), (wait, LIMIT_S)):
        alone(load, limit_s)

        assert signal.getsignal(signal.SIGALRM) is ours
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_an_alarm_that_somebody_else_waits_for_still_comes_with_the_time_that_passed_taken_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passing_s = iter((0.0, 900.0))
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(passing_s)))
    signal.signal(signal.SIGALRM, lambda *_: None)
    signal.setitimer(signal.ITIMER_REAL, 1000, 50)

    with time_limit(500, "x"):
        pass

    left_s, interval_s = signal.setitimer(signal.ITIMER_REAL, 0)
    assert 0 < left_s <= 100
    assert interval_s == 50


def test_an_alarm_that_was_due_meanwhile_comes_at_once() -> None:
    rung = threading.Event()
    signal.signal(signal.SIGALRM, lambda *_: rung.set())
    signal.setitimer(signal.ITIMER_REAL, 0.01)

    with pytest.raises(PluginError), time_limit(0.05, "x"):
        wait()

    assert rung.wait(10)


def ended() -> None:
    sys.exit(128 + signal.SIGTERM)


def interrupted() -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("ending", "error"), [(interrupted, KeyboardInterrupt), (ended, SystemExit)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_user_who_ends_a_plugin_that_swallowed_the_alarm_ends_the_command(
    ending: Callable[[], None], error: type[BaseException]
) -> None:
    def load() -> object:
        swallow_everything()
        return ending()

    with pytest.raises(error) as caught:
        alone(load)

    assert caught.value.args in ((), (128 + signal.SIGTERM,))


@pytest.mark.parametrize(
    ("ending", "error"), [(interrupted, KeyboardInterrupt), (ended, SystemExit)], ids=["Ctrl-C", "SIGTERM"]
)
def test_a_user_who_ends_a_plugin_that_hangs_while_it_tidies_up_ends_the_command(
    ending: Callable[[], None], error: type[BaseException]
) -> None:
    def load() -> object:
        try:
            return ending()
        finally:
            wait()

    with pytest.raises(error):
        alone(load)


@pytest.mark.parametrize(("distribution", "limited"), [("finetune", False), ("finetune-pets", True)])
def test_strangers_have_a_limit_and_what_is_built_in_has_none(distribution: str, limited: bool) -> None:
    found: list[bool] = []

    def load() -> object:
        found.append(signal.getitimer(signal.ITIMER_REAL) != (0, 0))
        return offering()

    Plugins([candidate(load, distribution=distribution)])

    assert found == [limited]


def test_a_plugin_has_ten_seconds() -> None:
    assert LOADING_LIMIT_S == 10
