"""``finetune-export bench``: what it prints, and the exit status that a pipeline goes by."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune_export.cli import run
from finetune_export.contract import Task
from finetune_export.errors import ModelError, UsageError
from finetune_export.predictor import Predictor

QUICK = ("--seconds", "0.03")


@pytest.fixture
def data(picture_folder: Callable[..., Path]) -> Path:
    return picture_folder(("ant", "bee"), count=3)


@pytest.fixture
def accuracy(model_path: Path, data: Path) -> float:
    """What the model really reaches on the pictures."""
    files = sorted(data.rglob("*.*"))
    answers = Predictor(model_path).predict(files)
    return sum(answer.label == file.parent.name for answer, file in zip(answers, files, strict=True)) / len(files)


def bench(*arguments: object) -> int:
    return run(["bench", *map(str, arguments), *QUICK])


def test_a_model_is_a_row_with_its_figures(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(model_path) == 0
    head, row = capsys.readouterr().out.splitlines()
    assert head.split("  ")[0] == "model"
    assert row.split()[:4] == [str(model_path), "CPU", "1", "1"]


def test_json_has_versions_and_every_combination(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(model_path, "--batch", "1,3", "--json") == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["versions"]["onnxruntime"]
    first, second = printed["rows"]
    assert (first["batch"], first["relative"], second["batch"]) == (1, 1.0, 3)
    assert first["runs"] >= 15  # in each of three rounds at least five
    assert 0 < first["p50_ms"] <= first["p99_ms"]
    assert first["peak_mb"] is None or first["peak_mb"] > 20
    assert first["file_mb"] == model_path.stat().st_size / 1e6
    assert first["score"] is first["from_file_per_s"] is first["error"] is None


def test_several_models_stand_side_by_side(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "again"
    folder.mkdir()
    shutil.copy(model_path, folder / "model.onnx")
    assert bench(model_path, folder) == 0
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[0] for row in rows] == [str(model_path), str(folder)]


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_pictures_are_for_models_of_single_labels(task: Task, task_path: Callable[[Task], Path], data: Path) -> None:
    model = task_path(task)
    with pytest.raises(UsageError) as refused:
        bench(model, "--data", data)
    told = "accuracy is measured of single labels only, so leave --data out"
    assert str(refused.value) == f"--data {data}: {model} is a {task} model; {told}"
    assert bench(model) == 0


def test_pictures_give_the_accuracy_and_those_refused_are_counted(
    model_path: Path, data: Path, accuracy: float, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "ant" / "cut.jpg").write_bytes((data / "ant" / "000.jpg").read_bytes()[:300])
    (data / "ant" / "notes.txt").write_text("not a picture")
    assert bench(model_path, "--data", data, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["score"] == {"right": round(6 * accuracy), "judged": 6, "refused": 1, "accuracy": accuracy}
    assert row["from_file_per_s"] > 0


def test_a_model_below_the_floor_ends_with_status_4_and_is_named_with_value_and_floor(
    model_path: Path, data: Path, accuracy: float, capsys: pytest.CaptureFixture[str]
) -> None:
    assert accuracy < 1
    assert bench(model_path, "--data", data, "--min-accuracy", "1") == 4
    assert capsys.readouterr().err == (
        f"finetune-export: {model_path} (CPU): accuracy {accuracy:.4f} on 6 pictures is below --min-accuracy 1; "
        "do not deploy it, or lower the floor\n"
    )


def test_pictures_that_are_refused_count_as_wrong_against_the_floor(
    model_path: Path, data: Path, accuracy: float, capsys: pytest.CaptureFixture[str]
) -> None:
    (data / "ant" / "cut.jpg").write_bytes(b"\xff\xd8\xff")
    assert bench(model_path, "--data", data, "--min-accuracy", accuracy) == 4
    assert (
        f"accuracy {6 * accuracy / 7:.4f} on 7 pictures, 1 of them refused and counted as wrong, is below "
        in capsys.readouterr().err
    )


def test_a_provider_without_an_accuracy_does_not_pass_the_floor(
    model_path: Path, data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(model_path, "--provider", "CPU,Abacus", "--data", data, "--min-accuracy", "0") == 6
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"finetune-export: {model_path} (Abacus): no accuracy, which --min-accuracy asks for; "
        "mend that, or leave it out"
    )


def test_a_model_at_the_floor_passes(model_path: Path, data: Path, accuracy: float) -> None:
    assert bench(model_path, "--data", data, "--min-accuracy", accuracy) == 0


def test_a_provider_that_does_not_start_is_a_row_that_says_so(
    model_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench(model_path, "--provider", "CPU", "--provider", "Abacus") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[2].split()[1:] == ["Abacus", "1", "1", *"––––––––", "failed"]
    assert "(Abacus): onnxruntime provider 'Abacus' is not installed; available are " in printed.err


def test_a_model_without_any_figures_ends_with_status_6(model_path: Path) -> None:
    assert bench(model_path, "--provider", "Abacus") == 6


def test_all_providers_are_those_that_run_here(model_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench(model_path, "--provider", "all", "--json") == 0
    providers = [row["provider"] for row in json.loads(capsys.readouterr().out)["rows"]]
    assert "CPU" in providers
    assert "Azure" not in providers  # it would be the CPU by another name


def test_a_damaged_model_is_refused_before_anything_is_measured(
    model_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged = tmp_path / "damaged.onnx"
    damaged.write_bytes(model_path.read_bytes()[:-50])
    with pytest.raises(ModelError, match=r"damaged\.onnx"):
        bench(model_path, damaged)
    assert capsys.readouterr().out == ""


def test_every_model_has_to_have_the_labels_of_the_folders(
    model_path: Path, picture_folder: Callable[..., Path]
) -> None:
    data = picture_folder(("ant", "cat"))
    with pytest.raises(UsageError) as refused:
        bench(model_path, "--data", data)
    assert str(refused.value) == f"--data {data}: 'cat' is not a label of the model; it has ant, bee, Käfer 甲"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (("--min-accuracy", "0.9"), "--min-accuracy needs pictures; name their folder with --data"),
        (("--min-accuracy", "95"), "'95' is not allowed; it has to be from 0 to 1"),
        (("--min-accuracy", "much"), "'much' is not allowed; it has to be from 0 to 1"),
        (("--threads", "0"), "'0' is not allowed; give numbers from 1 to 1024, such as 1,8"),
        (("--batch", "2000"), "'2000' is not allowed; give numbers from 1 to 1024, such as 1,8"),
        (("--provider", "CPU,"), "'CPU,' is not allowed; give names such as CPU,CUDA"),
        (("--batch", "1,,2"), "'1,,2' is not allowed; give numbers from 1 to 1024, such as 1,8"),
        (("--seconds", "nan"), "'nan' is not allowed; it has to be 0.01 to 3600 seconds"),
        (("--data", "nowhere"), "--data nowhere: not a folder; give one with a folder of pictures for each label"),
    ],
)
def test_what_makes_no_sense_is_refused(model_path: Path, options: tuple[str, ...], text: str) -> None:
    with pytest.raises(UsageError) as refused:
        run(["bench", str(model_path), *options])
    assert text in str(refused.value)
