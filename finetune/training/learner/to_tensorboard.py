"""TensorBoard follows a run through fastai's callback; its files lie in the run's folder."""

from __future__ import annotations

from typing import Any

from fastai.callback.tensorboard import SummaryWriter, TensorBoardCallback

from finetune.training.learner.trackers import Followed, complete_log, plotted, refused


class TensorBoard(TensorBoardCallback):  # type: ignore[misc]
    """fastai's callback with one writer and one count of steps for all phases."""

    steps_before = 0

    def __init__(self, writer: Any) -> None:
        super().__init__(trace_model=False, log_preds=False)
        self.writer = writer

    @property
    def opt(self) -> Any:
        """What fastai's takes the rates from."""
        return plotted(self.learn.opt)

    @property
    def train_iter(self) -> int:
        """The steps of the whole run, where fastai counts those of a fit."""
        return self.steps_before + int(self.learn.train_iter)

    def _setup_writer(self) -> None:
        """Go on with the writer."""

    def after_batch(self) -> None:
        """Write loss and rates of a training step."""
        if self.training:
            super().after_batch()

    def after_epoch(self) -> None:
        """Write what the epoch came to."""
        complete_log(self)
        super().after_epoch()

    def after_fit(self) -> None:
        """Leave the writer open for the next phase."""
        self.writer.flush()

    def finish(self, *, succeeded: bool) -> None:  # noqa: ARG002 - TensorBoard knows only figures
        """Close the file."""
        self.writer.close()


def begin(run: Followed) -> TensorBoard:
    """Return what follows a run in TensorBoard; raises ``ResourceError`` where its file cannot be written."""
    try:
        writer = SummaryWriter(log_dir=str(run.folder / "tensorboard"))
    except OSError as error:
        raise refused("tensorboard", error) from error
    rows = [f"| {name} | {value} |" for name, value in run.facts.items()]
    writer.add_text(run.name, "\n".join(["| | |", "|-|-|", *rows]))
    return TensorBoard(writer)
