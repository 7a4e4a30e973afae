"""Blending pairs of pictures while training: fastai's callbacks, on pictures and on activations alike."""

from __future__ import annotations

from fastai.callback.core import Callback
from fastai.callback.mixup import CutMix, MixUp

from finetune.config import Mixing

ALPHA = 0.4
"""Of the Beta distribution that says how much of each picture is in a blend; fastai's own choice for mixup."""


class _MixUpInFloat32(MixUp):  # type: ignore[misc]
    """Mixup (Zhang et al. 2018) of activations, too, which may be kept in bfloat16: there is no blending in that."""

    def before_batch(self) -> None:
        """Blend the batch with itself in another order."""
        self.learn.xb = tuple(inputs.float() for inputs in self.xb)
        super().before_batch()


def is_applicable(mix: Mixing, *, is_spatial: bool) -> bool:
    """Whether such blends can be made: CutMix (Yun et al. 2019) pastes a part, which pooled features do not have."""
    return mix != "cutmix" or is_spatial


def mixing(mix: Mixing, *, is_spatial: bool) -> Callback | None:
    """Return what blends training batches; None where nothing is to be blended, or it is not applicable.

    ``is_spatial``: the batches are pictures or maps (N, C, H, W), and no pooled features (N, D). Draws from torch's
    global generator, in the thread that trains.
    """
    if mix == "none" or not is_applicable(mix, is_spatial=is_spatial):
        return None
    return _MixUpInFloat32(ALPHA) if mix == "mixup" else CutMix()
