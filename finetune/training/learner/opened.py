"""A trained network as fastai's ``Learner`` over its run's pictures, for fastai's own tables and pictures."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import fastai.vision.learner  # noqa: F401 - teaches fastai's tables to show pictures
import torch
from fastai.data.core import Datasets
from fastai.data.transforms import (
    Categorize,
    IntToFloatTensor,
    MultiCategorize,
    Normalize,
    OneHotEncode,
    RegressionSetup,
    ToTensor,
)
from fastai.learner import Learner
from fastai.losses import BCEWithLogitsLossFlat, CrossEntropyLossFlat, MSELossFlat
from fastai.metrics import accuracy, accuracy_multi, mae
from fastai.vision.core import PILImage
from torch import Tensor, nn

from finetune.networks.network import Network
from finetune.types import Example, Task
from finetune_export import image
from finetune_export.contract import Contract

BATCH_SIZE = 32
_SHOWN: Mapping[Task, Callable[[Example], Any]] = {
    "single-label": lambda example: example.label,
    "multi-label": lambda example: list(example.labels),
    "regression": lambda example: list(example.values),
}
_LOSSES = {"single-label": CrossEntropyLossFlat, "multi-label": BCEWithLogitsLossFlat, "regression": MSELossFlat}
_METRICS = {"single-label": accuracy, "multi-label": accuracy_multi, "regression": mae}


class Deployed(nn.Module):
    """A trained network up to where fastai's losses take over: calibrated logits, or values in their own units.

    Maps float32 (N, 3, S, S), normalised, to float32 (N, K), so that what fastai makes of it is what the exported
    file answers.
    """

    scale: Tensor
    offset: Tensor

    def __init__(self, network: Network, contract: Contract) -> None:
        super().__init__()
        self.network = network
        scaling, temperature = contract.scaling, contract.calibration.temperature
        scale, offset = (scaling.scale, scaling.offset) if scaling else ((1 / temperature,), (0.0,))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float32))
        self.register_buffer("offset", torch.tensor(offset, dtype=torch.float32))

    def forward(self, images: Tensor) -> Tensor:
        """Return calibrated logits, or values, (N, K)."""
        answers: Tensor = self.network(images) * self.scale + self.offset
        return answers


def opened(
    network: Network, contract: Contract, train: Sequence[Example], valid: Sequence[Example], folder: Path
) -> Any:
    """Return a fastai ``Learner`` around a trained network and its pictures, as the exported file sees them.

    ``show_batch``, ``show_results``, ``get_preds`` and fastai's interpretations work as with any other. Training goes
    on from here without this project's checks. ``folder`` is where fastai keeps its files.
    """
    task = contract.task
    shown = {example.path: _SHOWN[task](example) for example in (*train, *valid)}
    pictures = Datasets(
        list(shown),  # paths, so that the learner predicts those of other pictures as well
        tfms=[[partial(_picture, contract=contract)], [partial(_looked_up, shown), *_targets(task, contract.labels)]],
        splits=[list(range(len(train))), list(range(len(train), len(shown)))],
    )
    preprocessing = contract.preprocessing
    statistics = Normalize.from_stats(preprocessing.mean, preprocessing.std, cuda=False)
    loaders = pictures.dataloaders(
        bs=min(BATCH_SIZE, len(train)), after_item=[ToTensor], after_batch=[IntToFloatTensor, statistics], device="cpu"
    )
    model = Deployed(network, contract).eval()
    return Learner(loaders, model, loss_func=_LOSSES[task](), metrics=_METRICS[task], path=folder, train_bn=False)


def _picture(path: str | Path, contract: Contract) -> PILImage:
    return PILImage.create(image.to_pixels(image.load(Path(path)).image, contract.preprocessing))


def _looked_up(shown: Mapping[Path, Any], path: Path) -> Any:
    return shown[path]  # by name: fastai asks functions for their signature, which a dictionary's method has not


def _targets(task: Task, labels: Sequence[str]) -> list[Any]:
    if task == "single-label":
        return [Categorize(vocab=list(labels), sort=False)]
    if task == "multi-label":
        return [MultiCategorize(vocab=list(labels)), OneHotEncode]
    return [RegressionSetup(c=len(labels))]
