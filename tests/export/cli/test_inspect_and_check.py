"""What a model file says about itself, and whether it may be used."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import onnx
import pytest

from finetune_export import Contract, read_contract
from finetune_export.contract import PluginOrigin, Task

from .conftest import Said


@pytest.fixture
def careful(
    make_graph: Callable[..., onnx.ModelProto], seal: Callable[..., bytes], contract: Contract, tmp_path: Path
) -> Path:
    """Return a model that abstains from ants below 0.9, in short numbers."""
    path = tmp_path / "careful.onnx"
    path.write_bytes(seal(make_graph(), replace(contract, precision="int8", thresholds={"ant": 0.9})))
    return path


def test_inspect_shows_the_labels_and_where_the_model_comes_from(cli: Callable[..., Said], model_path: Path) -> None:
    said = cli("inspect", model_path)

    assert (said.status, said.err) == (0, "")
    rows = said.out.splitlines()
    assert "labels        0  ant" in rows
    assert "              2  Käfer 甲" in rows
    assert "precision     fp32" in rows
    assert "validation    accuracy 0.9750, images 8.0000" in rows
    assert "run           2024-01-02-a" in rows
    assert f"graph         sha256 {read_contract(model_path).graph_sha256}" in rows


def test_inspect_shows_below_which_probability_the_model_abstains(cli: Callable[..., Said], careful: Path) -> None:
    rows = cli("inspect", careful).out.splitlines()

    assert "labels        0  ant, abstains below 0.9" in rows
    assert "              1  bee" in rows
    assert "precision     int8" in rows


def test_inspect_shows_the_plugins_that_had_a_part(
    cli: Callable[..., Said],
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract: Contract,
    model_path: Path,
    tmp_path: Path,
) -> None:
    gems = PluginOrigin(
        distribution="gems",
        version="1.2",
        licence="MIT",
        origin="https://gems.example",
        used_for=("dataset a", "metric b"),
    )
    bees = PluginOrigin(
        distribution="bees", version="2", licence="unknown", origin="local folder", used_for=("target c",)
    )
    path = tmp_path / "with_plugins.onnx"
    path.write_bytes(seal(make_graph(), replace(contract, plugins=(gems, bees))))

    rows = cli("inspect", path).out.splitlines()

    at = rows.index("plugins       gems 1.2 (MIT), for dataset a, metric b")
    assert rows[at + 1 : at + 4] == [
        "              from https://gems.example",
        "              bees 2 (unknown), for target c",
        "              from local folder",
    ]
    assert "plugins" not in cli("inspect", model_path).out


@pytest.mark.parametrize(
    ("task", "expected"),
    [
        (
            "single-label",
            [
                "task          single-label, 3 labels, one of which is right",
                "labels        0  ant",
                "in the graph  mean 0.485 0.456 0.406, std 0.229 0.224 0.225 on 0..1, temperature 1, softmax",
            ],
        ),
        (
            "multi-label",
            [
                "task          multi-label, 3 labels, each of which may be right",
                "labels        0  ant, given from 0.5",
                "              1  bee, given from 0.3",
                "in the graph  mean 0.485 0.456 0.406, std 0.229 0.224 0.225 on 0..1, temperature 1, sigmoid",
            ],
        ),
        (
            "regression",
            [
                "task          regression, 3 values",
                "values        0  age, mean 40, standard deviation 12.5 in training",
                "              1  weight in kg, mean -70, standard deviation 8 in training",
                "in the graph  mean 0.485 0.456 0.406, std 0.229 0.224 0.225 on 0..1, "
                "output × standard deviation + mean",
            ],
        ),
    ],
)
def test_inspect_says_what_the_answers_are(
    task: Task, expected: list[str], cli: Callable[..., Said], task_path: Callable[[Task], Path]
) -> None:
    said = cli("inspect", task_path(task))

    assert (said.status, said.err) == (0, "")
    assert [line for line in expected if line not in said.out.splitlines()] == []


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_check_passes_a_sound_model_of_any_task(
    task: Task, cli: Callable[..., Said], task_path: Callable[[Task], Path]
) -> None:
    assert cli("check", task_path(task)).status == 0


def test_inspect_prints_the_contract_as_json(cli: Callable[..., Said], careful: Path) -> None:
    contract = json.loads(cli("inspect", careful, "--json").out)

    assert contract["labels"] == ["ant", "bee", "Käfer 甲"]
    assert contract["thresholds"] == {"ant": 0.9}


def test_a_table_shows_control_characters_instead_of_obeying_them(
    cli: Callable[..., Said],
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract: Contract,
    tmp_path: Path,
) -> None:
    path = tmp_path / "coloured.onnx"
    path.write_bytes(seal(make_graph(), replace(contract, precision="int8", metrics={"\x1b[2J\u2028accuracy": 1.0})))

    assert r"validation    \x1b[2J\u2028accuracy 1.0000" in cli("inspect", path).out.splitlines()


def test_check_passes_a_sound_model(cli: Callable[..., Said], model_path: Path) -> None:
    said = cli("check", model_path)

    assert (said.status, said.err) == (0, "")
    assert said.out == f"{model_path}: passed: 3 labels, fp32, graph and golden pairs are right\n"


def test_check_says_of_every_model_whether_it_is_refused(
    cli: Callable[..., Said], model: bytes, model_path: Path, tmp_path: Path
) -> None:
    flipped = tmp_path / "flipped.onnx"
    flipped.write_bytes(model.replace(b"Softmax", b"Sigmoid"))

    said = cli("check", flipped, model_path, "gone.onnx")

    first, second, third = said.out.splitlines()
    assert said.status == 4
    assert first.startswith(f"{flipped}: refused: the graph is not the one that was exported")
    assert second.startswith(f"{model_path}: passed")
    cause = "the model file cannot be read (No such file or directory); check its path and permissions"
    assert third == f"gone.onnx: refused: {cause}"


def test_check_can_be_read_by_a_script(cli: Callable[..., Said], model_path: Path) -> None:
    said = cli("check", model_path, "gone.onnx", "--json")

    passed, refused = json.loads(said.out)
    assert said.status == 4
    assert (passed["model"], passed["error"], passed["notes"]) == (str(model_path), None, [])
    assert (passed["labels"], passed["precision"]) == (3, "fp32")
    assert passed["graph_sha256"] == read_contract(model_path).graph_sha256
    assert passed["providers"] == ["CPUExecutionProvider"]
    assert refused["error"].startswith("the model file cannot be read")


def test_check_of_a_provider_that_is_not_there_is_an_environment_error(
    cli: Callable[..., Said], model_path: Path
) -> None:
    said = cli("check", model_path, "--provider", "abacus")

    assert (said.status, said.out) == (6, "")
    assert said.err.startswith("finetune-export: onnxruntime provider 'abacus' is not installed; available are ")
