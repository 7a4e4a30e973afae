"""Every strategy end to end: trained, exported, verified, verified again, and asked about pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import load_file, save_file

from finetune import run
from finetune.reporting import SILENT
from finetune.reverification import verify_again
from finetune.training import boundary
from finetune_export import Predictor, read_contract

TINY: dict[str, Any] = {
    "backbone": "squeezenet1_1",
    "weights": "none",  # which is said: random weights are never taken in silence
    "image_size": 32,
    "batch_size": 8,
    "freeze_epochs": 3,
    "epochs": 2,
}


@dataclass(frozen=True)
class Case:
    """Options, and the steps that they lead to."""

    options: dict[str, Any]
    strategy: str
    phases: tuple[str, ...]


CASES: dict[str, Case] = {
    "probe": Case({"strategy": "probe"}, "probe", ("frozen",)),
    "svm": Case({"strategy": "svm"}, "svm", ("svm",)),
    "logreg": Case({"strategy": "logreg"}, "logreg", ("logreg",)),
    "finetune": Case({"strategy": "finetune"}, "finetune", ("frozen", "unfrozen")),
    "partial": Case({"strategy": "partial"}, "partial", ("frozen", "last 2 stages")),
    "gradual": Case({"strategy": "gradual"}, "gradual", ("frozen", "last 2 stages", "unfrozen")),
    "scratch": Case({"strategy": "scratch"}, "scratch", ("from scratch",)),
    "fastai's head": Case({"strategy": "finetune", "head": "fastai"}, "finetune", ("frozen", "unfrozen")),
    "svm on a shallow layer": Case({"strategy": "svm", "layer": "stage2", "calibration": "none"}, "svm", ("svm",)),
    "recipe of torch's names": Case(
        {"strategy": "probe", "optimizer": "SGD", "schedule": "StepLR", "momentum": 0.9, "step_epochs": 2, "views": 1}
        | {"calibration": "none"},
        "probe",
        ("frozen",),
    ),
}


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, picture: Any) -> Path:
    root = tmp_path_factory.mktemp("photos") / "pets"
    for kind, label in enumerate(("cat", "dog")):
        (root / label).mkdir(parents=True)
        for i in range(10):
            picture(kind, seed=i).save(root / label / f"{i}.{'png' if i % 2 else 'jpg'}")
    return root


@pytest.fixture(scope="module", params=CASES)
def done(
    request: pytest.FixtureRequest, photos: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Case, Any]]:
    """Run each case once, with a cache of its own."""
    case, folder = CASES[request.param], tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
        yield case, run(data=photos, out=folder / "runs", **{**TINY, **case.options})


def test_it_takes_its_steps_and_the_file_answers_like_the_network(done: tuple[Case, Any]) -> None:
    case, result = done

    assert (result.strategy, tuple(result.phases)) == (case.strategy, case.phases)
    assert result.kept in case.phases
    assert result.phases[result.kept] == max(result.phases.values())
    assert result.value == result.exported_value == pytest.approx(result.phases[result.kept])
    assert (result.agreement, result.compared) == (1.0, result.valid_images)
    assert result.max_difference <= 1e-4
    assert {"prepare", *case.phases, "evaluate", "export", "total"} <= result.seconds.keys()


def test_it_says_whether_fine_tuning_beat_the_probe(done: tuple[Case, Any]) -> None:
    case, result = done

    if len(case.phases) > 1:
        assert result.verdict.startswith("Fine-tuning ")
        assert f"frozen {result.phases['frozen']:.1%}" in result.verdict
    elif case.phases[0] != "from scratch":
        kept = f"{result.kept} {result.value:.1%}"
        assert result.verdict == f"The probe is kept ({kept}); fine-tuning was not tried."
    else:
        assert result.verdict == f"{case.phases[0]}: there was no probe to beat."
    assert json.loads((result.run / "run.json").read_text())["result"]["verdict"] == result.verdict


def test_its_history_has_every_epoch_of_every_phase(done: tuple[Case, Any]) -> None:
    case, result = done
    with (result.run / "history.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))

    trained = [name for name in case.phases if name not in ("svm", "logreg")]
    assert list(dict.fromkeys(line["phase"] for line in lines)) == trained
    for name in trained:
        assert max(float(line["accuracy"]) for line in lines if line["phase"] == name) == result.phases[name]
    assert (result.run / "learning_curve.png").exists() is bool(trained)


def test_it_is_verified_again_from_its_folder(done: tuple[Case, Any]) -> None:
    _, result = done

    found = verify_again(result.onnx, run=None, data=None, reporter=SILENT).verification

    assert found is not None
    assert found.passed
    assert (found.compared, found.value, found.exported_value) == (result.compared, result.value, result.value)


def test_it_answers_about_any_picture(done: tuple[Case, Any], photos: Path) -> None:
    case, result = done
    predictor, paths = Predictor(result.onnx), [photos / "cat" / "0.jpg", photos / "dog" / "1.png"]

    answers = predictor.predict(paths)

    assert np.allclose(predictor.answers(paths).sum(axis=1), 1, atol=1e-5)
    if case.strategy in ("svm", "logreg"):  # for which the colours alone are enough
        assert (result.value, [answer.label for answer in answers]) == (1.0, ["cat", "dog"])


def test_its_weights_open_in_the_published_network_but_for_the_head(done: tuple[Case, Any]) -> None:
    case, result = done
    published = torchvision.models.squeezenet1_1(weights=None)

    left = published.load_state_dict(load_file(result.run / "weights.safetensors"), strict=False)

    assert all(key.startswith("head.") for key in left.unexpected_keys)
    missing = {key.rsplit(".", 2)[0] for key in left.missing_keys}
    assert "classifier" in missing
    assert (missing == {"classifier"}) is ("layer" not in case.options)


def test_it_is_calibrated_on_the_validation_pictures_unless_told_otherwise(done: tuple[Case, Any]) -> None:
    case, result = done
    contract = read_contract(result.onnx)

    has_temperature = case.strategy == "svm" or "calibration" not in case.options  # an SVM comes with one of its own

    assert (contract.calibration.method == "temperature", result.temperature != 1) == (2 * (has_temperature,))
    assert contract.calibration.temperature == result.temperature
    assert 0 <= result.ece_after == contract.metrics["ece"] <= 1
    assert (result.ece_before == result.ece_after) is not has_temperature


# ── auto, and what is asked again ───────────────────────────────────────────────────────────────────


@pytest.fixture
def at_hand(tmp_path: Path) -> Path:
    """Return a file of weights, random ones, which a run takes for what somebody trained."""
    torch.manual_seed(1)
    save_file(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / "body.safetensors")
    return tmp_path / "body.safetensors"


def test_auto_measures_and_says_why_it_stopped(photos: Path, tmp_path: Path, at_hand: Path) -> None:
    result = run(data=photos, out=tmp_path / "runs", **{**TINY, "weights": at_hand, "lr": "find"})

    assert result.strategy == "auto"
    assert next(iter(result.phases)) == "frozen"
    assert result.reasons[0].startswith("16 pictures, 8 in the typical class, are few;")
    assert "measure" in result.seconds
    assert result.agreement == 1.0


def test_a_second_run_computes_nothing_frozen_again_and_ends_alike(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: Any
) -> None:
    options = {**TINY, "strategy": "probe", "data": photos, "out": tmp_path / "runs"}
    first = run(**options)
    monkeypatch.setattr(boundary, "_filled", lambda _: pytest.fail("what is frozen was computed again"))

    second = run(**options, reporter=notes)

    assert read_contract(second.onnx).graph_sha256 == read_contract(first.onnx).graph_sha256
    assert (second.phases, second.run == first.run) == (first.phases, False)
    assert not [note for note in notes.said if "cache" in note]  # which works in silence


@pytest.mark.parametrize("done", ["partial"], indirect=True)
def test_a_repeated_run_from_its_configuration_is_the_same_bit_for_bit(done: tuple[Case, Any]) -> None:
    _, first = done

    again = run(config_file=first.run / "config.toml", cache_gb=0.0)

    assert read_contract(again.onnx).graph_sha256 == read_contract(first.onnx).graph_sha256
