"""The thread that ends late runs outlives every limit it is given."""

from __future__ import annotations

import threading

import pytest

from finetune_export.errors import TimeLimitError
from finetune_export.time_limit import limited


class Run(threading.Event):
    """A run that knows when it was told to end."""

    @property
    def terminate(self) -> bool:
        return self.is_set()

    @terminate.setter
    def terminate(self, late: bool) -> None:
        if late:
            self.set()


def end_late() -> None:
    run = Run()
    with limited(run, 1e-3):
        assert run.wait(60)
        raise RuntimeError("ended")


@pytest.mark.parametrize("limit_s", [float("inf"), 1e300, 10 * threading.TIMEOUT_MAX])
def test_a_huge_limit_leaves_the_watch_alive(limit_s: float) -> None:
    huge = Run()
    with limited(huge, limit_s):
        with pytest.raises(TimeLimitError, match=r"longer than 0\.001 s"):
            end_late()
        (watch,) = [thread for thread in threading.enumerate() if thread.name == "run time limit"]
        with pytest.raises(TimeLimitError):  # the watch has gone back to waiting for the huge one, and wakes again
            end_late()
        assert watch.is_alive()
    assert not huge.terminate


def test_no_limit_is_not_watched() -> None:
    run = Run()
    with pytest.raises(RuntimeError, match="its own"), limited(run, None):
        raise RuntimeError("its own")
