"""The command line: help, lightness, runs, and readers that go away."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torchvision
from PIL import Image
from safetensors.torch import save_file

from finetune.builtin.metrics import METRICS
from finetune.cli import COMMANDS
from finetune.cli.run import _rows_of_run
from finetune.evaluation.catalogue import shown

from .conftest import Said, tiny

# ── help ────────────────────────────────────────────────────────────────────────────────────────────


def test_help_lists_every_command_with_one_line(cli: Callable[..., Said]) -> None:
    said = cli("--help")

    assert (said.status, said.err) == (0, "")
    for name, command in COMMANDS.items():
        assert f"│ {name} " in said.out
        summary = (command.__doc__ or "").splitlines()[0]
        assert summary.endswith(".")
        assert " ".join(summary.split()[:3]) in said.out


def test_help_says_what_goes_in_and_what_comes_out(cli: Callable[..., Said]) -> None:
    said = " ".join(cli("--help").out.split())

    assert "Turn a folder or a table of pictures into a verified, self-describing ONNX model." in said


def test_without_a_command_the_help_is_shown(cli: Callable[..., Said]) -> None:
    assert cli() == cli("--help")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_shows_examples_of_itself(name: str, cli: Callable[..., Said]) -> None:
    said = cli(name, "--help")

    _, _, examples = said.out.partition("\nExamples:\n")
    assert (said.status, said.err) == (0, "")
    assert examples.strip()
    assert all(line.startswith(f"  finetune {name} ") for line in examples.strip("\n").splitlines())


def test_the_version_is_the_packages(cli: Callable[..., Said]) -> None:
    import finetune

    assert cli("--version").out.strip() == finetune.__version__


# ── light ───────────────────────────────────────────────────────────────────────────────────────────

WATCHED = """
import sys
{before}
from finetune.cli import main
try:
    main(sys.argv[1:])
finally:
    print("loaded:", *(name for name in {heavy!r} if name in sys.modules), file=sys.stderr)
"""
HEAVY = ("torch", "torchvision", "fastai", "onnx", "onnxruntime", "numpy")
LISTED = ("datasets", "recipes", "backbones", "targets", "metrics")
TRAINING = ("torch", "torchvision", "fastai", "onnx")


def loaded(process: Callable[..., Said], *arguments: object, heavy: tuple[str, ...] = HEAVY, before: str = "") -> str:
    said = process(*arguments, code=WATCHED.format(before=before, heavy=heavy))
    assert said.status == 0, said.err
    return said.err.splitlines()[-1].removeprefix("loaded:").strip()


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        *((name, "--help") for name in ("run", "pretrain", "predict")),
        *(("list", kind) for kind in LISTED),
        ("plugins",),
    ],
    ids=" ".join,
)
def test_what_trains_nothing_loads_nothing_heavy(arguments: tuple[str, ...], process: Callable[..., Said]) -> None:
    assert loaded(process, *arguments) == ""


@pytest.mark.parametrize("command", [("run",), ("pretrain", "--package", "mine")], ids=" ".join)
def test_what_is_refused_for_its_words_is_refused_before_anything_heavy_is_loaded(
    command: tuple[str, ...], process: Callable[..., Said]
) -> None:
    words = (*command, "--data", "pictures", "--monitor", "acuracy")

    said = process(*words, code=WATCHED.format(before="", heavy=HEAVY))

    assert said.status == 2
    assert "Unknown --monitor 'acuracy'." in said.err
    assert said.err.splitlines()[-1] == "loaded:"


def test_the_guard_against_heavy_imports_sees_them(process: Callable[..., Said]) -> None:
    assert loaded(process, "plugins", before="import numpy") == "numpy"


def test_what_the_runtime_does_needs_nothing_of_what_training_needs(trained: Any, process: Callable[..., Said]) -> None:
    assert loaded(process, "inspect", trained.model, heavy=TRAINING) == ""
    assert loaded(process, "check", trained.model, heavy=TRAINING) == ""
    assert loaded(process, "predict", trained.model, trained.pictures / "valid", heavy=TRAINING) == ""


# ── running ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_dry_run_shows_the_plan_and_trains_nothing(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("run", "--data", pictures, *tiny(), "--dry-run")

    assert said.status == 0
    rows = dict(line.split(None, 1) for line in said.out.splitlines())
    assert rows["task"] == "single-label"
    assert rows["pictures"] == "6 to train on, 2 to validate on, 0 to test with, 0 left out"
    assert "squeezenet1_1 at 32 px, weights: none" in said.out
    assert "from scratch  1 epoch," in said.out
    assert "Training" not in said.err
    assert list(Path().iterdir()) == []


PLANS = {
    "probe": ["probe", "frozen: 20"],
    "svm": ["svm", "svm: fitted to the frozen output of stage3"],
    "finetune": ["finetune", "frozen: 20", "unfrozen: 1"],
    "partial": ["partial", "frozen: 20", "last 2 stages: 1"],
    "auto": [
        "auto, as far as it pays:",
        "frozen: 20",
        "logreg: fitted to the frozen output of stage3",
        "last 2 stages: 1",
        "unfrozen: 1",
    ],
}


@pytest.mark.parametrize("strategy", PLANS)
def test_a_dry_run_shows_the_steps_of_a_strategy(
    strategy: str, cli: Callable[..., Said], pictures: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "body.safetensors"
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), weights)

    said = cli("run", "--data", pictures, *tiny(strategy=strategy, weights=weights), "--dry-run")

    lines = said.out.splitlines()
    first = next(i for i, line in enumerate(lines) if line.startswith("strategy"))
    steps = [tuple(part.strip() for part in line.split("  ", 1)) for line in lines[first:-1]]
    shown = [steps[0][1], *(f"{name}: {text.split(' epoch')[0]}" for name, text in steps[1:])]
    assert (said.status, shown) == (0, PLANS[strategy])


def test_a_dry_run_can_be_read_by_a_script(cli: Callable[..., Said], pictures: Path) -> None:
    plan = json.loads(cli("run", "--data", pictures, *tiny(), "--dry-run", "--json").out)

    assert (plan["task"], plan["pictures"]) == ("single-label", [6, 2, 0])
    assert plan["class_counts"] == {"cat": [3, 1, 0], "dog": [3, 1, 0]}
    assert plan["exports"] == ["onnx"]
    assert plan["config"]["image_size"] == 32


def test_a_run_prints_one_json_object_and_nothing_else_on_stdout(
    process: Callable[..., Said], pictures: Path, tmp_path: Path
) -> None:
    said = process("run", "--data", pictures, *tiny(), "--out", "runs", "--json")

    result = json.loads(said.out)
    assert said.status == 0
    assert Path(result["run"]).parent == tmp_path / "runs"
    assert Path(result["onnx"]).is_file()
    assert result["metric"] == "accuracy"
    assert result["value"] == result["exported_value"]
    assert (result["compared"], result["agreement"]) == (2, 1.0)
    assert result["max_difference"] <= 1e-4
    assert result["seconds"]["total"] > 0
    assert "Training, from scratch" in said.err


REST = ("seconds", "run", "model", "report", "next")


def test_a_run_prints_a_table_that_says_what_comes_next(
    cli: Callable[..., Said], picture_folder: Callable[..., Path]
) -> None:
    said = cli("run", "--data", picture_folder(count=6), "--test-share", 0.2, *tiny())

    (folder,) = (Path.cwd() / "runs").iterdir()
    rows = dict(line.split(None, 1) for line in said.out.splitlines())
    assert (said.status, list(rows)) == (
        0,
        [*("data", "network", "accuracy", "verdict", "validation", "calibration", "test", "exported"), *REST],
    )
    assert rows["data"] == "pictures: 2 classes, 8 training and 2 validation pictures, 2 test pictures"
    for part in ("validation", "test"):
        assert re.match(r"accuracy \d+\.\d% \(95%: \d+\.\d% to \d+\.\d%\)  balanced-accuracy \d", rows[part])
    assert re.fullmatch(
        r"temperature \d\S*: expected error 0\.\d{3} without, 0\.\d{3} with it, on what it was fitted to",
        rows["calibration"],
    )
    assert re.match(r"accuracy \d+\.\d%, the same answer on 2 of 2 pictures, largest difference \d", rows["exported"])
    assert rows["run"] == str(folder)
    assert rows["report"] == f"{folder / 'report.html'}  (open in a browser)"
    assert rows["next"] == f"finetune predict {folder / 'model.onnx'} PICTURE..."


def test_the_table_of_several_values_says_that_its_metrics_are_means(trained_on_table: Any) -> None:
    result = trained_on_table.result
    rows = dict(_rows_of_run(result))

    exported = shown(result.exported_value, METRICS[result.metric].is_share)
    assert rows["exported"].startswith(f"{result.metric} {exported}, the same")
    assert rows["validation"].endswith("  (mean over 2 values)") == (result.task == "regression")


def test_a_classic_classifier_is_run_by_its_name_and_says_what_it_is(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("run", "--data", pictures, *tiny(strategy="svm"))

    rows = dict(line.split(None, 1) for line in said.out.splitlines())
    assert (said.status, rows["accuracy"], rows["verdict"]) == (
        0,
        "svm 100.0%  (kept: svm)",
        "The probe is kept (svm 100.0%); fine-tuning was not tried.",
    )
    assert "Fitting, svm" in said.err
    (model,) = Path.cwd().glob("runs/*/model.onnx")
    told = cli("predict", model, pictures / "cat" / "000.jpg", pictures / "dog" / "001.png")
    assert [line.split()[1] for line in told.out.splitlines()] == ["cat", "dog"]


def test_finding_the_rate_prints_it_and_draws_its_curve(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("lr-find", "--data", pictures, *tiny(strategy="probe"), "--json")

    found = json.loads(said.out)
    assert said.status == 0
    assert 1e-7 <= found["suggestion"] <= 10
    with Image.open(found["curve"]) as curve:
        assert curve.format == "PNG"
    assert json.loads((Path(found["curve"]).parent / "run.json").read_text())["suggestion"] == found["suggestion"]


# ── readers that go away ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("arguments", [("list", "targets"), ("list", "backbones", "--json")], ids=["short", "long"])
def test_a_reader_that_goes_away_is_no_fault(arguments: tuple[str, ...], environment: dict[str, str]) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "finetune", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
    ) as running:
        assert running.stdout
        assert running.stderr
        running.stdout.close()
        err = running.stderr.read()

    assert (running.returncode, err) == (0, "")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no full device here")
def test_output_that_finds_no_room_is_a_resource_error(environment: dict[str, str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "finetune", "list", "targets"],
            env=environment,
            stdout=full,
            stderr=subprocess.PIPE,
            encoding="utf-8",
        )

    assert done.returncode == 6
    assert done.stderr.startswith("finetune: No space left on device: while writing")
    assert len(done.stderr.splitlines()) == 1
