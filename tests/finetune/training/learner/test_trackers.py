"""Trackers: one run there for one run here, with steps that go on; nothing leaves that nobody sent off."""

from __future__ import annotations

import importlib.util
import json
import random
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback, CancelTrainException
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.metrics import accuracy
from fastai.optimizer import OptimWrapper
from torch import nn

from finetune.config import Tracker
from finetune.errors import ConfigError, ResourceError
from finetune.training.batches import Batches
from finetune.training.learner.losses import loss_for
from finetune.training.learner.trackers import IDS, Followed, Tracking, trackers
from finetune.training.tracking import check_trackers

FACTS = {"backbone": "squeezenet1_1", "lr": 0.003, "labels": 2}
STEPS = 3
"""Of each epoch."""
EVERY: tuple[Tracker, ...] = ("tensorboard", "wandb", "mlflow")


@pytest.fixture(autouse=True)
def _nobody_configured_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_PROJECT", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("WANDB_CONFIG_DIR", "WANDB_CACHE_DIR", "WANDB_DATA_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "wandb-home"))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    for name in ("WANDB_ERROR_REPORTING", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.setenv(name, {"WANDB_ERROR_REPORTING": "false"}.get(name, "true"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "runs" / "one"
    made.mkdir(parents=True)
    return made


@pytest.fixture
def follow(folder: Path) -> Iterator[Callable[..., Tracking]]:
    """Return what begins to follow a run; it is closed in the end."""
    begun: list[Tracking] = []

    def following(name: Tracker, note: Callable[[str], None] = pytest.fail) -> Tracking:
        pytest.importorskip(name, reason=f"{name} is not installed")
        begun.extend(trackers([name], folder, "one", FACTS, note))
        return begun[-1]

    yield following
    for tracker in begun:
        tracker.finish(succeeded=True)


def fit(callbacks: Sequence[Any], epochs: int) -> nn.Module:
    """Train a phase as a trainer does: with a learner of its own."""
    torch.manual_seed(1)
    inputs, targets = torch.randn(12, 4), torch.arange(12) % 2
    train = Batches(lambda indices, _: inputs[indices], targets, 4, shuffled=True)
    valid = Batches(lambda indices, _: inputs[indices], targets, 6)
    loss = loss_for("single-label", "none", targets, 2)
    optimizer = partial(OptimWrapper, opt=torch.optim.SGD)
    learner = Learner(
        DataLoaders(train, valid), nn.Linear(4, 2), loss, opt_func=optimizer, metrics=accuracy, cbs=list(callbacks)
    )
    learner.remove_cb(ProgressCallback)
    learner.logger = lambda _: None
    learner.fit(epochs, 0.01)
    return learner.model


def two_phases(tracker: Tracking) -> None:
    fit([tracker], epochs=2)
    tracker.steps_before = 2 * STEPS
    fit([tracker], epochs=1)


class CutShort(Callback):  # type: ignore[misc]
    """Ends training after a step, and lets the epoch be validated."""

    order = 70  # after the recorder, as what ends a run in time

    def after_batch(self) -> None:
        if self.training:
            raise CancelTrainException


# ── TensorBoard ─────────────────────────────────────────────────────────────────────────────────────


def scalars(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """Return what TensorBoard shows of a run: step and value of each figure."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tensorboard"))
    read.Reload()
    return {name: [(event.step, event.value) for event in read.Scalars(name)] for name in read.Tags()["scalars"]}


def test_tensorboard_has_every_step_and_epoch_of_all_phases_in_one_run(follow: Any, folder: Path) -> None:
    tracker = follow("tensorboard")
    two_phases(tracker)
    tracker.finish(succeeded=True)

    found = scalars(folder)
    assert len(list((folder / "tensorboard").iterdir())) == 1
    assert [step for step, _ in found["train_loss"]] == list(range(1, 3 * STEPS + 1))
    assert [step for step, _ in found["valid_loss"]] == [STEPS, 2 * STEPS, 3 * STEPS]
    assert {"lr_0", "valid_loss", "train_loss"} < set(found)


def test_where_training_was_cut_short_no_figure_goes_under_the_name_of_another(follow: Any, folder: Path) -> None:
    tracker = follow("tensorboard")
    fit([tracker, CutShort()], epochs=1)
    tracker.finish(succeeded=True)

    found = scalars(folder)
    right = 12 * found["accuracy"][0][1]
    assert right == pytest.approx(round(right))
    assert 12 * found["valid_loss"][0][1] != pytest.approx(right)


# ── Weights & Biases ────────────────────────────────────────────────────────────────────────────────


def test_wandb_has_all_phases_in_one_run_and_stays_offline_for_who_has_not_logged_in(
    follow: Any, folder: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tracker = follow("wandb")
    import wandb

    run = wandb.run
    assert run is not None
    two_phases(tracker)

    assert wandb.run is run
    assert run.settings.mode == "offline"
    assert run.step >= 3 * STEPS
    assert run.summary["epoch"] == 3
    assert run.summary["valid_loss"] > 0
    assert dict(run.config) == FACTS  # and nothing of the learner's
    assert run.id == json.loads((folder / IDS).read_text())["wandb"]
    tracker.finish(succeeded=True)
    assert wandb.run is None
    assert len(list((folder / "wandb").glob("offline-run-*"))) == 1
    assert capfd.readouterr().out == ""


# ── MLflow ──────────────────────────────────────────────────────────────────────────────────────────


def mlflow_runs(folder: Path) -> tuple[Any, list[Any]]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(tracking_uri=(folder / "mlflow").absolute().as_uri())
    experiment = client.get_experiment_by_name("finetune")
    assert experiment is not None
    return client, client.search_runs([experiment.experiment_id])


def steps_of(client: Any, run: Any, name: str) -> list[int]:
    return [figure.step for figure in client.get_metric_history(run.info.run_id, name)]


def test_mlflow_has_every_step_and_epoch_of_all_phases_in_one_run(follow: Any, folder: Path) -> None:
    tracker = follow("mlflow")
    two_phases(tracker)
    tracker.finish(succeeded=True)

    client, (run,) = mlflow_runs(folder)
    assert (run.info.run_name, run.info.status) == ("one", "FINISHED")
    assert run.data.params == {name: str(value) for name, value in FACTS.items()}
    assert steps_of(client, run, "train_loss") == list(range(1, 3 * STEPS + 1))
    assert steps_of(client, run, "valid_loss") == [STEPS, 2 * STEPS, 3 * STEPS]
    assert steps_of(client, run, "lr_0") == list(range(1, 3 * STEPS + 1))


@pytest.mark.parametrize("content", ["", "{", "[]", '{"mlflow": 7}', b"\xff"], ids=repr)
def test_ids_that_are_damaged_are_refused_with_what_to_do(folder: Path, content: str | bytes) -> None:
    path = folder / IDS
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    run = Followed(folder=folder, name="one", facts=FACTS, note=pytest.fail)

    with pytest.raises(ConfigError) as refused:
        run.id_in("mlflow", lambda: "new")

    assert str(refused.value) == (
        f"{path} is damaged. Delete it and repeat the command: the run goes on, and is a new one in its trackers."
    )


def test_a_run_that_is_resumed_goes_on_in_the_same_run(follow: Any, folder: Path) -> None:
    killed = follow("mlflow")
    fit([killed], epochs=1)
    killed.finish(succeeded=False)
    client, (run,) = mlflow_runs(folder)
    assert run.info.status == "FAILED"

    resumed = follow("mlflow")
    resumed.steps_before = STEPS
    fit([resumed], epochs=1)
    resumed.finish(succeeded=True)

    client, (run,) = mlflow_runs(folder)
    assert run.info.status == "FINISHED"
    assert steps_of(client, run, "train_loss") == list(range(1, 2 * STEPS + 1))


def test_a_server_that_goes_away_costs_the_figures_and_not_the_run(folder: Path, follow: Any) -> None:
    notes: list[str] = []
    tracker = follow("mlflow", note=notes.append)
    from mlflow.tracking import MlflowClient

    MlflowClient(tracking_uri=(folder / "mlflow").absolute().as_uri()).delete_run(tracker._run_id)

    two_phases(tracker)

    assert len(notes) == 1
    assert notes[0].startswith("MLflow takes no more figures (")
    assert notes[0].endswith("; the rest is not tracked there.")


def test_an_address_that_mlflow_does_not_know_is_refused_before_training(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "gopher://nowhere")

    with pytest.raises(
        ResourceError, match=r"^--track mlflow cannot begin: .+ Check its configuration, or train"
    ) as it:
        trackers(["mlflow"], folder, "one", FACTS, pytest.fail)

    assert "\n" not in str(it.value)
    assert it.value.exit_code == 6


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EVERY)
def test_following_a_run_changes_nothing_of_what_it_learns(name: Tracker, follow: Any) -> None:
    alone = fit([], epochs=2)
    tracker = follow(name)
    before = random.getstate(), np.random.get_state()[1].tolist()
    followed = fit([tracker], epochs=2)

    assert all(torch.equal(a, b) for a, b in zip(alone.parameters(), followed.parameters(), strict=True))
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_a_missing_package_is_named_with_what_brings_it(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setattr("finetune.training.tracking.find_spec", lambda name: None if name == "wandb" else object())

    check_trackers(["tensorboard", "mlflow"])
    for refused in (lambda: check_trackers(["mlflow", "wandb"]), lambda: trackers(["wandb"], folder, "one", {}, str)):
        with pytest.raises(ResourceError) as caught:
            refused()
        assert str(caught.value) == "--track wandb needs the package wandb; pip install 'finetune[wandb]' brings it."
        assert caught.value.exit_code == 6


def test_without_trackers_nothing_is_written(folder: Path) -> None:
    assert trackers([], folder, "one", FACTS, pytest.fail) == []
    assert list(folder.iterdir()) == []


def test_checking_imports_no_tracker() -> None:
    import subprocess
    import sys

    asked = "import sys; from finetune.training.tracking import check_trackers; check_trackers(%r); print(*sys.modules)"
    installed = [name for name in EVERY if importlib.util.find_spec(name)]
    done = subprocess.run([sys.executable, "-c", asked % installed], capture_output=True, text=True, check=True)

    assert not {"tensorboard", "wandb", "mlflow", "fastai", "torch"} & set(done.stdout.split())
