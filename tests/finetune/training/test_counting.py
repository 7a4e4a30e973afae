"""What the trainer tells of how far it is: in pictures, from wherever an earlier attempt had come to."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.reporting import SilentReporter
from finetune.training.checkpoints import Checkpoints
from finetune.training.journal import Journal
from finetune.training.trainer import Trainer

from .conftest import job_of, phases_of

HEAD = "Training, frozen"


class EndedError(BaseException):
    """What ends training in the tests: nothing that anything would handle."""


class Counting(SilentReporter):
    """Remembers how far each job was told to be; ends it at a call, from 1, where a test asks for that."""

    def __init__(self, last_call: int | None = None) -> None:
        self.last_call = last_call
        self.totals: dict[str, tuple[int | None, str]] = {}
        self.told: dict[str, list[int]] = {}

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.totals[title] = total, unit
        self.told[title] = self.now = []

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.now.append(steps)
        if self.now is self.told.get(HEAD) and len(self.now) == self.last_call:
            raise EndedError


@pytest.mark.parametrize(("count", "batches"), [(5, [4, 4, 2]), (6, [4, 4, 4])])
def test_a_phase_is_counted_in_pictures_and_goes_on_with_those_that_were_taken_before(
    count: int, batches: list[int], picture_folder: Callable[..., Path], tmp_path: Path
) -> None:
    job = job_of(picture_folder(count=count, parts=("train", "valid")))
    head, _ = phases_of(job)

    def train(reporter: Counting) -> None:
        Trainer(job, reporter, Journal(Checkpoints(tmp_path / "checkpoints"), 0)).train(head)

    first, second = Counting(last_call=5), Counting()
    with pytest.raises(EndedError):
        train(first)
    train(second)

    assert first.totals[HEAD] == second.totals[HEAD] == (3 * 2 * count, "pictures")
    assert first.told[HEAD] == [*batches, *batches][:5]
    assert second.told[HEAD] == [sum(batches) + batches[0], *batches[1:], *batches]
