"""How training went: drawn where there is something to draw, and said where there is not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetune.report.sections.curves import curves
from finetune.types import Figure, RateCurve, RunRecords

from .conftest import Made, said, with_history

HEADER = "phase,epoch,train_loss,valid_loss,accuracy"
FOUND = RateCurve(rates=(1e-4, 1e-3, 1e-2), losses=(1.0, 0.5, 2.0), suggestion=1e-3)


@pytest.fixture
def records(made: Made) -> RunRecords:
    phases = {"frozen": 0.75, "unfrozen": 0.5}
    right = np.eye(3, dtype=np.float32)
    return with_history(made("single-label", right, [0, 1, 2], phases=phases, kept="frozen"), HEADER)


def test_without_epochs_and_without_a_search_there_is_nothing(records: RunRecords) -> None:
    assert list(curves(records)) == []


def test_the_epoch_that_was_kept_is_the_best_of_its_phase_and_of_equals_the_one_with_the_lowest_loss(
    records: RunRecords,
) -> None:
    lines = ("frozen,1,0.9,0.9,0.75", "frozen,2,0.8,0.7,0.75", "frozen,3,0.7,0.8,0.5", "unfrozen,1,0.6,0.6,0.5")

    blocks = list(curves(with_history(records, "\n".join((HEADER, *lines)))))

    assert said(blocks) == ["The weights after epoch 2 of 4 were kept, of phase 'frozen'."]
    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    assert figure.alt == (
        "Training loss, validation loss and validation accuracy over 4 epochs, which end at 0.600, 0.600 and 50.0%. "
        "Phases: frozen, epochs 1 to 3, unfrozen, epoch 4."
    )
    assert figure.png != figure.dark_png != b""


def test_where_an_average_was_kept_no_epoch_is_named(records: RunRecords) -> None:
    blocks = curves(with_history(records, f"{HEADER}\nfrozen,1,0.9,0.9,0.5"))

    assert said(blocks) == []


def test_a_metric_that_was_never_defined_leaves_the_losses(records: RunRecords) -> None:
    blocks = list(curves(with_history(records, f"{HEADER}\nfrozen,1,0.9,0.9,nan")))

    assert said(blocks) == ["accuracy was undefined after every epoch."]
    assert ["0.900, 0.900 and –" in block.alt for block in blocks if isinstance(block, Figure)] == [True]


def test_where_nothing_was_a_number_there_is_no_empty_plot(records: RunRecords) -> None:
    blocks = list(curves(with_history(records, f"{HEADER}\nfrozen,1,nan,inf,nan")))

    assert said(blocks)[-1] == "No loss was a finite number, so there is no curve to draw."
    assert not any(isinstance(block, Figure) for block in blocks)


@pytest.mark.parametrize(("asked", "used"), [("find", "0.001"), (0.01, "0.01")])
def test_the_rate_that_was_suggested_is_said_beside_the_one_that_was_used(
    asked: object, used: str, records: RunRecords
) -> None:
    blocks = list(curves(replace(records, rate_curve=FOUND, options={"lr": asked})))

    assert said(blocks)[0].endswith(f"'valley' suggests 0.001; the head was trained with {used}.")
    (figure,) = [block for block in blocks if isinstance(block, Figure)]
    assert figure.alt == f"The loss over learning rates from 0.0001 to 0.01; 0.001 is suggested, {used} was used."


def test_a_search_whose_losses_are_no_numbers_is_not_drawn(records: RunRecords) -> None:
    nothing = replace(FOUND, losses=(float("nan"),) * 3)

    blocks = list(curves(replace(records, rate_curve=nothing, options={"lr": "find"})))

    assert said(blocks)[-1] == "No loss was a finite number, so there is no curve to draw."
    assert not any(isinstance(block, Figure) for block in blocks)
