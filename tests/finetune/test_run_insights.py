"""What a run finds out for people to look at: its records, when they are made, and that they cost no run anything."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune import records, training_job
from finetune.clock import Clock
from finetune.data.findings import Finding, first_of_each_kind
from finetune.evaluating import Evaluation, evaluate
from finetune.insights import looking
from finetune.insights.looking import explained, look, look_before_training
from finetune.intent import discover
from finetune.preparation import Job
from finetune.run_folder import RunFolder, sha256_of
from finetune.stopping import Stop
from finetune.training.strategies import plan, ready
from finetune.training.trainer import Trainer
from finetune.training_job import train
from finetune.types import Example

from .conftest import Notes

QUICK: dict[str, Any] = {"strategy": "probe", "freeze_epochs": 3, "views": 1, "augment": "none", "batch_size": 8}


class Told(Notes):
    """A reporter that remembers the jobs that were begun, too."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[str] = []

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.begun.append(title)


@dataclass(frozen=True)
class Looked:
    """What a run was before it exported anything: of two colours, with one wrong label, and one picture there twice."""

    options: dict[str, Any]
    run: Path
    job: Job
    trainer: Trainer
    evaluation: Evaluation
    wrong: Path
    told: Told


@pytest.fixture(scope="module")
def looked(
    tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image], toys: Callable[..., bytes]
) -> Looked:
    root = tmp_path_factory.mktemp("looked")
    for kind, label in enumerate(("red", "blue")):
        (root / "pictures" / label).mkdir(parents=True)
        for i in range(16):
            picture(kind, seed=i).save(root / "pictures" / label / f"{i:02}.png")
    shutil.copy(root / "pictures" / "red" / "03.png", root / "pictures" / "red" / "copy.png")
    wrong = root / "pictures" / "blue" / "wrong.png"
    picture(0, seed=99).save(wrong)
    (root / "toys.safetensors").write_bytes(toys())
    options = {"data": root / "pictures", "backbone": str(root / "toys.safetensors"), "out": root / "runs", **QUICK}
    told = Told()
    folder, job, trainer = trained_on(options, told)
    evaluation = evaluate(trainer, job.config, 1.0)
    records.write_answers(folder, evaluation)
    look(folder, job, trainer, evaluation, told)
    return Looked(options, folder.path, job, trainer, evaluation, wrong, told)


def trained_on(options: dict[str, Any], notes: Notes) -> tuple[RunFolder, Job, Trainer]:
    """Do what a run does until it has trained; exporting, which takes longest, is for others to test."""
    job = ready(discover(options), notes)
    folder = RunFolder.create(job.config.out, "looked")
    records.write_inputs(folder, job)
    trainer, _ = train(folder, job, Clock(), notes, lambda _: 0.0)
    return folder, job, trainer


def looked_before_training(job: Job, notes: Notes) -> tuple[RunFolder, Trainer]:
    """Look once more at what a run looks at before its first step; what it goes by, training has left as it was."""
    trainer = Trainer(job, notes, stop=Stop(job.config.max_minutes))
    folder = RunFolder.create(job.config.out, "looked")
    first = plan(job.config, job.groups, 0.01, job.strategy)[0]
    look_before_training(folder, job, trainer, first, Clock(), notes)
    return folder, trainer


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def of_part(folder: Path, part: str) -> list[dict[str, str]]:
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["part"] == part]


# ── the records ─────────────────────────────────────────────────────────────────────────────────────


def test_nothing_is_missing_and_the_time_that_it_takes_is_told(looked: Looked, trained: Any) -> None:
    assert [note for note in looked.told.said if "goes without" in note] == []
    assert list(trained.result.seconds)[-3:] == ["test", "look", "total"]


def test_a_wrong_label_is_the_first_that_is_doubted_whichever_part_it_is_in(looked: Looked) -> None:
    found = read_json(looked.run / "label_errors.json")

    (part,) = (
        row["part"] for name in ("train", "valid") for row in of_part(looked.run, name) if "wrong" in row["path"]
    )
    first = found["found"][0]
    assert (first["path"], first["part"], first["given"], first["likely"]) == (str(looked.wrong), part, "blue", "red")
    assert found["pictures"] == 34
    assert "all training and validation pictures" in found["method"]


def test_every_validation_picture_has_its_place_on_the_map(looked: Looked) -> None:
    found = read_json(looked.run / "picture_map.json")
    valid = of_part(looked.run, "valid")

    assert [place["picture"] for place in found] == list(range(len(valid)))
    assert all(0 <= place[axis] <= 1 for place in found for axis in ("x", "y"))
    red, blue = (
        np.array([(p["x"], p["y"]) for p, row in zip(found, valid, strict=True) if row["label"] == label])
        for label in ("red", "blue")
    )
    assert np.ptp(red, axis=0).max() < np.linalg.norm(red.mean(axis=0) - np.median(blue, axis=0))


def test_heat_maps_are_of_the_pictures_with_the_largest_losses_and_of_the_answers_they_were_given(
    looked: Looked,
) -> None:
    found = read_json(looked.run / "heat_maps.json")
    answers = np.load(looked.run / "answers.npy")
    shown = [("blue", "red").index(row["label"]) for row in of_part(looked.run, "valid")]

    order = np.argsort(answers[np.arange(len(shown)), shown], kind="stable")[:24]
    assert [each["picture"] for each in found] == order.tolist()
    assert [each["label"] for each in found] == answers[order].argmax(axis=1).tolist()
    cells = np.array([each["cells"] for each in found])
    assert cells.ndim == 3
    assert 0 <= cells.min() <= cells.max() <= 255


def test_what_the_audit_found_is_there_as_finetune_audit_writes_it(looked: Looked) -> None:
    (found,) = [each for each in read_json(looked.run / "data.json")["findings"] if each["kind"] == "duplicate"]

    assert [Path(each["path"]).name for each in found["pictures"]] == ["03.png", "copy.png"]
    assert found["pictures"][0] == {
        "path": str(looked.wrong.parent.parent / "red" / "03.png"),
        "shows": "red",
        "part": None,
        "group": None,
    }


def test_from_scratch_the_answers_to_the_validation_pictures_are_gone_by(trained: Any) -> None:
    found = read_json(trained.run / "label_errors.json")

    assert found["method"].startswith("The trained network answered for the validation pictures")
    assert found["pictures"] == trained.result.valid_images
    assert not (trained.run / "lr_find.json").exists(), "nothing was at hand for it"


def test_of_very_many_findings_the_first_of_each_kind_are_written_down() -> None:
    pairs = [Finding(kind="duplicate", pictures=(Example(path=Path(f"{at}")),) * 2) for at in range(1000)]
    family = Finding(kind="near-duplicate", pictures=(Example(path=Path("alike")),) * 1000)

    kept = first_of_each_kind([*pairs, family])

    assert kept[:-1] == pairs[:100]
    assert (kept[-1].kind, len(kept[-1].pictures)) == ("near-duplicate", 200)


@pytest.mark.parametrize(
    ("task", "said", "shown", "expected"),
    [
        ("single-label", [[0.2, 0.8]], [0], 1),
        ("multi-label", [[0.9, 0.6]], [[1, 0]], 1),
        ("regression", [[5.0, -3.0]], [[0, 0]], 0),
    ],
)
def test_what_is_looked_into_is_the_answer_or_of_several_the_one_furthest_off(
    task: Any, said: list[list[float]], shown: Any, expected: int
) -> None:
    assert explained(task, np.array(said, np.float32), np.array(shown)).tolist() == [expected]


# ── what they cost ──────────────────────────────────────────────────────────────────────────────────


def test_the_curve_is_that_of_the_rate_that_is_found_where_one_is_asked_for(looked: Looked, notes: Notes) -> None:
    folder, _, trainer = trained_on(looked.options | {"lr": "find", "max_minutes": 50.0}, notes)

    curve = read_json(folder / "lr_find.json")
    assert curve["suggestion"] == trainer.journal.lr
    assert curve == read_json(looked.run / "lr_find.json"), "of the same network, on the same pictures"


def test_looking_changes_nothing_about_the_network(
    looked: Looked, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training_job, "look_before_training", lambda *_: None)

    blind, _, _ = trained_on(looked.options, notes)

    assert not (blind / "lr_find.json").exists()
    assert sha256_of(blind / "weights.safetensors") == sha256_of(looked.run / "weights.safetensors")


def test_what_fails_is_told_and_the_rest_is_looked_at(
    looked: Looked, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("no such\nthing")

    for name in ("held_out_probabilities", "find_errors", "places"):
        monkeypatch.setattr(looking, name, broken)
    monkeypatch.setattr(Trainer, "find_rate", broken)

    folder, _ = looked_before_training(looked.job, notes)
    look(folder, looked.job, looked.trainer, looked.evaluation, notes)

    assert [note for note in notes.said if "goes without" in note] == [
        "The report goes without the curve of the learning rate: no such thing",
        "The report goes without labels that are likely wrong: no such thing",
        "The report goes without labels that are likely wrong: no such thing",
        "The report goes without a map of the pictures: no such thing",
    ]
    assert read_json(folder / "heat_maps.json") == read_json(looked.run / "heat_maps.json")


def test_where_time_is_short_there_is_no_sweep_and_once_it_is_up_nothing_is_looked_at(
    looked: Looked, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = replace(looked.job.config, max_minutes=50.0)
    job = replace(looked.job, intent=replace(looked.job.intent, config=config))
    folder, trainer = looked_before_training(job, notes)
    before = {path.name for path in folder.path.iterdir()}
    monkeypatch.setattr(looking, "LOOK_S", 3600.0)

    look(folder, job, trainer, looked.evaluation, notes)

    assert before == {"label_errors.json"}
    assert {path.name for path in folder.path.iterdir()} == before
    assert notes.said[-1] == (
        "The report goes without heat maps and a map of the pictures: the time is up (--max-minutes 50)."
    )


def test_all_labels_are_looked_at_before_the_first_step(looked: Looked) -> None:
    begun = looked.told.begun

    assert begun.index("Looking at the labels") < begun.index("Training, frozen")
    assert begun.count("Looking at the labels") == 1


def test_a_signal_that_comes_while_a_run_looks_ends_it(
    looked: Looked, notes: Notes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(looking, "held_out_probabilities", interrupted)
    with pytest.raises(KeyboardInterrupt):
        looked_before_training(looked.job, notes)
