from __future__ import annotations

import gc
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune import advising
from finetune.advising import Recommendation, recommend
from finetune.cli import app, main
from finetune.errors import ConfigError
from finetune.networks.network import Network
from finetune.planning import RunPlan, dry_run
from finetune.plugins import load_plugins
from finetune.reporting import SilentReporter
from finetune.training.scenario import Advice
from finetune.training.strategies import phase_to_measure

TINY: dict[str, Any] = {"weights": "none", "image_size": 32, "batch_size": 8, "freeze_epochs": 2}


SMALL = """
from pathlib import Path

import torch
from torch import nn

from finetune.hookspecs import hookimpl
from finetune.networks.network import BackboneModel
from finetune.types import Backbone, Weights


@hookimpl
def finetune_register_backbones(register):
    weights = Weights(name="V1", url="https://example.org/small.pth", sha256="", licence="MIT", source="nobody",
                      fetch="finetune_small:find", find="finetune_small:find")
    register(Backbone(name="small", family="small", summary="Small.", build="finetune_small:build", parameters=1392,
                      weights=weights))


def find(weights):
    path = Path(torch.hub.get_dir()) / "checkpoints" / "small.pth"
    return path if path.is_file() else None


def build(backbone, image_size_px):
    model = nn.Sequential(nn.Conv2d(3, 8, 3, 2), nn.Conv2d(8, 16, 3, 2))
    return BackboneModel(model=model, stages=(("stem", model[0]), ("top", model[1])))


def published(value):
    return {name: torch.full_like(tensor, value) for name, tensor in build(None, 32).model.state_dict().items()}
"""


class Notes(SilentReporter):
    """Keeps what is said to the user."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        """Keep the sentence."""
        self.said.append(text)

    def left_out(self) -> list[str]:
        """Return the sentences about what was left out."""
        return [text for text in self.said if text.startswith("Left out")]


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
def place(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return where a backbone's pretrained weights would lie."""
    import torch

    def placed(name: str) -> Path:
        published = load_plugins().find_backbone(name).weights
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        assert published
        return folder / Path(published.url).name

    return placed


@pytest.fixture
def small(
    install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch, place: Callable[[str], Path]
) -> Callable[[float], Path]:
    """Install a backbone of two stages, with pretrained weights of one value at hand."""
    import torch

    monkeypatch.syspath_prepend(install("small", SMALL))
    monkeypatch.delitem(sys.modules, "finetune_small", raising=False)

    def published(value: float) -> Path:
        path = place("small")
        torch.save(sys.modules["finetune_small"].published(value), path)
        return path

    return published


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


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_another_task_than_single_labels_is_refused(
    task: str, tmp_path: Path, colour_table: Callable[..., Path]
) -> None:
    table = colour_table(tmp_path, task, count=1)

    with pytest.raises(ConfigError, match=rf"^Advice is about telling single labels apart, and the task is {task}; t"):
        recommend(data=table, label_col=("red", "blue"), backbone="squeezenet1_1", **TINY)


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


# ── candidates ──────────────────────────────────────────────────────────────────────────────────────


def test_what_is_at_hand_is_measured_whole_whatever_layer_was_said(
    pictures: Path, small: Callable[[float], Path]
) -> None:
    small(0.1)

    found = recommend(data=pictures, backbone="squeezenet1_1", layer="stage1", **TINY)

    stages = {candidate.backbone: [score.stage for score in candidate.advice.scores] for candidate in found.candidates}
    assert stages["small"] == ["stem", "top"]
    assert stages["squeezenet1_1"][-1] == "stage1"


def test_what_is_at_hand_and_fails_is_left_out_with_a_line(
    pictures: Path, small: Callable[[float], Path], place: Callable[[str], Path]
) -> None:
    small(float("nan"))
    place("shufflenet_v2_x0_5").write_bytes(b"damaged")
    place("vit_b_16").write_bytes(b"not even read: 40 px are no multiple of 16")
    notes = Notes()

    found = recommend(data=pictures, backbone="squeezenet1_1", reporter=notes, **{**TINY, "image_size": 40})

    assert [candidate.backbone for candidate in found.candidates] == ["squeezenet1_1"]
    said = {text.split(":")[0].removeprefix("Left out "): text.split(": ", 1)[1] for text in notes.left_out()}
    assert said.keys() == {"shufflenet_v2_x0_5", "vit_b_16", "small"}
    assert said["shufflenet_v2_x0_5"].startswith(f"{place('shufflenet_v2_x0_5')} is not what ")
    assert said["vit_b_16"].startswith("--image-size 40 is not allowed ")
    assert said["small"].startswith("The frozen features are no finite numbers")


def test_a_named_candidate_that_fails_is_an_error_of_one_line(
    pictures: Path, small: Callable[[float], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    candidate = f"small={small(float('nan'))}"

    with pytest.raises(SystemExit) as ended:
        main(["advise", "--data", str(pictures), "--image-size", "32", "--candidate", candidate])

    assert ended.value.code == 7
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("finetune: ")]
    assert [line.split(";")[0] for line in errors] == ["finetune: The frozen features are no finite numbers"]


def test_no_network_is_kept_but_the_best(
    pictures: Path, small: Callable[[float], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, counts, build = small(0.1), [], advising.with_backbone

    def alive() -> int:
        gc.collect()
        return sum(type(thing) is Network for thing in gc.get_objects())

    def counted(*args: Any) -> Any:
        counts.append(alive() - before)
        return build(*args)

    before = alive()
    monkeypatch.setattr(advising, "with_backbone", counted)
    recommend(candidates=[f"small={path}"] * 4, data=pictures, **{**TINY, "freeze_epochs": 1})

    assert counts == [1, 1, 1]


# ── heads ───────────────────────────────────────────────────────────────────────────────────────────


def test_a_head_that_diverges_is_left_out_and_the_rest_is_shown(pictures: Path) -> None:
    notes = Notes()
    absurd = {**TINY, "lr": 10.0, "weight_decay": 1.0, "freeze_epochs": 12}

    found = recommend(data=pictures, backbone="squeezenet1_1", reporter=notes, **absurd)

    assert {score.head for score in found.heads} == {"svm", "logreg"}
    assert [text.split(":")[0] for text in notes.left_out()] == ["Left out the head linear", "Left out the head fastai"]


def test_heads_are_tried_also_where_the_run_would_have_no_frozen_phase(pictures: Path) -> None:
    found = recommend(data=pictures, backbone="squeezenet1_1", unfreeze=9, **{**TINY, "freeze_epochs": 0})

    assert {score.head for score in found.heads} == {"linear", "fastai", "svm", "logreg"}


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def followed(command: str) -> tuple[dict[str, Any], RunPlan]:
    """Return the options of a command, and the plan that is made of it."""
    _, bound, _ = app.parse_args(shlex.split(command)[1:], exit_on_error=False, print_error=False)
    options = bound.arguments["options"]
    return options, dry_run(config_file=bound.arguments.get("config"), **options)


@pytest.fixture
def recommended(monkeypatch: pytest.MonkeyPatch, pictures: Path) -> Callable[..., str]:
    """Return the command where the measurement advises a certain strategy, whatever the pictures are."""
    measured = advising.advise

    def command(advice: Any, at: str | None, **options: Any) -> str:
        def advised(*args: Any) -> Advice:
            return replace(measured(*args), strategy=advice, layer=at)

        monkeypatch.setattr(advising, "advise", advised)
        monkeypatch.setattr(advising, "_heads", lambda *_: ())  # which the command does not depend on
        return recommend(data=pictures, **{**TINY, "backbone": "squeezenet1_1", **options}).command

    return command


@pytest.mark.parametrize(
    ("said", "strategy", "layer", "expected"),
    [
        ({"head": "fastai"}, "svm", None, {"head": None, "strategy": "svm", "weights": "none"}),
        ({"head": "fastai"}, "probe", None, {"head": "fastai"}),
        ({"layer": "stage2"}, "probe", None, {"layer": "stage2"}),
        ({"layer": "stage2"}, "svm", "stage1", {"layer": "stage1"}),
        ({"unfreeze": 4}, "svm", "stage1", {"unfreeze": None}),
        ({"freeze_epochs": 0}, "probe", None, {"freeze_epochs": None}),
        ({"freeze_epochs": 0}, "finetune", None, {"freeze_epochs": 0}),
        ({"freeze_epochs": 0, "epochs": 0}, "partial", None, {"freeze_epochs": 0, "epochs": None}),
        ({"freeze_epochs": 0, "lr": "find"}, "gradual", None, {"freeze_epochs": None, "lr": "find"}),
        ({"lr": "find"}, "svm", None, {"lr": None}),
        ({"strategy": "probe", "epochs": 0}, "scratch", None, {"epochs": None, "weights": "none"}),
    ],
)
def test_the_recommended_command_is_one_that_run_accepts(
    recommended: Callable[..., str], said: Any, strategy: str, layer: str | None, expected: dict[str, Any]
) -> None:
    options, planned = followed(recommended(strategy, layer, **said))

    assert {name: options.get(name) for name in expected} == expected
    assert planned.strategy == strategy
    assert planned.steps
    if planned.config.lr == "find":
        phase_to_measure(planned.config, planned.groups, planned.config.strategy)


def test_the_recommended_command_contradicts_what_a_file_says(
    recommended: Callable[..., str], small: Callable[[float], Path], tmp_path: Path
) -> None:
    small(0.1)
    file = tmp_path / "my run.toml"
    file.write_text('weights = "gone.pth"\nhead = "fastai"\nlayer = "stage1"\nunfreeze = 4\nlr = "find"\n')

    options, planned = followed(recommended("svm", None, config_file=file, candidates=["small"]))

    assert {name: options[name] for name in ("weights", "head", "layer", "unfreeze", "lr")} == {
        "weights": "pretrained",
        "head": "linear",
        "layer": "top",
        "unfreeze": 1,
        "lr": 0.003,
    }
    assert [step.name for step in planned.steps] == ["svm"]
