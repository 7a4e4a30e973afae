"""Cross-validation: every picture is validated on once, each fold leaves a model, and one that was killed goes on."""

from __future__ import annotations

import csv
import json
import shutil
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import finetune
from finetune.config import read_file
from finetune.errors import ConfigError, DataError
from finetune.folds import CrossValidation
from finetune.reporting import SILENT, SilentReporter
from finetune.reverification import verify_again

from .conftest import TINY

FOLDS = 3
MINUTES = 3000.0
"""More than it takes."""
OPTIONS: dict[str, Any] = {**TINY, "strategy": "finetune", "freeze_epochs": 2, "folds": FOLDS, "checkpoint_seconds": 0}


class CtrlC(SilentReporter):
    """End a run where it begins to do something, be it after a line that was said; and remember all that was said."""

    def __init__(self, title: str, after: str | None = None) -> None:
        self.title, self.after = title, after
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        if title.startswith(self.title) and (self.after is None or self.after in self.said):
            raise KeyboardInterrupt


@dataclass(frozen=True)
class Crossed:
    """A cross-validation that was ended in its second fold, and went on."""

    found: CrossValidation
    pictures: Path
    ending: str
    first_fold_before: dict[str, bytes]
    status_before: dict[str, Any]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def split_of(folder: Path, part: str) -> set[str]:
    """Return the pictures of a part, wherever they were, as class and name."""
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        return {"/".join(Path(row["path"]).parts[-2:]) for row in csv.DictReader(file) if row["part"] == part}


def write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


@pytest.fixture(scope="module")
def crossed(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Crossed:
    root = tmp_path_factory.mktemp("crossed")
    pictures = root / "insects"
    for kind, label in enumerate(("ant", "bee")):
        (pictures / label).mkdir(parents=True)
        for i in range(12):  # every fifth is not what its label says
            picture(kind ^ (i % 5 == 0), seed=100 * kind + i).save(pictures / label / f"{i}.png")
    ended = CtrlC("Training, unfrozen", after="Fold 2 of 3")
    with pytest.raises(KeyboardInterrupt) as ending:
        finetune.cross_validate(data=pictures, out=root / "runs", reporter=ended, max_minutes=MINUTES, **OPTIONS)
    (folder,) = (root / "runs").iterdir()
    (first,) = folder.glob("*-fold-1")
    first_fold_before = {path.name: path.read_bytes() for path in first.iterdir()}
    status_before = read_json(folder / "run.json")
    (root / "moved").mkdir()
    moved = pictures.rename(root / "moved" / "insects")
    found = finetune.cross_validate(resume=folder, data=moved)
    return Crossed(found, moved, str(ending.value), first_fold_before, status_before)


@pytest.fixture
def stopped(crossed: Crossed, tmp_path: Path) -> Path:
    """Return a copy of the cross-validation, as if it had been stopped before it had summed up its folds."""
    folder = shutil.copytree(crossed.found.run, tmp_path / crossed.found.run.name)
    write_json(folder / "run.json", {**read_json(folder / "run.json"), "status": "interrupted"})
    (folder / "folds.json").unlink()
    return folder


@pytest.fixture
def copied(crossed: Crossed, tmp_path: Path) -> Path:
    return shutil.copytree(crossed.pictures, tmp_path / crossed.pictures.name)


# ── the folds ───────────────────────────────────────────────────────────────────────────────────────


def test_every_picture_is_validated_on_in_exactly_one_fold(crossed: Crossed) -> None:
    validated = [path for fold in crossed.found.folds for path in split_of(fold, "valid")]

    assert len(crossed.found.folds) == FOLDS
    assert len(validated) == len(set(validated)) == 24
    for fold in crossed.found.folds:
        assert not split_of(fold, "train") & split_of(fold, "valid")
        assert len(split_of(fold, "train") | split_of(fold, "valid")) == 24


def test_the_summary_is_the_mean_and_the_standard_deviation_over_the_folds(crossed: Crossed) -> None:
    summary = read_json(crossed.found.run / "folds.json")
    each = [read_json(fold / "metrics.json")["valid"]["values"] for fold in crossed.found.folds]

    assert summary["metric"] == "accuracy"
    assert summary["values"] == [values["accuracy"] for values in each]
    assert summary["scores"].keys() == each[0].keys()
    for name, (mean, spread) in summary["scores"].items():
        assert mean == pytest.approx(statistics.fmean(values[name] for values in each))
        assert spread == pytest.approx(statistics.stdev(values[name] for values in each))
    assert any(spread > 0 for _, spread in summary["scores"].values())


def test_each_fold_leaves_a_verified_model(crossed: Crossed) -> None:
    for fold in crossed.found.folds:
        again = verify_again(fold / "model.onnx", run=None, data=crossed.pictures, reporter=SILENT).verification
        assert again is not None
        assert again.passed
        assert again.value == read_json(fold / "metrics.json")["valid"]["values"]["accuracy"]


def test_the_table_says_each_fold_and_what_to_do_next(crossed: Crossed) -> None:
    rows = dict(crossed.found.rows())

    assert rows["folds"].startswith("accuracy ")
    assert rows["folds"].count("%") == FOLDS
    assert " ± " in rows["accuracy"]
    assert rows["note"].endswith("of a fold are chosen on what scores it, which flatters a little")
    assert not [name for name in rows if name.startswith("test")]
    assert rows["next"] == "train the network to deploy without --folds"


def test_the_summary_is_in_the_metric_that_stands_for_the_task(stopped: Path, crossed: Crossed) -> None:
    for number, path in enumerate(sorted(stopped.glob("*-fold-*/metrics.json"))):
        values = {"accuracy": 0.5, "mean-average-precision": 0.6 + number / 10}
        valid = {"headline": "mean-average-precision", "values": values}
        write_json(path, {"valid": valid, "test": None})

    found = finetune.cross_validate(resume=stopped, data=crossed.pictures)

    assert found.metric == "mean-average-precision"
    assert found.values == pytest.approx((0.6, 0.7, 0.8))
    assert dict(found.rows())["folds"] == "mean-average-precision 60.0%  70.0%  80.0%"


def test_the_scores_of_the_test_part_are_summed_up_where_there_is_one(stopped: Path, crossed: Crossed) -> None:
    for number, path in enumerate(sorted(stopped.glob("*-fold-*/metrics.json"))):
        test = {"headline": "accuracy", "values": {"accuracy": 0.5 + number / 10}}
        write_json(path, {**read_json(path), "test": test})

    found = finetune.cross_validate(resume=stopped, data=crossed.pictures)

    assert found.test_scores == {"accuracy": (pytest.approx(0.6), pytest.approx(0.1))}
    assert read_json(stopped / "folds.json")["test_scores"]["accuracy"] == list(found.test_scores["accuracy"])
    assert dict(found.rows())["test accuracy"] == "60.0% ± 10.0%"


def test_each_fold_may_take_an_equal_share_of_the_time_that_is_left(crossed: Crossed) -> None:
    given = [read_file(fold / "config.toml")["max_minutes"] for fold in crossed.found.folds]

    # The time counts anew from where it was resumed, with two folds left.
    assert given == pytest.approx([MINUTES / 3, MINUTES / 2, MINUTES], rel=0.01)
    assert all(minutes < MINUTES for minutes in given)
    assert read_file(crossed.found.run / "config.toml")["max_minutes"] == MINUTES


# ── one that was ended, and went on ─────────────────────────────────────────────────────────────────


def test_who_ends_a_cross_validation_is_told_how_to_go_on_with_all_of_it(crossed: Crossed) -> None:
    sentence = f"Stopped by SIGINT; go on with: finetune run --resume {crossed.found.run}"

    assert crossed.ending == sentence
    assert crossed.status_before["status"] == "interrupted"
    assert crossed.status_before["cause"] == f"Interrupted: {sentence}"


def test_a_fold_that_is_done_is_not_trained_again(crossed: Crossed) -> None:
    first = crossed.found.folds[0]

    assert {path.name: path.read_bytes() for path in first.iterdir()} == crossed.first_fold_before
    assert [len(list(crossed.found.run.glob(f"*-fold-{fold}"))) for fold in (1, 2, 3)] == [1, 1, 1]


def test_the_fold_that_was_ended_goes_on_to_the_weights_of_one_that_was_not(crossed: Crossed, tmp_path: Path) -> None:
    second = crossed.found.folds[1]
    assert len(read_json(second / "run.json")["resumed"]) == 1

    with pytest.raises(KeyboardInterrupt):
        finetune.run(data=crossed.pictures, out=tmp_path, fold=2, reporter=CtrlC("Exporting"), **OPTIONS)

    (alone,) = tmp_path.iterdir()
    assert (alone / "weights.safetensors").read_bytes() == (second / "weights.safetensors").read_bytes()
    assert split_of(alone, "valid") == split_of(second, "valid")


def test_a_cross_validation_that_is_done_is_not_resumed(crossed: Crossed) -> None:
    with pytest.raises(ConfigError, match="is done, there is nothing to resume"):
        finetune.cross_validate(resume=crossed.found.run)


def test_the_folds_of_two_data_sets_are_not_mixed(
    stopped: Path, copied: Path, picture: Callable[..., Image.Image]
) -> None:
    for fold in (2, 3):
        shutil.rmtree(next(stopped.glob(f"*-fold-{fold}")))
    picture(1, seed=999).save(copied / "ant" / "1.png")

    with pytest.raises(DataError) as refused:
        finetune.cross_validate(resume=stopped, data=copied)

    assert str(refused.value) == (
        "The pictures or labels of 'insects' are not those that the run was begun with (1 are gone or changed, 1 are "
        "new). Put them back, or start a new run."
    )
    assert len(list(stopped.glob("*-fold-*"))) == 1


@pytest.mark.parametrize("name", ["run.json", "metrics.json"])
@pytest.mark.parametrize("content", ["", "[]", "{"])
def test_a_record_that_is_damaged_is_named_with_the_fold_to_train_anew(
    name: str, content: str, stopped: Path, crossed: Crossed
) -> None:
    damaged = next(stopped.glob(f"*-fold-2/{name}"))
    damaged.write_text(content)

    with pytest.raises(ConfigError) as refused:
        finetune.cross_validate(resume=stopped, data=crossed.pictures)

    assert str(refused.value) == (
        f"{damaged} is damaged or missing. Delete {damaged.parent} and repeat the command to train this fold anew."
    )


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def test_one_run_does_not_train_all_folds(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^One run trains one of the --folds; name it with --fold, or call"):
        finetune.run(data=pictures, out=tmp_path / "runs", **OPTIONS)


@pytest.mark.parametrize("options", [{}, {"folds": 3, "fold": 1}])
def test_cross_validation_without_folds_is_refused_before_anything_is_made(
    options: dict[str, Any], pictures: Path, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"^Cross-validation needs --folds, the number of parts, and no --fold; 5 is"):
        finetune.cross_validate(data=pictures, out=tmp_path / "runs", **{**TINY, **options})  # type: ignore[arg-type]

    assert not (tmp_path / "runs").exists()


def test_a_cross_validation_that_is_refused_can_be_resumed_by_the_same_process(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        finetune.cross_validate(data=pictures, out=tmp_path / "runs", reporter=CtrlC("Training"), **OPTIONS)
    (folder,) = (tmp_path / "runs").iterdir()

    for _ in range(2):
        with pytest.raises(ConfigError, match="--seed 1 cannot be said when a run is resumed"):
            finetune.cross_validate(resume=folder, seed=1)


def test_steps_that_cannot_be_taken_are_refused_before_anything_is_made(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--unfreeze 9 is not allowed; squeezenet1_1 has 4 stages"):
        finetune.cross_validate(data=pictures, out=tmp_path / "runs", unfreeze=9, **OPTIONS)

    assert not (tmp_path / "runs").exists()


def test_a_later_fold_that_cannot_be_measured_is_refused_before_the_first_is_trained(
    late: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    table, options = late
    with pytest.raises(DataError, match=r"^Fold 2 of 2: The r2 of the 4 validation pictures is undefined"):
        finetune.cross_validate(data=table, out=tmp_path / "runs", **{**OPTIONS, **options})

    assert not (tmp_path / "runs").exists()


def test_a_fold_is_given_time_enough_to_be_resumed_where_none_is_left(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        finetune.cross_validate(data=pictures, out=tmp_path, reporter=CtrlC("Training"), max_minutes=0.1, **OPTIONS)

    assert read_file(next(tmp_path.glob("*/*-fold-1/config.toml")))["max_minutes"] == 0.1
