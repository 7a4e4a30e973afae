"""Values beside the true ones."""

from __future__ import annotations

import numpy as np
import pytest

from finetune.report.sections import values as module
from finetune.report.sections.values import values
from finetune.types import Figure

from .conftest import Made, said, table


def test_how_far_each_value_is_off_is_in_its_own_units(made: Made) -> None:
    targets = np.arange(11, dtype=np.float32).reshape(-1, 1)

    blocks = list(values(made("regression", targets + 2, targets, labels=("age",))))

    assert table(blocks, "True values").rows == (("age", "0", "10", "2", "2", "2"),)
    assert [block.alt for block in blocks if isinstance(block, Figure)] == [
        "Predicted over true values of age, and their differences."
    ]


def test_of_many_values_the_first_are_drawn_and_all_are_in_the_table(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_DRAWN", 1)
    targets = np.arange(6, dtype=np.float32).reshape(2, 3)

    blocks = list(values(made("regression", targets, targets)))

    assert sum(isinstance(block, Figure) for block in blocks) == 1
    assert said(blocks)[-1] == "The first 1 of 3 values are drawn."
    assert [row[0] for row in table(blocks, "True values").rows] == ["a", "b", "c"]


@pytest.mark.parametrize("task", ["single-label", "multi-label"])
def test_labels_are_no_values(task: str, made: Made) -> None:
    right = np.eye(3, dtype=np.float32)

    assert list(values(made(task, right, [0, 1, 2] if task == "single-label" else right))) == []


def test_without_pictures_there_is_no_empty_plot(made: Made) -> None:
    assert said(values(made("regression", [], np.zeros((0, 3)), train=np.zeros((2, 3))))) == [
        "There are no validation pictures."
    ]
