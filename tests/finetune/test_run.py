"""The whole job, from a folder of pictures to a file that answers like the network it came from."""

from __future__ import annotations

import csv
import importlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file

from finetune import run
from finetune.errors import DataError
from finetune_export import Predictor, read_contract

# ── the result ──────────────────────────────────────────────────────────────────────────────────────


def test_the_exported_file_is_as_good_as_the_network(trained: Any) -> None:
    result = trained.result

    assert result.metric == "accuracy"
    assert result.exported_value == result.value == pytest.approx(result.phases[result.kept])
    assert (result.agreement, result.compared) == (1.0, result.valid_images)
    assert result.max_difference <= 1e-4


def test_the_accuracy_is_what_the_file_scores_on_the_validation_pictures(trained: Any) -> None:
    rows = [row for row in split_of(trained.run) if row["part"] == "valid"]
    answers = Predictor(trained.model).predict([Path(row["path"]) for row in rows])

    right = sum(answer.label == row["label"] for answer, row in zip(answers, rows, strict=True))

    assert trained.result.exported_value == right / len(rows)


def test_the_result_counts_what_was_there(trained: Any) -> None:
    result = trained.result

    assert (result.dataset, result.backbone, result.weights) == ("insects", "squeezenet1_1", "none")
    assert (result.task, result.labels) == ("single-label", 2)
    assert (result.train_images, result.valid_images, result.test_images) == (2 * 12, 2 * 12, 0)
    assert result.onnx_bytes == trained.model.stat().st_size
    assert result.artifacts == {"onnx": trained.model}
    assert result.seconds.keys() == {"prepare", "from scratch", "evaluate", "export", "test", "look", "total"}


def test_every_kind_of_picture_is_trained_on_and_answered_alike(trained: Any) -> None:
    kinds = {"animated.gif", "turned.jpg", "inky.jpg", "deep.png", "few.png", "clear.webp"}
    rows = split_of(trained.run)

    for part in ("train", "valid"):
        for label in trained.labels:
            assert kinds <= {Path(r["path"]).name for r in rows if (r["part"], r["label"]) == (part, label)}
    assert trained.result.agreement == 1.0


def test_the_users_pictures_are_not_touched(trained: Any, tree: Callable[[Path], dict[str, bytes]]) -> None:
    assert tree(trained.pictures) == trained.before


# ── the run folder ──────────────────────────────────────────────────────────────────────────────────


def split_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_run_folder_holds_these_files_and_no_others(trained: Any) -> None:
    assert {path.name for path in trained.run.iterdir()} == {
        "answers.npy",
        "augmented.png",
        "config.toml",
        "data.json",
        "heat_maps.json",
        "history.csv",
        "label_errors.json",
        "MODEL_CARD.md",
        "learning_curve.png",
        "metrics.json",
        "model.onnx",
        "picture_map.json",
        "report.html",
        "run.json",
        "split.csv",
        "verification.json",
        "versions.json",
        "weights.safetensors",
    }


def test_run_json_says_done_with_the_result(trained: Any) -> None:
    said = read_json(trained.run / "run.json")

    assert (said["status"], said["id"]) == ("done", trained.run.name)
    assert said["result"] == json.loads(json.dumps(asdict(trained.result), default=str))
    assert said["started"] <= said["ended"]


def test_the_configuration_in_the_folder_repeats_the_run_bit_for_bit(trained: Any) -> None:
    again = run(config_file=trained.run / "config.toml")

    assert again.run.parent == trained.run.parent
    assert again.run != trained.run
    assert read_contract(again.onnx).graph_sha256 == read_contract(trained.model).graph_sha256


def test_the_weights_load_into_the_published_network_but_for_the_head(trained: Any) -> None:
    published = torchvision.models.squeezenet1_1(weights=None)

    left = published.load_state_dict(load_file(trained.run / "weights.safetensors"), strict=False)

    assert set(left.missing_keys) == {"classifier.1.weight", "classifier.1.bias"}
    assert left.unexpected_keys
    assert all(key.startswith("head.") for key in left.unexpected_keys)


def test_the_split_names_every_readable_picture_once_with_its_hash(trained: Any) -> None:
    rows = split_of(trained.run)

    assert len({row["path"] for row in rows}) == len(rows) == 48
    assert {row["label"] for row in rows} == set(trained.labels)
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_the_history_has_a_line_for_every_epoch(trained: Any) -> None:
    with (trained.run / "history.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))

    assert [(line["phase"], line["epoch"]) for line in lines] == [("from scratch", "1"), ("from scratch", "2")]
    assert float(lines[-1]["accuracy"]) == pytest.approx(trained.result.value)


@pytest.mark.parametrize("name", ["learning_curve.png", "augmented.png"])
def test_what_is_drawn_is_a_picture(trained: Any, name: str) -> None:
    with Image.open(trained.run / name) as drawn:
        assert drawn.format == "PNG"


def test_metrics_json_holds_every_metric_and_every_label(trained: Any) -> None:
    found = read_json(trained.run / "metrics.json")
    low, high = trained.result.interval

    assert (found["test"], found["valid"]["pictures"]) == (None, trained.result.compared)
    assert (found["valid"]["headline"], found["valid"]["values"]) == ("accuracy", trained.result.scores)
    assert (found["valid"]["interval"]["low"], found["valid"]["interval"]["high"]) == (low, high)
    assert 0 <= low <= trained.result.value <= high <= 1
    assert [(each["label"], each["pictures"]) for each in found["valid"]["labels"]] == [
        (label, 12) for label in trained.labels
    ]


def test_data_json_names_the_refused_picture_and_the_ignored_file(trained: Any) -> None:
    data = read_json(trained.run / "data.json")
    folder = trained.pictures / "train" / trained.labels[1]

    assert [(refused["path"], refused["label"]) for refused in data["refused"]] == [
        (str(folder / "broken.jpg"), trained.labels[1])
    ]
    assert data["refused"][0]["reason"]
    assert data["ignored"] == [str(folder / "notes.txt")]
    assert data["labels"] == list(trained.labels)


def test_versions_json_names_what_shaped_the_result(trained: Any) -> None:
    versions = read_json(trained.run / "versions.json")

    assert versions["torch"] == torch.__version__.partition("+")[0] or versions["torch"] == torch.__version__
    assert versions["plugins"].keys() == {"dataset", "backbone", "target onnx"}


def test_verification_json_holds_the_proof(trained: Any) -> None:
    (proof,) = read_json(trained.run / "verification.json")

    assert (proof["target"], proof["file"], proof["problems"]) == ("onnx", "model.onnx", [])
    assert (proof["compared"], proof["agreement"]) == (trained.result.compared, 1.0)


def test_the_contract_in_the_model_tells_of_the_run(trained: Any) -> None:
    contract = read_contract(trained.model)

    assert (contract.run_id, contract.labels) == (trained.run.name, trained.labels)
    assert contract.metrics == trained.result.scores
    assert contract.metrics["accuracy"] == trained.result.value
    assert contract.calibration.temperature == trained.result.temperature
    assert contract.dataset.fingerprint == read_json(trained.run / "data.json")["fingerprint"]


def test_the_model_tells_nobody_where_the_pictures_lay(trained: Any) -> None:
    assert str(trained.pictures.parent).encode() not in trained.model.read_bytes()


def test_the_notes_name_what_was_left_out(trained: Any) -> None:
    notes = "\n".join(trained.result.notes)

    assert "broken.jpg" in notes
    assert "notes.txt" in notes
    assert "squeezenet1_1 starts from random weights." in notes


# ── other runs ──────────────────────────────────────────────────────────────────────────────────────


def test_the_rate_can_be_found_before_the_run(pictures: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    result = run(data=pictures, out=tmp_path / "runs", **{**tiny, "strategy": "probe", "lr": "find"})

    assert result.agreement == 1.0
    assert 1e-7 < read_json(result.run / "run.json")["lr"] < 10


def test_the_job_is_callable_also_where_its_module_was_imported_first() -> None:
    job: Any = importlib.import_module("finetune.run")

    assert isinstance(job, ModuleType)
    with pytest.raises(DataError, match=r"^The folder nowhere does not exist"):
        job(data="nowhere", weights="none")
