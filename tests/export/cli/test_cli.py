"""The command line of the runtime: help, lightness, refusals, and how commands end."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import finetune_export
from finetune_export.cli import COMMANDS

from .conftest import Said, refusal


def test_help_lists_every_command_with_one_line(process: Callable[..., Said]) -> None:
    said = process("--help")

    assert (said.status, said.err) == (0, "")
    for name, summary in COMMANDS.items():
        assert re.search(rf"^ +{name} +{re.escape(summary)}$", said.out, re.MULTILINE)


def test_without_a_command_the_help_is_shown(cli: Callable[..., Said]) -> None:
    assert cli() == cli("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_of_itself(name: str, cli: Callable[..., Said]) -> None:
    said = cli(name, "--help")

    _, _, examples = said.out.partition("\nexamples:\n")
    assert (said.status, said.err) == (0, "")
    assert f"finetune-export {name} " in examples.splitlines()[0]


@pytest.mark.parametrize("name", ["predict", "inspect", "check"])
def test_every_example_parses(name: str, cli: Callable[..., Said]) -> None:
    from finetune_export.cli import _parser

    _, _, examples = cli(name, "--help").out.partition("\nexamples:\n")
    for line in examples.strip().splitlines():
        words = shlex.split(line.split("finetune-export", 1)[1])
        assert _parser("finetune-export", words).parse_args(words).command == name


def test_the_version_is_the_packages(cli: Callable[..., Said]) -> None:
    assert cli("--version").out.strip() == finetune_export.__version__


LOADED = """
import sys
from finetune_export.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", *(name for name in ("numpy", "PIL", "onnxruntime", "pyarrow") if name in sys.modules))
"""


@pytest.mark.parametrize("words", [["--help"], *([name, "--help"] for name in ("predict", "inspect", "check"))])
def test_help_loads_nothing_heavy(words: list[str], process: Callable[..., Said]) -> None:
    assert process(*words, code=LOADED).out.splitlines()[-1] == "loaded:"


def test_that_guard_can_fail(process: Callable[..., Said], model_path: Path) -> None:
    assert "numpy" in process("check", model_path, code=LOADED).out.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        ("predit", "argument COMMAND: invalid choice: 'predit' (choose from 'predict'"),
        ("predict", "the following arguments are required: MODEL, SOURCE; see 'finetune-export predict --help'"),
        ("predict m.onnx", "the following arguments are required: SOURCE; see 'finetune-export predict --help'"),
        ("predict m.onnx x.jpg --top 0", "argument --top: 0 is not allowed; give a whole number of at least 1; see"),
        ("predict m.onnx x.jpg --processes two", "argument --processes: two is not allowed; give a whole number"),
        ("predict m.onnx x.jpg --format xml", "argument --format: invalid choice: 'xml'"),
        ("predict m.onnx x.jpg --embed", "unrecognized arguments: --embed"),
        ("predict m.onnx x.jpg --out y.xml", "--out y.xml has to end with .csv, .jsonl, .json, .parquet; or give --fo"),
        ("predict m.onnx x.jpg --out y", "--out y has to end with .csv, .jsonl, .json, .parquet; or give --format"),
        ("predict m.onnx x.jpg --out . --format csv", "--out . is a folder; give a file"),
        ("predict m.onnx x.jpg --out y.csv --format table", "--format table is for the screen; give another one with"),
        ("predict m.onnx x.jpg --format parquet", "--format parquet is not for the screen; give --out FILE"),
        ("predict m.onnx x.jpg --embeddings", "--embeddings do not fit into --format table; allowed are jsonl, json, "),
        ("predict m.onnx x.jpg --embeddings --out y.csv", "--embeddings do not fit into --format csv; allowed are jso"),
        ("predict m.onnx x.jpg --restart", "--restart needs --out FILE"),
        ("predict m.onnx x.jpg --overwrite", "--overwrite needs --out FILE"),
        ("inspect", "the following arguments are required: MODEL; see 'finetune-export inspect --help'"),
        ("check", "the following arguments are required: MODEL; see 'finetune-export check --help'"),
    ],
)
def test_what_cannot_be_meant_is_a_usage_error(words: str, text: str, cli: Callable[..., Said]) -> None:
    assert text in refusal(cli(*words.split()), 2)
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize("command", ["predict", "inspect", "check"])
def test_a_file_that_is_no_model_is_refused(command: str, cli: Callable[..., Said], tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"<html>404</html>")

    said = cli(command, model, *(["x.jpg"] if command == "predict" else []))

    assert said.status == 4
    assert f"{model}: " in said.out + said.err
    assert "not an ONNX file; it looks like a web page" in said.out + said.err


def test_the_debug_switch_shows_the_traceback_and_keeps_the_status(process: Callable[..., Said]) -> None:
    said = process("inspect", "gone.onnx", FINETUNE_DEBUG="1")

    assert said.status == 4
    assert said.err.startswith("Traceback")
    assert said.err.splitlines()[-1].startswith("finetune-export: gone.onnx: the model file cannot be read")


@pytest.mark.parametrize("words", [["--help"], ["inspect", "MODEL"], ["predict", "MODEL", "FOLDER"]], ids=" ".join)
def test_a_reader_that_goes_away_is_no_fault(
    words: list[str], environment: dict[str, str], model_path: Path, pictures: Path
) -> None:
    named = {"MODEL": str(model_path), "FOLDER": str(pictures)}
    with subprocess.Popen(
        [sys.executable, "-m", "finetune_export", *(named.get(word, word) for word in words)],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        err = running.stderr.read()

    assert (running.returncode, err) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_finds_no_room_is_a_resource_error(environment: dict[str, str], model_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-m", "finetune_export", "inspect", str(model_path)]
        done = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, encoding="utf-8")

    assert done.returncode == 6
    assert done.stderr == ("finetune-export: No space left on device: while writing; free some space and run again.\n")
