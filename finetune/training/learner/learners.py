"""fastai's learners around our networks and batches, with torch's optimizers in them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from types import MethodType
from typing import Any

import torch
from fastai.callback.core import Callback, CancelEpochException
from fastai.callback.progress import ProgressCallback
from fastai.data.core import DataLoaders
from fastai.learner import Learner, Metric
from fastai.optimizer import OptimWrapper
from fastai.torch_core import set_seed
from fastai.vision.learner import model_meta, vision_learner
from fastcore.imports import in_notebook
from torch import Tensor, nn

from finetune.config import RunConfig
from finetune.networks.network import Network, parameter_groups
from finetune.training.batches import Batches
from finetune.training.precision import autocast

__all__ = ["learner_over_activations", "learner_over_pictures", "logits_of", "set_seed", "start_at_epoch"]


def learner_over_pictures(
    network: Network,
    train: Batches,
    valid: Batches,
    config: RunConfig,
    dtype: torch.dtype,
    loss: Any,
    metric: Metric,
    callbacks: Sequence[Callback],
) -> Any:
    """Return fastai's ``vision_learner`` around a network and batches of normalised images.

    Its parameter groups are ``parameter_groups(body, head)``; the model shares all tensors with the network.
    """

    def architecture(pretrained: bool) -> nn.Module:  # noqa: ARG001 - fastai's signature; our weights are in already
        return network.body

    groups = parameter_groups(network.body, network.head)
    # fastai looks up how to cut and group an architecture in this table; its guesses for unknown ones are wrong.
    model_meta[architecture] = {"cut": lambda model: model, "split": lambda _: groups}
    try:
        learner = vision_learner(
            DataLoaders(train, valid),
            architecture,
            normalize=False,  # the batches are, with the backbone's own statistics
            n_out=1,  # unused beside a head of our own
            custom_head=network.head,
            init=None,  # the head is as it should start
            **_common(config, loss, metric, callbacks),
        )
    finally:
        del model_meta[architecture]
    return _finished(learner, dtype)


def learner_over_activations(
    model: nn.Module,
    groups: list[list[nn.Parameter]],
    train: Batches,
    valid: Batches,
    config: RunConfig,
    dtype: torch.dtype,
    loss: Any,
    metric: Metric,
    callbacks: Sequence[Callback],
) -> Any:
    """Return a fastai ``Learner`` around the layers above a boundary and batches of what leaves the ones below."""
    loaders = DataLoaders(train, valid)
    common = _common(config, loss, metric, callbacks)
    return _finished(Learner(loaders, model, splitter=lambda _: groups, **common), dtype)


def logits_of(learner: Any) -> Tensor:
    """Return what a learner's model says of the validation pictures, in their order: float32 (N, K)."""
    learner.model.eval()
    with torch.no_grad():
        return torch.cat([learner.model(inputs) for inputs, _ in learner.dls.valid])


def start_at_epoch(learner: Any, first: int) -> None:
    """Let the next fit begin with this epoch, from 0.

    fastai's own ``start_epoch`` runs the callbacks of every epoch that it leaves out.
    """

    def _do_fit(self: Any) -> None:
        for epoch in range(first, self.n_epoch):
            self.epoch = epoch
            self._with_events(self._do_epoch, "epoch", CancelEpochException)

    learner._do_fit = MethodType(_do_fit, learner)


def _common(config: RunConfig, loss: Any, metric: Metric, callbacks: Sequence[Callback]) -> dict[str, Any]:
    return {
        "loss_func": loss,
        "metrics": metric,
        "opt_func": _optimizer(config),
        "train_bn": False,  # frozen means frozen, batch norms included
        "cbs": callbacks,
    }


def _finished(learner: Any, dtype: torch.dtype) -> Any:
    _compute_in(dtype, learner.model)
    if not in_notebook():  # where fastai's own table of epochs is what people expect
        learner.remove_cb(ProgressCallback)  # progress goes to the reporter,
        learner.logger = lambda _: None  # and figures to the history; stdout is for results
    return learner


def _compute_in(dtype: torch.dtype, model: nn.Module) -> None:
    """Let the model compute its training steps in ``dtype``, and everything else in float32."""
    forward = model.forward

    def mixed(inputs: Tensor) -> Tensor:
        with autocast(dtype if model.training else torch.float32):
            logits: Tensor = forward(inputs)
        return logits.float()

    model.forward = mixed


def _optimizer(config: RunConfig) -> Any:
    """Return torch's optimizer of that name for fastai, fused into one pass over the weights where torch can."""
    options: dict[str, Any] = {"weight_decay": config.weight_decay}
    if config.optimizer in ("SGD", "RMSprop"):
        options["momentum"] = config.momentum
    if config.optimizer in ("Adam", "AdamW"):
        options["betas"] = (config.momentum, 0.999)
    if config.optimizer != "RMSprop":
        options["fused"] = True
    return partial(OptimWrapper, opt=getattr(torch.optim, config.optimizer), **options)
