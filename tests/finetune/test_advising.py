from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.advising import Recommendation, recommend
from finetune.cli import app
from finetune.errors import ConfigError

TINY: dict[str, Any] = {"weights": "none", "image_size": 32, "batch_size": 8, "freeze_epochs": 2}


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Save random weights of a network as a file, once for each."""
    import torch
    import torchvision
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("weights")

    def saved(name: str) -> Path:
        path = folder / f"{name}.safetensors"
        if not path.exists():
            torch.manual_seed(0)
            save_file(torchvision.models.get_model(name, weights=None).state_dict(), path)
        return path

    return saved


@pytest.fixture
def found(picture_folder: Callable[..., Path], weights: Callable[[str], Path]) -> Recommendation:
    names = ("squeezenet1_1", "shufflenet_v2_x0_5")
    return recommend(candidates=[f"{name}={weights(name)}" for name in names], data=picture_folder(count=12), **TINY)


def test_every_candidate_is_scored_and_the_best_comes_first(found: Recommendation) -> None:
    accuracies = [candidate.accuracy or 0 for candidate in found.candidates]

    assert {candidate.backbone for candidate in found.candidates} == {"squeezenet1_1", "shufflenet_v2_x0_5"}
    assert accuracies == sorted(accuracies, reverse=True)
    assert all(candidate.seconds > 0 and candidate.advice.reasons for candidate in found.candidates)


def test_every_head_is_tried_on_the_best_candidate(found: Recommendation) -> None:
    assert {score.head for score in found.heads} == {"linear", "fastai", "svm", "logreg"}
    assert all(0 <= score.accuracy <= 1 for score in found.heads)


def test_the_recommended_command_parses_and_says_what_was_said(found: Recommendation) -> None:
    words = shlex.split(found.command)
    _, bound, _ = app.parse_args(words[1:], exit_on_error=False, print_error=False)

    assert words[:2] == ["finetune", "run"]
    said = bound.arguments["options"]
    assert said["backbone"] == found.candidates[0].backbone
    assert said["strategy"] == found.candidates[0].advice.strategy
    assert said["image_size"] == 32


def test_the_tables_hold_every_candidate_head_and_reason(found: Recommendation) -> None:
    best = found.candidates[0]

    assert [row[0] for row in found.rows()[1:]] == [candidate.backbone for candidate in found.candidates]
    assert len(found.head_rows()) == 1 + len(found.heads)
    assert [text for word, text in found.advice_rows() if word == "because"] == list(best.advice.reasons)


def test_without_candidates_the_asked_backbone_is_measured(picture_folder: Callable[..., Path]) -> None:
    found = recommend(data=picture_folder(count=6), backbone="squeezenet1_1", **TINY)

    assert [candidate.backbone for candidate in found.candidates] == ["squeezenet1_1"]


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ("squeezenet1_1=", "--candidate squeezenet1_1= names no file; give NAME, or NAME=FILE with its weights."),
        ("squezenet1_1", "Unknown backbone 'squezenet1_1'. Did you mean 'squeezenet1_1'?"),
    ],
)
def test_a_candidate_that_is_none_is_refused(candidate: str, message: str, pictures: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        recommend(candidates=[candidate], data=pictures, **TINY)

    assert str(caught.value).startswith(message)


def test_the_command_prints_tables_or_one_json_object(
    picture_folder: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--data", str(picture_folder(count=6)), "--backbone", "squeezenet1_1", "--weights", "none"]
    options += ["--image-size", "32", "--freeze-epochs", "1"]

    app(["advise", *options])
    tables = capsys.readouterr().out
    app(["advise", *options, "--json"])
    found = json.loads(capsys.readouterr().out)

    assert "LogME" in tables
    assert "scenario" in tables
    assert found["candidates"][0]["backbone"] == "squeezenet1_1"
