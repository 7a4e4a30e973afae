"""MLflow follows a run through a callback of our own: fastai has none for it, nor MLflow one for fastai any more."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastai.callback.core import Callback
from fastai.learner import Recorder

os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # before the import: nothing leaves that nobody asked for

from mlflow.entities import Metric
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient

from finetune.training.learner.trackers import PROJECT, Followed, complete_log, plotted, refused

MOST_FIGURES = 1000
"""As many as MLflow takes at once."""


class MLflow(Callback):  # type: ignore[misc]
    """Sends the recorder's figures to MLflow, once for each epoch."""

    order = Recorder.order + 1
    steps_before = 0

    def __init__(self, client: MlflowClient, run_id: str, note: Callable[[str], None]) -> None:
        self._client, self._run_id, self._note = client, run_id, note
        self._figures: list[tuple[str, float, int]] = []
        self._is_lost = False

    def after_batch(self) -> None:
        """Remember loss and rates of a training step."""
        if self.training:
            groups = enumerate(plotted(self.opt).hypers)
            rates = {f"{name}_{number}": value for number, group in groups for name, value in group.items()}
            self._remember({"train_loss": self.smooth_loss, **rates})

    def after_epoch(self) -> None:
        """Send off what the epoch came to."""
        complete_log(self)
        names, values = self.recorder.metric_names[2:-1], self.recorder.log[2:-1]
        self._remember(dict(zip(names, values, strict=True)))
        self._send()

    def finish(self, *, succeeded: bool) -> None:
        """Send off what is left, and end the run there."""
        self._send()
        self._attempt(lambda: self._client.set_terminated(self._run_id, "FINISHED" if succeeded else "FAILED"))

    def _remember(self, figures: Mapping[str, Any]) -> None:
        step = self.steps_before + int(self.train_iter)
        self._figures += [(name, float(value), step) for name, value in figures.items()]

    def _send(self) -> None:
        now_ms = round(time.time() * 1000)
        metrics = [Metric(name, value, now_ms, step) for name, value, step in self._figures]
        self._figures = []
        for start in range(0, len(metrics), MOST_FIGURES):
            part = metrics[start : start + MOST_FIGURES]
            self._attempt(partial(self._client.log_batch, self._run_id, metrics=part))

    def _attempt(self, send: Callable[[], object]) -> None:
        """Send, or say once that it cannot be: a server that went away costs its record of the run, not the run."""
        if self._is_lost:
            return
        try:
            send()
        except (MlflowException, OSError) as error:
            self._is_lost = True
            self._note(f"MLflow takes no more figures ({str(error).splitlines()[0]}); the rest is not tracked there.")


def begin(run: Followed) -> MLflow:
    """Return what follows a run in MLflow; raises ``ResourceError`` where it cannot begin.

    MLFLOW_TRACKING_URI says where that is, without it the run's folder; MLFLOW_EXPERIMENT_NAME names the experiment.
    """
    uri = None
    if "MLFLOW_TRACKING_URI" not in os.environ:
        os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # plain files need no database
        uri = (run.folder / "mlflow").absolute().as_uri()
    try:
        client = MlflowClient(tracking_uri=uri)
        run_id, is_new = run.id_in("mlflow", lambda: _new_run(client, run))
        if not is_new:
            client.update_run(run_id, status="RUNNING")
    except (MlflowException, OSError) as error:
        raise refused("mlflow", error) from error
    return MLflow(client, run_id, run.note)


def _new_run(client: MlflowClient, run: Followed) -> str:
    name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
    experiment = client.get_experiment_by_name(name)
    experiment_id = experiment.experiment_id if experiment else client.create_experiment(name)
    run_id = client.create_run(experiment_id, run_name=run.name).info.run_id
    for fact, value in run.facts.items():
        client.log_param(run_id, fact, value)
    return str(run_id)
