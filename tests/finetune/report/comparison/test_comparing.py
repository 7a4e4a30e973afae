"""Runs side by side: matched by the content of their pictures, tested, and refused where they are of other kinds."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from finetune.errors import ConfigError, DataError
from finetune.evaluation.paired import TwoByTwo
from finetune.report.comparison.comparing import Comparison, compare
from finetune.report.comparison.folders import names_of, runs_in
from finetune.report.comparison.results import verdict

from .run_folders import LABELS, certain, cross_validation, draw, insects, write_run


def compared(*runs: Path) -> Comparison:
    return compare(runs_in(runs), ("accuracy", "mean-average-precision"))


def told(*runs: Path) -> str:
    found = compared(*runs)
    return verdict(found, found.against[0])


# ── on the same pictures ────────────────────────────────────────────────────────────────────────────


def test_runs_are_paired_picture_by_picture(tmp_path: Path) -> None:
    found = compared(insects(tmp_path / "a", wrong=[0, 1, 2]), insects(tmp_path / "b", wrong=[2, 3]))

    (against,) = found.against
    assert against.matched.whole
    assert against.paired is not None
    assert against.paired.counts == TwoByTwo(both=8, only_first=1, only_other=2, neither=1)
    assert (against.paired.first_value, against.paired.value) == pytest.approx((9 / 12, 10 / 12))
    assert against.paired.p_value == 1


def test_a_run_is_no_better_than_itself_elsewhere(tmp_path: Path) -> None:
    run = insects(tmp_path / "a", wrong=[1])
    (against,) = compared(run, Path(shutil.copytree(run, tmp_path / "b"))).against

    assert against.paired is not None
    assert (against.paired.difference.value, against.paired.p_value) == (0, 1)
    assert not against.paired.is_more_than_chance


def test_order_of_pictures_and_of_labels_and_where_they_are_make_no_difference(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 12)
    moved = [Path(shutil.copy(path, tmp_path / f"moved-{path.name}")) for path in reversed(pictures)]
    truth = np.arange(12) % 3
    answers = certain((truth + (truth == 0)) % 3)
    one = write_run(tmp_path / "a", pictures, [LABELS[label] for label in truth], answers)
    shown = [LABELS[label] for label in truth[::-1]]
    other = write_run(tmp_path / "b", moved, shown, answers[::-1, ::-1], labels=LABELS[::-1])

    (against,) = compared(one, other).against

    assert against.paired is not None
    assert against.paired.counts == TwoByTwo(both=8, only_first=0, only_other=0, neither=4)
    assert against.matched.first_answers == pytest.approx(against.matched.other_answers)


def test_only_pictures_that_both_have_and_that_show_the_same_are_compared(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 10)
    one = insects(tmp_path / "a", pictures=pictures[:8])
    shown = [LABELS[label] for label in (2, 0, 1, 2, 0, 1, 2, 2)]  # of the last two, one is no longer what it was
    other = write_run(tmp_path / "b", pictures[2:], shown, certain([2, 0, 1, 2, 0, 1, 2, 2]))

    (against,) = compared(one, other).against

    assert (len(against.matched), against.matched.labelled_otherwise, against.matched.whole) == (6, 0, False)
    assert "On the 6 validation pictures that both have (of 8 and 8), run B" in told(one, other)
    shown[0] = LABELS[0]
    relabelled = write_run(tmp_path / "c", pictures[2:], shown, certain([0, 0, 1, 2, 0, 1, 2, 2]))
    assert "On the 5 validation pictures that both have (of 8 and 8, 1 more are labelled otherwise)" in told(
        one, relabelled
    )


def test_without_a_picture_in_common_there_is_no_test_and_the_reason_is_said(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 12)
    found = compared(insects(tmp_path / "a", pictures=pictures[:6]), insects(tmp_path / "b", pictures=pictures[6:]))

    assert verdict(found, found.against[0]) == (
        "Run B and run A have no validation picture in common, so that no test can tell them apart: their intervals "
        "are all there is."
    )
    (figures,) = found.figures()["against"]
    assert figures == {"run": "B", "first": "A", "pictures": 0, "test": None}


def test_a_difference_is_called_more_than_chance_only_where_it_is_after_correction(tmp_path: Path) -> None:
    pictures = draw(tmp_path / "pictures", 30)
    runs = [
        insects(tmp_path / f"{wrong}", wrong=range(wrong), pictures=pictures) for wrong in (7, 0, 1)
    ]  # p = 0.016 and 0.031

    assert told(*runs[:2]).endswith("by the exact McNemar test p = 0.016. That is more than chance would do.")
    found = compared(*runs)
    assert [each.paired.is_more_than_chance for each in found.against if each.paired] == [True, True]
    worse = insects(tmp_path / "2", wrong=range(2), pictures=pictures)  # p = 0.062
    found = compared(*runs[:2], worse)
    said = verdict(found, found.against[1])
    assert "corrected for 2 tests p = 0.062. That is no more than chance would do." in said
    assert said.endswith("points cannot be seen, before correction for several runs.")


def test_of_few_pictures_it_is_said_how_large_a_difference_had_to_be(tmp_path: Path) -> None:
    few, some = draw(tmp_path / "few", 5), draw(tmp_path / "some", 20, seed=1)
    pairs = [
        [insects(tmp_path / f"{len(pictures)}-{wrong}", wrong=range(wrong), pictures=pictures) for wrong in (0, 2)]
        for pictures in (few, some)
    ]

    assert told(*pairs[0]).endswith("With 5 pictures, no difference could be seen at all: at least six are needed.")
    assert told(*pairs[1]).endswith(
        "That is no more than chance would do. With 20 pictures, 2 of which one run alone has right, differences below "
        "about 30.0 points cannot be seen."
    )


def test_several_labels_are_compared_by_their_losses_and_resampled_pairs(tmp_path: Path) -> None:
    pictures, generator = draw(tmp_path / "pictures", 40), np.random.default_rng(0)
    targets = generator.random((40, 3)) < 0.4
    shown = ["|".join(label for label, shows in zip(LABELS, row, strict=True) if shows) for row in targets]
    answers = [np.clip(0.3 + 0.4 * targets + generator.normal(size=(40, 3)) * noise, 0, 1) for noise in (0.1, 0.4)]
    runs = [write_run(tmp_path / f"{at}", pictures, shown, each, task="multi-label") for at, each in enumerate(answers)]

    found = compared(*runs)

    (figures,) = found.figures()["against"]
    assert figures["test"] == "Wilcoxon signed-rank of losses"
    assert figures["difference"] < figures["difference_interval"][1] < 0
    assert figures["p_value"] < 0.05
    assert verdict(found, found.against[0]).endswith("That is more than chance would do.")


def test_values_are_compared_in_the_first_runs_order(tmp_path: Path) -> None:
    pictures, generator = draw(tmp_path / "pictures", 40), np.random.default_rng(0)
    targets = generator.normal(size=(40, 2)) * (1, 100)
    answers = targets + generator.normal(size=(40, 2)) * (0.1, 10)
    text = [[" ".join(map(repr, row.tolist())) for row in each] for each in (targets.astype(np.float32),)]
    turned = [" ".join(map(repr, row.tolist())) for row in targets.astype(np.float32)[:, ::-1]]
    one = write_run(tmp_path / "a", pictures, text[0], answers, task="regression", labels=("x", "y"))
    other = write_run(tmp_path / "b", pictures, turned, answers[:, ::-1], task="regression", labels=("y", "x"))

    (against,) = compared(one, other).against

    assert against.paired is not None
    assert len(against.matched) == 40
    assert (against.paired.difference.value, against.paired.p_value) == (0, 1)
    assert "has the same r2 as run A" in told(one, other)


def test_figures_are_plain_json(tmp_path: Path) -> None:
    found = compared(insects(tmp_path / "a", wrong=[0]), insects(tmp_path / "b"))
    figures = json.loads(json.dumps(found.figures(), allow_nan=False))

    assert (figures["task"], figures["metric"], [run["letter"] for run in figures["runs"]]) == (
        *("single-label", "accuracy"),
        ["A", "B"],
    )
    assert figures["against"][0]["counts"] == {"both": 11, "only_first": 0, "only_other": 1, "neither": 0}
    assert figures["against"][0]["difference_interval"][0] < 1 / 12 < figures["against"][0]["difference_interval"][1]


def test_answers_that_are_no_numbers_spoil_no_other_runs_test_and_are_none_in_the_figures(tmp_path: Path) -> None:
    pictures, targets = draw(tmp_path / "pictures", 20), np.linspace(0, 1, 20, dtype=np.float32)[:, None]
    broken = np.where(np.arange(20)[:, None] == 3, np.nan, targets)
    answers = (targets + np.linspace(0.1, 0.3, 20)[:, None], broken, targets)
    shown = [repr(value) for value in targets[:, 0].tolist()]
    undefined = ({}, {"value": np.nan, "scores": {"r2": np.nan}, "interval": (np.nan, np.inf)}, {})
    runs = [
        write_run(tmp_path / f"{at}", pictures, shown, each, task="regression", labels=("x",), **changes)
        for at, (each, changes) in enumerate(zip(answers, undefined, strict=True))
    ]

    found = compared(*runs)
    figures = json.loads(json.dumps(found.figures(), allow_nan=False))

    assert [each["p_value_corrected"] < 0.01 for each in figures["against"]] == [False, True]
    nothing, _ = figures["against"]
    assert (nothing["p_value"], nothing["value"], nothing["difference"]) == (1, None, None)
    run = figures["runs"][1]
    assert (run["value"], run["interval"], run["scores"]) == (None, [None, None], {"r2": None})
    assert verdict(found, found.against[0]) == (
        "On the same 20 validation pictures, run B cannot be held against run A by r2, which is undefined; by "
        "Wilcoxon's signed-rank test on the losses of the pictures p = 1, corrected for 2 tests p = 1. With 20 "
        "pictures, nothing can be said of how large a difference had to be."
    )


# ── which runs ──────────────────────────────────────────────────────────────────────────────────────


def test_a_cross_validation_stands_for_its_folds_wherever_it_is_now(tmp_path: Path) -> None:
    folds = [insects(tmp_path / "crossed" / f"fold-{number}") for number in (1, 2)]
    crossed = cross_validation(tmp_path / "crossed", folds, at=Path("/elsewhere"))

    assert runs_in([crossed]) == folds
    with pytest.raises(ConfigError, match=r"fold-1 is named twice. Name each run once"):
        runs_in([crossed, folds[0]])


def test_runs_of_the_same_name_are_told_apart_by_the_way_to_them() -> None:
    assert names_of([Path("/a/run"), Path("/b/run"), Path("/b/other")]) == ["a/run", "b/run", "other"]
    assert names_of([Path("/x/a/run"), Path("/y/a/run")]) == ["x/a/run", "y/a/run"]
    assert names_of([Path("/run"), Path("/a/run")]) == ["/run", "a/run"]


def refused(*runs: Path, error: type[Exception] = ConfigError) -> str:
    with pytest.raises(error) as raised:
        compared(*runs)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_no_run_is_refused_in_one_line(tmp_path: Path) -> None:
    run = insects(tmp_path / "a")
    (tmp_path / "empty").mkdir()
    pretraining = Path(shutil.copytree(run, tmp_path / "p"))
    (pretraining / "run.json").write_text('{"status": "done", "job": "pretrain"}')
    stopped = Path(shutil.copytree(run, tmp_path / "s"))
    (stopped / "run.json").write_text('{"status": "interrupted"}')
    listed = Path(shutil.copytree(run, tmp_path / "l"))
    (listed / "run.json").write_text("[]")
    broken = cross_validation(Path(shutil.copytree(run, tmp_path / "c")), [])
    (broken / "folds.json").write_text("{")
    begun = Path(shutil.copytree(stopped, tmp_path / "b"))
    (begun / "config.toml").write_text("folds = 2\n")

    texts = {
        tmp_path / "none": "none does not exist. Name the folder that a run was written to.",
        run / "run.json": "run.json is a file. Name the folder that a run was written to.",
        tmp_path / "empty": "empty is no run's folder: it has no run.json.",
        pretraining: "p is of a pretraining",
        stopped: "is not finished (interrupted), so there is no result to report. Go on with: finetune run --resume",
        begun: "b is not finished (interrupted), so there is no result to report. Go on with: finetune run --resume",
        run: "a is named twice. Name each run once.",
    }
    assert [path.name for path, text in texts.items() if text not in refused(run, path)] == []
    assert "run.json is damaged" in refused(run, listed, error=DataError)
    assert refused(run, broken, error=DataError).endswith(
        "folds.json is damaged. Name the folders of the folds, which are beside it."
    )


def test_fewer_than_two_runs_and_more_than_ten_are_refused(tmp_path: Path) -> None:
    run = insects(tmp_path / "0")
    runs = [run, *(Path(shutil.copytree(run, tmp_path / f"{number}")) for number in range(1, 11))]

    assert refused(run) == "1 run(s) cannot be compared; name 2 to 10 of them."
    assert refused(*runs) == "11 run(s) cannot be compared; name 2 to 10 of them."
    assert [each.letter for each in compared(*runs[:10]).runs] == list("ABCDEFGHIJ")


def test_damaged_records_are_refused_with_their_file(tmp_path: Path) -> None:
    run, other = insects(tmp_path / "a"), insects(tmp_path / "b")
    (other / "answers.npy").write_bytes(b"none")
    assert f"{other / 'answers.npy'} is damaged (" in refused(run, other, error=DataError)
    (other / "answers.npy").unlink()
    assert refused(run, other).startswith(f"{other} cannot be reported: it has no answers.npy.")
    unknown = insects(tmp_path / "c")
    (unknown / "split.csv").write_text((unknown / "split.csv").read_text().replace("sha256", "sha1"))
    assert "split.csv is damaged (" in refused(run, unknown, error=DataError)


def test_other_tasks_and_other_labels_are_refused_with_both_runs(tmp_path: Path) -> None:
    run, pictures = insects(tmp_path / "a"), draw(tmp_path / "more", 3)
    several = write_run(tmp_path / "b", pictures, LABELS, certain([0, 1, 2]), task="multi-label")
    named = ("ant", "bee", "wasp", "fly", "gnat", "midge")
    others = write_run(tmp_path / "c", pictures, named[:3], np.full((3, 6), 1 / 6), labels=named)

    assert refused(run, several) == (
        f"{run} is single-label and {several} is multi-label; only runs of the same task can be compared."
    )
    assert refused(run, others) == (
        f"{run} and {others} have other labels (only a: '<b>甲</b>'; only c: 'wasp', 'fly', 'gnat' and 1 more); only "
        "runs of the same labels can be compared."
    )
    some = write_run(tmp_path / "d", pictures[:2], LABELS[:2], np.full((2, 2), 0.5), labels=LABELS[:2])
    assert "(only a: '<b>甲</b>'; only d: none)" in refused(run, some)


def test_data_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    runs = [insects(tmp_path / name) for name in "ab"]
    with pytest.raises(DataError, match=r"--data .*none is not a folder"):
        compare(runs, (), tmp_path / "none")
