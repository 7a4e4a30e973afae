"""The commands that ask a model: the runtime's own, under this program's name, and verify."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune_export.cli import COMMANDS, run

from .conftest import Said, refusal


def test_help_lists_the_runtimes_commands_with_their_one_line(cli: Callable[..., Said]) -> None:
    lines = cli("--help").out.splitlines()

    for name, summary in COMMANDS.items():
        assert any(line.startswith(f"│ {name} ") and summary in line for line in lines)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_of_the_runtime_has_the_same_help_and_speaks_of_this_program(
    name: str, cli: Callable[..., Said], capsys: pytest.CaptureFixture[str]
) -> None:
    said = cli(name, "--help")

    with pytest.raises(SystemExit):
        run([name, "--help"], program="finetune")
    assert (said.status, said.err, said.out) == (0, "", capsys.readouterr().out)
    assert said.out.startswith(f"usage: finetune {name} ")
    assert f"\n  finetune {name} " in said.out


def test_predict_takes_folders_and_options_between_words(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("predict", "--format", "csv", trained.model, trained.pictures / "valid", "--top", 2)

    rows = list(csv.DictReader(io.StringIO(said.out)))
    assert (said.status, said.err, len(rows)) == (0, "", trained.result.compared)
    assert {row["label"] for row in rows} | {row["label_2"] for row in rows} == set(trained.labels)


def test_a_picture_that_is_missing_is_named_after_this_program(trained: Any, cli: Callable[..., Said]) -> None:
    line = refusal(cli("predict", trained.model, "gone.jpg"), 3)

    assert line == "finetune: gone.jpg: the file cannot be read (No such file or directory)"


def test_a_name_that_looks_like_an_option_is_a_name_after_two_dashes(trained: Any, cli: Callable[..., Said]) -> None:
    (picture,) = (trained.pictures / "valid" / trained.labels[0]).glob("1 of 6*")
    shutil.copy(picture, Path("--help"))

    said = cli("predict", "--", trained.model, "--help")

    assert (said.status, said.out.split()[-1]) == (0, "--help")


def test_a_run_in_several_processes_is_the_runtimes(trained: Any, process: Callable[..., Said], tmp_path: Path) -> None:
    said = process("predict", trained.model, trained.pictures / "valid", "--processes", 2, "--out", "out.jsonl")

    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()]
    assert (said.status, said.out, said.err) == (0, "", f"finetune: out.jsonl: {len(rows)} rows\n")
    assert {row["label"] for row in rows} <= set(trained.labels)


def test_inspect_shows_the_labels_and_where_the_model_comes_from(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("inspect", trained.model)

    assert (said.status, said.err) == (0, "")
    for number, label in enumerate(trained.labels):
        assert f"{number}  {label}" in said.out
    assert trained.run.name in said.out
    assert "squeezenet1_1, weights none\n" in said.out


def test_check_passes_what_a_run_exported(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("check", trained.model)

    assert (said.status, said.err) == (0, "")
    assert said.out.startswith(f"{trained.model}: passed: 2 labels, fp32")


def test_verify_prints_what_it_found(trained: Any, cli: Callable[..., Said]) -> None:
    said = cli("verify", trained.model)

    assert said.status == 0
    assert "graph, hash and golden pairs are right, 2 labels" in said.out
    assert "the same answer on 24 of 24 pictures" in said.out
    assert re.search(r"^accuracy  trained (\d+\.\d%), exported \1$", said.out, re.MULTILINE)


def test_verify_can_be_read_by_a_script(trained: Any, cli: Callable[..., Said]) -> None:
    found = json.loads(cli("verify", trained.model, "--json").out)

    assert found["verification"]["agreement"] == 1.0


def test_verify_ends_what_a_record_says_with_a_verdict(
    toys: Callable[..., bytes], cli: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "toys.safetensors").write_bytes(toys())

    last = cli("verify", tmp_path / "toys.safetensors").out.splitlines()[-1]

    assert last.split(maxsplit=1) == ["whole", "hash, classes and architecture are right"]


def test_verify_of_a_record_that_names_another_network_is_a_model_error(
    toys: Callable[..., bytes], cli: Callable[..., Said], tmp_path: Path
) -> None:
    (tmp_path / "toys.safetensors").write_bytes(toys(architecture="resnet18"))

    line = refusal(cli("verify", tmp_path / "toys.safetensors"), 4)

    assert "toys.safetensors says parameters=2795040 of 'resnet18', which has " in line


def test_verify_of_pictures_that_are_gone_is_a_data_error(
    trained: Any, tmp_path: Path, cli: Callable[..., Said]
) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    split = tmp_path / "run" / "split.csv"
    split.write_text(split.read_text(encoding="utf-8").replace(str(trained.pictures), "/gone"), encoding="utf-8")

    assert "Give --data, the folder where they are now." in refusal(cli("verify", tmp_path / "run" / "model.onnx"), 3)
