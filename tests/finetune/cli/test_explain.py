"""``finetune explain`` on the command line: what it prints, and where it writes."""

from __future__ import annotations

import json
from typing import Any

from .conftest import refusal


def test_the_answers_and_the_files_are_printed(cli: Any, trained: Any) -> None:
    pictures = sorted((trained.pictures / "valid").glob("*/0 of 6, plain.jpg"))

    said = cli("explain", trained.run, *pictures)

    assert said.status == 0, said.err
    lines = said.out.splitlines()
    assert [line.rpartition("  ")[2] for line in lines] == [
        "explained/0 of 6, plain.explained.png",
        "explained/0 of 6, plain-2.explained.png",
    ]
    assert all("%  " in line for line in lines)
    assert "Explaining" in said.err


def test_json_is_one_list(cli: Any, trained: Any, tmp_path: Any) -> None:
    picture = next((trained.pictures / "valid").glob("*/0 of 6, plain.jpg"))

    said = cli("explain", trained.model, picture, "--label", "dog, brown", "--out", tmp_path / "out", "--json")

    (found,) = json.loads(said.out)
    assert (found["path"], found["explains"]) == (str(picture), "dog, brown")
    assert found["file"] == str(tmp_path / "out" / "0 of 6, plain.explained.png")
    assert 0 <= found["answer"] <= 1


def test_refusals_are_one_line_with_the_status_of_their_kind(cli: Any, trained: Any, tmp_path: Any) -> None:
    assert "There is no picture to explain." in refusal(cli("explain", trained.run), 2)
    assert "cannot be read" in refusal(cli("explain", trained.run, tmp_path / "missing.jpg"), 3)
    assert "cannot be read" in refusal(cli("explain", tmp_path / "model.onnx", "x.jpg"), 4)
