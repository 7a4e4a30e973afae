"""Everything that can be known to be wrong is known before anything is trained."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.errors import ConfigError, DataError
from finetune.intent import discover
from finetune.networks.weights import load_weights
from finetune.preparation import Job, prepare
from finetune.reporting import SILENT

# ── the job ─────────────────────────────────────────────────────────────────────────────────────────

TINY: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32}


def job_of(pictures: Path, **options: Any) -> Job:
    return prepare(discover({"data": pictures, **TINY, **options}), SILENT)


def refusal(pictures: Path, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        job_of(pictures, **options)
    return str(caught.value)


def test_the_network_is_kept_up_to_a_layer(pictures: Path) -> None:
    whole, part = job_of(pictures), job_of(pictures, layer="stage2")

    assert whole.groups == ["stem", "stage1", "stage2", "stage3", "head"]
    assert part.groups == ["stem", "stage1", "stage2", "head"]
    assert part.network(torch.zeros(2, 3, 32, 32)).shape == (2, 2)


def test_a_layer_that_does_not_exist_is_refused_with_the_nearest(pictures: Path) -> None:
    assert refusal(pictures, layer="stag2") == (
        "Unknown --layer 'stag2'. Did you mean 'stage2'? Known: stage1, stage2, stage3, stem."
    )


def test_the_head_is_the_one_that_was_asked_for(pictures: Path) -> None:
    kinds = [job_of(pictures, head=head).network.head for head in ("linear", "fastai")]

    assert [sum(isinstance(m, torch.nn.Linear) for m in head.modules()) for head in kinds] == [1, 2]


def test_size_and_crop_are_the_backbones_unless_they_are_given(pictures: Path) -> None:
    given, own = job_of(pictures, crop_fraction=1.0), job_of(pictures, image_size=None)

    assert (given.preprocessing.image_size_px, given.preprocessing.crop_fraction) == (32, 1.0)
    assert (own.preprocessing.image_size_px, own.preprocessing.crop_fraction) == (224, 0.875)


@pytest.mark.parametrize(
    ("said", "strategy"),
    [({}, "scratch"), ({"strategy": "probe"}, "probe"), ({"strategy": "scratch"}, "scratch")],
)
def test_with_random_weights_auto_is_scratch_and_what_is_asked_for_stays(
    pictures: Path, said: dict[str, Any], strategy: str
) -> None:
    assert job_of(pictures, **said).strategy == strategy


def test_from_scratch_no_weights_are_loaded_whatever_is_given(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr("finetune.preparation.load_weights", lambda *args: asked.append(args[2]) or load_weights(*args))

    job = job_of(pictures, strategy="scratch", weights="pretrained")

    assert (asked, job.weights.name) == (["none"], "none")


@pytest.mark.parametrize(
    ("strategy", "said", "unused"),
    [
        ("scratch", {"unfreeze": 2, "unfrozen_lr": 1e-4}, "--unfreeze, --unfrozen-lr"),
        ("scratch", {"freeze_epochs": 3, "views": 4, "rate_span": 10}, "--freeze-epochs, --views, --rate-span"),
        ("probe", {"epochs": 7, "unfreeze": 2}, "--epochs, --unfreeze"),
        ("svm", {"unfrozen_lr": 1e-4}, "--unfrozen-lr"),
        ("svm", {"epochs": 7, "freeze_epochs": 3, "lr": 0.1}, "--epochs, --freeze-epochs, --lr"),
        ("logreg", {"average": "ema", "patience": 2, "mix": "mixup"}, "--patience, --average, --mix"),
        ("logreg", {"imbalance": "focal", "unfreeze": 1}, "--imbalance, --unfreeze"),
        ("svm", {"label_smoothing": 0.1}, "--label-smoothing"),
        ("gradual", {"unfreeze": 2, "unfrozen_lr": 1e-4}, "--unfreeze"),
    ],
)
def test_options_without_effect_are_told_so(pictures: Path, strategy: str, said: dict[str, Any], unused: str) -> None:
    notes = job_of(pictures, strategy=strategy, **said).notes

    verb = "have" if "," in unused else "has"
    assert f"With --strategy {strategy}, {unused} {verb} no effect." in notes


@pytest.mark.parametrize(
    ("said", "note"),
    [
        ({"gamma": 0.5, "step_epochs": 2}, "With --schedule OneCycleLR, --gamma, --step-epochs have no effect."),
        ({"strategy": "finetune", "views": 3, "augment": "none"}, "With --augment none, --views has no effect."),
        (
            {"strategy": "probe", "views": 1, "augment": "trivial"},
            "With --strategy probe and --views 1, --augment has no effect.",
        ),
        ({"folds": 2, "valid_share": 0.3}, "With --folds 2, --valid-share has no effect."),
        (
            {"imbalance": "focal", "label_smoothing": 0.1},
            "With --imbalance focal, --label-smoothing has no effect.",
        ),
    ],
)
def test_options_that_another_takes_the_effect_of_are_told_so(pictures: Path, said: dict[str, Any], note: str) -> None:
    assert [found for found in job_of(pictures, **said).notes if "no effect" in found] == [note]


@pytest.mark.parametrize(
    "said",
    [
        {"strategy": "svm", "epochs": 3, "mix": "none", "lr": 0.003},
        {"strategy": "probe", "views": 1, "augment": "none"},
        {"strategy": "finetune", "views": 1, "augment": "trivial"},
        {"schedule": "StepLR", "gamma": 0.5, "step_epochs": 2},
    ],
)
def test_defaults_and_options_that_go_together_are_not_told_of(pictures: Path, said: dict[str, Any]) -> None:
    assert not [note for note in job_of(pictures, **said).notes if "no effect" in note]


@pytest.mark.parametrize("strategy", ["finetune", "partial"])
def test_options_with_an_effect_are_not_told_of(pictures: Path, strategy: str) -> None:
    notes = job_of(pictures, strategy=strategy, unfreeze=2, unfrozen_lr=1e-4).notes

    assert not [note for note in notes if "no effect" in note]


def test_the_origin_of_a_backbone_names_code_and_version(pictures: Path) -> None:
    origin = job_of(pictures).backbone_origin

    assert origin.startswith("squeezenet1_1: finetune.builtin.")
    assert " of finetune 0" in origin


@pytest.mark.parametrize("strategy", ["svm", "logreg", "probe"])
def test_a_class_of_a_single_picture_cannot_be_split(picture_folder: Callable[..., Path], strategy: str) -> None:
    pictures = picture_folder()
    for path in sorted((pictures / "dog").iterdir())[1:]:
        path.unlink()

    with pytest.raises(DataError, match="dog"):
        job_of(pictures, strategy=strategy)


# ── the task ────────────────────────────────────────────────────────────────────────────────────────

TWO = {"label_col": ("red", "blue")}


@pytest.mark.parametrize(
    ("task", "said", "text"),
    [
        ("multi-label", {"abstain_at": 0.9}, "--abstain-at is for single labels, and the task is multi-label; leave"),
        ("regression", {"abstain_at": 0.9}, "--abstain-at is for single labels, and the task is regression; leave it"),
        ("regression", {"imbalance": "focal"}, "--imbalance focal is about classes, and regression has none; leave"),
        ("multi-label", {"strategy": "svm"}, "--strategy svm tells single labels apart, and the task is multi-label."),
        ("regression", {"strategy": "logreg"}, "--strategy logreg tells single labels apart, and the task is regressi"),
        ("multi-label", {"monitor": "r2"}, "Unknown --monitor for a multi-label task 'r2'. Known: accuracy, ece"),
        ("regression", {"monitor": "accuracy"}, "Unknown --monitor for a regression task 'accuracy'. Known: mae"),
    ],
)
def test_an_option_without_meaning_for_the_task_is_refused_before_a_picture_is_read(
    task: str,
    said: dict[str, Any],
    text: str,
    tmp_path: Path,
    colour_table: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    table = colour_table(tmp_path, task, count=1)
    monkeypatch.setattr("finetune.preparation.audit", lambda *_: pytest.fail("the pictures were read"))

    assert refusal(table, **TWO, **said).startswith(text)


def test_a_task_that_the_labels_do_not_have_is_refused(pictures: Path) -> None:
    assert refusal(pictures, task="regression") == (
        "--task regression is not allowed: the labels of this data set are single-label."
    )


def test_the_top_5_of_few_labels_is_no_metric_to_choose_by(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetune.preparation.audit", lambda *_: pytest.fail("the pictures were read"))

    assert refusal(pictures, monitor="top-5") == (
        "--monitor top-5 of 2 labels is always 100%; give another, such as accuracy."
    )


def test_the_top_5_of_six_labels_may_be_chosen_by(pictures: Path) -> None:
    for label in "cdef":
        shutil.copytree(pictures / "cat", pictures / label)

    assert job_of(pictures, monitor="top-5").config.monitor == "top-5"


def test_values_that_float32_does_not_tell_apart_are_refused(tmp_path: Path, colour_table: Callable[..., Path]) -> None:
    table = colour_table(tmp_path, "regression")
    head, *rows = table.read_text().splitlines()
    moments = [",".join([*row.split(",")[:3], str(1_700_000_000 + 40 * i)]) for i, row in enumerate(rows)]
    table.write_text("\n".join([head, *moments]))

    with pytest.raises(DataError) as caught:
        job_of(table, **TWO)

    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "The values of 'blue', 1.7e+09 on average with a standard deviation of 276.887, are too close together for "
        "float32, which tells them apart in steps of 128. Subtract a constant, such as the mean, from the column."
    )


def all_valid_show(cells: tuple[str, str], table: Path) -> Path:
    rows = [line.split(",") for line in table.read_text().splitlines()]
    table.write_text("\n".join(",".join([*row[:2], *cells] if row[1] == "valid" else row) for row in rows))
    return table


@pytest.mark.parametrize(
    ("task", "undefined"),
    [("regression", "r2"), ("multi-label", "mean-average-precision")],
)
def test_validation_pictures_that_leave_the_metric_undefined_are_refused(
    task: str, undefined: str, tmp_path: Path, colour_table: Callable[..., Path]
) -> None:
    table = all_valid_show(("0", "0"), colour_table(tmp_path, task))

    with pytest.raises(DataError) as caught:
        job_of(table, task=task, **TWO)

    assert str(caught.value) == (
        f"The {undefined} of the 12 validation pictures is undefined: they all show the same. Hold out others, see "
        "--valid-share and --split."
    )


def test_a_fold_that_cannot_be_measured_is_named_with_what_divides_otherwise(
    late: tuple[Path, dict[str, Any]],
) -> None:
    table, options = late

    assert len(job_of(table, fold=1, **options).split.valid) == 4
    for asked in ({"fold": 2}, {}):  # of all folds, each is looked at
        with pytest.raises(DataError) as caught:
            job_of(table, **asked, **options)
        assert str(caught.value) == (
            "Fold 2 of 2: The r2 of the 4 validation pictures is undefined: they all show the same. Hold out others, "
            "see --folds and --seed."
        )


def test_a_monitor_that_the_validation_pictures_leave_undefined_is_refused(
    tmp_path: Path, colour_table: Callable[..., Path]
) -> None:
    table = all_valid_show(("1", "0"), colour_table(tmp_path, "multi-label"))

    assert job_of(table, **TWO).valid_targets.sum() == 12
    with pytest.raises(DataError, match=r"^The mean-auroc of the 12 validation pictures is undefined: they all show"):
        job_of(table, monitor="mean-auroc", **TWO)
