"""What is trained on, what chooses and what judges: three parts that never meet, and runs that repeat bit for bit."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune import run
from finetune.reporting import SilentReporter
from finetune_export import Predictor, read_contract

from .conftest import TINY

LABELS = ("ant", "bee")
GROUPS, PER_GROUP = 16, 3
OPTIONS: dict[str, Any] = {
    **TINY,
    "strategy": "finetune",
    "freeze_epochs": 2,
    "group_col": "nest",
    "valid_share": 0.25,
    "test_share": 0.25,
    "abstain_at": 0.95,
    "seed": 7,
}


@dataclass(frozen=True)
class Parted:
    """A finished run on a table of pictures in groups, of which some have the wrong label."""

    result: Any
    table: Path

    @property
    def folder(self) -> Path:
        return self.result.run  # type: ignore[no-any-return]


class StoppedError(BaseException):
    """What a reporter stops a run by."""


class StopAt(SilentReporter):
    """Stop a run where it begins to do something."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        if title.startswith(self.title):
            raise StoppedError


def trained_only(out: Path, reporter: SilentReporter | None = None, **options: Any) -> Path:
    """Return the folder of a run that was ended when it had trained, before its export, which takes longer."""
    before = set(out.glob("*"))
    with pytest.raises(StoppedError):
        run(out=out, reporter=reporter or StopAt("Exporting"), **options)
    (folder,) = set(out.glob("*")) - before
    return folder


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def split_of(folder: Path) -> dict[str, str]:
    """Return the part of each picture, by its path."""
    return {row["path"]: row["part"] for row in rows_of(folder / "split.csv")}


def history_of(folder: Path) -> list[dict[str, str]]:
    """Return the history without what differs from run to run: the seconds."""
    return [
        {name: value for name, value in row.items() if name != "seconds"} for row in rows_of(folder / "history.csv")
    ]


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def label_of(number: int) -> str:
    """Nests are of one label and the next in turn; every seventh picture has the wrong one."""
    return LABELS[(number // PER_GROUP % 2) ^ (number % 7 == 0)]


@pytest.fixture(scope="module")
def parted(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Parted:
    root = tmp_path_factory.mktemp("parted")
    for number in range(GROUPS * PER_GROUP):
        picture(number // PER_GROUP % 2, seed=number).save(root / f"{number}.png")
    table = root / "nests.csv"
    rows = [f"{number}.png,{label_of(number)},nest {number // PER_GROUP}" for number in range(GROUPS * PER_GROUP)]
    table.write_text("\n".join(["image,label,nest", *rows]))
    return Parted(run(data=table, out=root / "runs", **OPTIONS), table)


# ── parts ───────────────────────────────────────────────────────────────────────────────────────────


def test_no_group_is_in_two_parts(parted: Parted) -> None:
    parts = defaultdict(set)
    for path, part in split_of(parted.folder).items():
        parts[int(Path(path).stem) // PER_GROUP].add(part)

    assert len(parts) == GROUPS
    assert {len(found) for found in parts.values()} == {1}
    assert {part for found in parts.values() for part in found} == {"train", "valid", "test"}


def test_every_picture_is_in_one_part_and_all_are_counted(parted: Parted) -> None:
    parts, result = list(split_of(parted.folder).values()), parted.result

    assert len(parts) == GROUPS * PER_GROUP
    counted = (result.train_images, result.valid_images, result.test_images)
    assert counted == tuple(parts.count(part) for part in ("train", "valid", "test"))


def test_the_test_part_is_scored_by_the_exported_file(parted: Parted) -> None:
    rows = [row for row in rows_of(parted.folder / "split.csv") if row["part"] == "test"]
    answers = Predictor(parted.result.onnx).predict([Path(row["path"]) for row in rows])

    right = [answer.label == row["label"] for answer, row in zip(answers, rows, strict=True)]

    scores = read_json(parted.folder / "metrics.json")["test"]
    assert scores["pictures"] == len(rows)
    assert scores["values"]["accuracy"] == parted.result.test_scores["accuracy"] == pytest.approx(np.mean(right))
    low, high = parted.result.test_interval
    assert low <= np.mean(right) <= high


def test_the_split_of_an_earlier_run_divides_in_the_same_way(parted: Parted, tmp_path: Path) -> None:
    options = {**OPTIONS, "seed": 8, "data": parted.table, "split": parted.folder / "split.csv"}
    options.pop("test_share")

    assert split_of(trained_only(tmp_path, **options)) == split_of(parted.folder)


def test_other_test_pictures_change_no_bit_of_what_is_trained(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    def trained(name: str, test_kind: int) -> Path:
        lines = ["image,label,split"]
        for number in range(24):
            part = ("train", "train", "valid", "test")[number // 6]
            kind = number % 2 if part != "test" else test_kind
            picture(kind, seed=number if part != "test" else 100 * kind + number).save(tmp_path / f"{number}.png")
            lines.append(f"{number}.png,{LABELS[number % 2 if part != 'test' else test_kind]},{part}")
        (tmp_path / "nests.csv").write_text("\n".join(lines))
        options = {name: value for name, value in OPTIONS.items() if name not in ("group_col", "test_share")}
        return trained_only(tmp_path / name, data=tmp_path / "nests.csv", **options)

    one, other = trained("one", test_kind=0), trained("other", test_kind=1)

    assert read_json(one / "data.json")["fingerprint"] != read_json(other / "data.json")["fingerprint"]
    assert (other / "weights.safetensors").read_bytes() == (one / "weights.safetensors").read_bytes()
    assert history_of(other) == history_of(one)


# ── calibration and abstaining ──────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def uncalibrated(parted: Parted) -> Parted:
    """The same run once more, from its configuration, without calibration."""
    return Parted(run(config_file=parted.folder / "config.toml", calibration="none"), parted.table)


def answers_to(model: Path, folder: Path, part: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    return Predictor(model).answers([Path(path) for path, found in split_of(folder).items() if found == part])


def test_the_temperature_divides_the_logits_in_the_graph(parted: Parted, uncalibrated: Parted) -> None:
    temperature = parted.result.temperature
    plain = answers_to(uncalibrated.result.onnx, parted.folder, "valid")

    logits = np.log(plain.astype(np.float64)) / temperature
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)

    assert abs(temperature - 1) > 0.05
    np.testing.assert_allclose(answers_to(parted.result.onnx, parted.folder, "valid"), expected, atol=1e-5)


def test_the_temperature_is_in_the_contract_and_lowers_the_log_loss(parted: Parted, uncalibrated: Parted) -> None:
    calibration = read_contract(parted.result.onnx).calibration

    assert (calibration.method, calibration.temperature) == ("temperature", parted.result.temperature)
    assert parted.result.scores["log-loss"] < uncalibrated.result.scores["log-loss"]
    assert parted.result.ece_before == uncalibrated.result.ece_before


def test_without_calibration_nothing_is_divided(uncalibrated: Parted) -> None:
    calibration = read_contract(uncalibrated.result.onnx).calibration

    assert (calibration.method, calibration.temperature) == ("none", 1.0)
    assert uncalibrated.result.ece_before == uncalibrated.result.ece_after


def test_the_model_abstains_where_its_validation_answers_were_wrong_too_often(parted: Parted) -> None:
    rows = [row for row in rows_of(parted.folder / "split.csv") if row["part"] == "valid"]
    contract, answers = read_contract(parted.result.onnx), answers_to(parted.result.onnx, parted.folder, "valid")
    said = Predictor(parted.result.onnx).predict([Path(row["path"]) for row in rows])

    (threshold,) = set(contract.thresholds.values())

    assert contract.thresholds.keys() == set(LABELS)
    assert [one.abstains for one in said] == (answers.max(axis=1) < threshold).tolist()
    assert 0 < sum(one.abstains for one in said) < len(said)
    right = [one.label == row["label"] for one, row in zip(said, rows, strict=True) if not one.abstains]
    assert np.mean(right) >= OPTIONS["abstain_at"] > parted.result.scores["accuracy"]
    assert any(note.startswith(f"The model abstains below {threshold:.3f}: ") for note in parted.result.notes)
    scored = json.loads((parted.folder / "metrics.json").read_text())
    assert scored["valid"]["precision"] == pytest.approx(np.mean(right))
    for part in ("valid", "test"):
        reaching = answers_to(parted.result.onnx, parted.folder, part).max(axis=1) >= threshold
        assert scored[part]["coverage"] == pytest.approx(reaching.mean())


# ── repeating ───────────────────────────────────────────────────────────────────────────────────────


def test_the_configuration_of_a_run_repeats_it_bit_for_bit(parted: Parted, uncalibrated: Parted) -> None:
    for name in ("weights.safetensors", "split.csv", "augmented.png", "data.json"):
        assert (uncalibrated.folder / name).read_bytes() == (parted.folder / name).read_bytes()
    assert history_of(uncalibrated.folder) == history_of(parted.folder)
    scores = {name: value for name, value in parted.result.scores.items() if name not in ("log-loss", "ece")}
    assert scores.items() <= uncalibrated.result.scores.items()


def test_another_seed_divides_and_trains_otherwise(parted: Parted) -> None:
    folder = trained_only(parted.table.parent / "seeds", data=parted.table, **{**OPTIONS, "seed": 8})

    assert split_of(folder) != split_of(parted.folder)
    assert (folder / "weights.safetensors").read_bytes() != (parted.folder / "weights.safetensors").read_bytes()


def test_the_augmented_pictures_are_there_to_look_at(parted: Parted) -> None:
    with Image.open(parted.folder / "augmented.png") as drawn:
        assert drawn.format == "PNG"
        assert drawn.width > 100


# ── what chooses ────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
def guessed(tmp_path_factory: pytest.TempPathFactory, parted: Parted) -> Path:
    """A table of the same pictures with labels by chance: what is learnt makes confident mistakes of guesses."""
    table = parted.table.with_name("guessed.csv")
    kinds = np.random.default_rng(6).integers(0, 2, GROUPS * PER_GROUP).tolist()
    table.write_text("\n".join(["image,label", *(f"{i}.png,{LABELS[kind]}" for i, kind in enumerate(kinds))]))
    return table


def test_the_monitored_metric_chooses_the_epoch_and_of_a_loss_the_lowest(guessed: Path, tmp_path: Path) -> None:
    options = {**TINY, "strategy": "probe", "freeze_epochs": 20, "lr": 0.03, "valid_share": 0.5, "precision": "fp32"}

    by_accuracy, said = trained_only(tmp_path, data=guessed, monitor="accuracy", **options), StopAt("Exporting")
    by_loss = trained_only(tmp_path, data=guessed, monitor="log-loss", reporter=said, **options)

    accuracies = [float(epoch["accuracy"]) for epoch in history_of(by_accuracy)]
    losses = [float(epoch["log-loss"]) for epoch in history_of(by_loss)]
    assert accuracies[losses.index(min(losses))] < max(accuracies)
    assert f"The probe is kept (frozen {min(losses):.4g}); fine-tuning was not tried." in said.notes
    assert (by_loss / "weights.safetensors").read_bytes() != (by_accuracy / "weights.safetensors").read_bytes()


# ── time ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_whose_time_is_up_at_once_has_learned_from_one_batch_and_leaves_a_network(
    parted: Parted, tmp_path: Path
) -> None:
    endless = {**OPTIONS, "freeze_epochs": 10_000, "epochs": 10_000, "data": parted.table}

    folder = trained_only(tmp_path, max_minutes=0.1, **endless)

    assert [(epoch["phase"], epoch["epoch"]) for epoch in history_of(folder)] == [("frozen", "1")]
    assert (folder / "weights.safetensors").exists()
