"""The commands that ask a model: predict, inspect, verify."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .conftest import Said, refusal


@pytest.fixture
def two(trained: Any, tmp_path: Path) -> list[Path]:
    """Return two pictures whose names have a space, a comma, and letters of several scripts."""
    (source,) = (trained.pictures / "valid" / trained.labels[0]).glob("1 of 6*")
    names = [tmp_path / "a cat, maybe.png", tmp_path / "ねこ è.png"]
    return [Path(shutil.copy(source, name)) for name in names]


def test_predict_prints_a_line_for_every_picture_in_order(
    trained: Any, two: list[Path], cli: Callable[..., Said]
) -> None:
    said = cli("predict", trained.model, *two)

    lines = said.out.splitlines()
    assert (said.status, said.err, len(lines)) == (0, "", 2)
    for line, path in zip(lines, two, strict=True):
        assert line.startswith(str(path))
        assert line.removeprefix(str(path)).strip().rpartition(" ")[0] in trained.labels


def test_predict_shows_as_many_labels_as_asked_for(trained: Any, two: list[Path], cli: Callable[..., Said]) -> None:
    said = cli("predict", trained.model, two[0], "--top", 2)

    assert all(label in said.out for label in trained.labels)


def test_predict_takes_folders(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("predict", trained.model, trained.pictures / "valid", "--json")

    assert len(json.loads(said.out)) == trained.result.compared


def test_predictions_can_be_read_as_json(trained: Any, two: list[Path], cli: Callable[..., Said]) -> None:
    answers = json.loads(cli("predict", trained.model, *two, "--top", 2, "--json").out)

    assert [answer["path"] for answer in answers] == list(map(str, two))
    for answer in answers:
        assert answer["label"] in trained.labels
        assert answer["top"][0] == [answer["label"], answer["probability"]]
        assert sum(probability for _, probability in answer["top"]) == pytest.approx(1, abs=1e-5)


def test_predictions_can_be_read_as_csv(trained: Any, two: list[Path], cli: Callable[..., Said]) -> None:
    said = cli("predict", trained.model, *two, "--top", 2, "--csv")

    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert [(row["path"], row["rank"]) for row in rows] == [(str(path), rank) for path in two for rank in "12"]
    assert {row["label"] for row in rows} == set(trained.labels)
    assert {row["error"] for row in rows} == {""}


def test_a_picture_that_is_missing_is_named_and_the_others_are_answered(
    trained: Any, two: list[Path], cli: Callable[..., Said]
) -> None:
    said = cli("predict", trained.model, two[0], "gone.jpg", two[1])

    assert said.status == 3
    assert [line.startswith(str(path)) for line, path in zip(said.out.splitlines(), two, strict=True)] == [True, True]
    assert said.err.startswith("finetune: gone.jpg: ")
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize("form", ["--json", "--csv"])
def test_a_picture_that_is_missing_is_part_of_what_scripts_read(
    form: str, trained: Any, two: list[Path], cli: Callable[..., Said]
) -> None:
    said = cli("predict", trained.model, two[0], "gone.jpg", form)

    answers = json.loads(said.out) if form == "--json" else list(csv.DictReader(io.StringIO(said.out)))
    assert said.status == 3
    assert [answer["path"] for answer in answers] == [str(two[0]), "gone.jpg"]
    assert answers[1]["error"]


def test_a_folder_without_pictures_is_a_data_error(trained: Any, tmp_path: Path, cli: Callable[..., Said]) -> None:
    (tmp_path / "empty").mkdir()

    assert "holds no pictures" in refusal(cli("predict", trained.model, tmp_path / "empty"), 3)


def test_what_is_printed_is_utf_8_whatever_the_terminal_and_the_names_of_files_are(
    trained: Any, two: list[Path], process: Callable[..., Said], tmp_path: Path
) -> None:
    odd = os.fsdecode(bytes(tmp_path) + b"/\xff.png")
    shutil.copy(two[0], odd)

    said = process("predict", trained.model, odd, two[1], "--json", PYTHONIOENCODING="ascii")

    assert (said.status, said.err) == (0, "")
    assert [answer["path"] for answer in json.loads(said.out)] == [odd, str(two[1])]


def test_inspect_shows_the_labels_and_where_the_model_comes_from(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("inspect", trained.model)

    assert (said.status, said.err) == (0, "")
    for number, label in enumerate(trained.labels):
        assert f"{number}  {label}" in said.out
    assert trained.run.name in said.out
    assert "squeezenet1_1, weights none\n" in said.out


def test_inspect_prints_the_contract_as_json(trained: Any, cli: Callable[..., Said]) -> None:
    assert tuple(json.loads(cli("inspect", trained.model, "--json").out)["labels"]) == trained.labels


def test_verify_prints_what_it_found(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("verify", trained.model)

    assert said.status == 0
    assert "graph, hash and golden pairs are right, 2 labels" in said.out
    assert "the same label on 24 of 24 pictures" in said.out


def test_verify_can_be_read_by_a_script(trained: Any, cli: Callable[..., Said]) -> None:
    found = json.loads(cli("verify", trained.model, "--json").out)

    assert found["verification"]["agreement"] == 1.0


def test_verify_of_pictures_that_are_gone_is_a_data_error(
    trained: Any, tmp_path: Path, cli: Callable[..., Said]
) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    split = tmp_path / "run" / "split.csv"
    split.write_text(split.read_text(encoding="utf-8").replace(str(trained.pictures), "/gone"), encoding="utf-8")

    assert "Give --data, the folder where they are now." in refusal(cli("verify", tmp_path / "run" / "model.onnx"), 3)
