"""Pictures that the network has no answer for, and networks that have no answer for any picture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from PIL import Image

from finetune_export.bulk.answers import Question, answer, open_predictor
from finetune_export.bulk.sources import Entry
from finetune_export.errors import ModelError

NO_NUMBERS = "the network's probabilities are not one row of finite numbers for each picture"


@pytest.fixture
def relative(
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    write: Callable[[bytes], Path],
    question: Question,
) -> Question:
    """Ask a network that divides by the brightest value: of a black picture, it makes numbers that are none."""
    model = make_graph()
    model.graph.initializer.append(numpy_helper.from_array(np.array([1, 2, 3], np.int64), "all"))
    model.graph.node[1].CopyFrom(helper.make_node("Div", ["float", "brightest"], ["unit"]))
    model.graph.node.insert(1, helper.make_node("ReduceMax", ["float", "all"], ["brightest"]))
    write(seal(model))
    return question


@pytest.fixture
def three(pictures: Path, tmp_path: Path) -> list[Entry]:
    """Two photographs, and a black picture between them."""
    Image.new("RGB", (20, 20)).save(tmp_path / "black.png")
    photos = sorted((pictures / "cat").iterdir())
    return [Entry(str(path)) for path in (photos[0], tmp_path / "black.png", photos[1])]


@pytest.mark.parametrize("size", [1, 3])
def test_a_picture_that_the_network_fails_on_is_an_error_and_the_others_are_answered(
    size: int, relative: Question, three: list[Entry]
) -> None:
    predictor = open_predictor(relative, check=True)
    found = [row for i in range(0, 3, size) for row in answer(predictor, relative, three[i : i + size])]
    assert [row.error for row in found] == [None, NO_NUMBERS, None]
    assert [row.path for row in found] == [entry.path for entry in three]
    assert all(row.label for row in found[::2])


@pytest.mark.parametrize("size", [1, 3])
def test_a_network_that_fails_on_every_picture_is_refused(
    size: int,
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    write: Callable[[bytes], Path],
    question: Question,
    three: list[Entry],
) -> None:
    broken = replace(question, model=str(write(seal(make_graph(np.full((48, 3), np.nan, np.float32)), pairs=False))))
    predictor = open_predictor(broken, check=False)
    with pytest.raises(ModelError, match=f"model.onnx: {NO_NUMBERS}"):
        answer(predictor, broken, three[:size])
