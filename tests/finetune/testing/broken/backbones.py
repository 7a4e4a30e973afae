"""A sound backbone, and others that break one rule each."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import time
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from finetune.errors import ResourceError
from finetune.networks.network import BackboneModel
from finetune.types import Backbone, Weights

WEIGHTS = Weights(
    name="V1",
    url="https://weights.example.org/tiny-0123456789abcdef.safetensors",
    sha256="0123456789abcdef",
    licence="CC0-1.0",
    source="nobody, in an afternoon",
)
SOUND = Backbone(
    name="tiny",
    family="tiny",
    summary="Three convolutions.",
    build="broken.backbones:sound",
    parameters=6298,
    image_size_px=32,
    weights=WEIGHTS,
)


class Tiny(nn.Module):
    """Images (N, 3, S, S) to logits (N, 10): three convolutions, norms, a mean, a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.norm1 = nn.Conv2d(3, 8, 3, stride=2, padding=1), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 16, 3, stride=2, padding=1), nn.BatchNorm2d(16)
        self.conv3, self.norm3 = nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16)
        self.conv4, self.norm4 = nn.Conv2d(16, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        self.fc = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = torch.relu(self.norm1(self.conv1(images)))
        features = torch.relu(self.norm2(self.conv2(features)))
        features = torch.relu(self.norm3(self.conv3(features)))
        features = torch.relu(self.norm4(self.conv4(features)))
        logits: Tensor = self.fc(features.mean((2, 3)))
        return logits


def cut(model: Tiny, *extra: nn.Module) -> BackboneModel:
    """Return the model in four stages; ``extra`` comes after the third."""
    stages = (
        ("stem", nn.Sequential(model.conv1, model.norm1, nn.ReLU())),
        ("stage1", nn.Sequential(model.conv2, model.norm2, nn.ReLU())),
        ("stage2", nn.Sequential(model.conv3, model.norm3, nn.ReLU(), *extra)),
        ("stage3", nn.Sequential(model.conv4, model.norm4, nn.ReLU())),
    )
    return BackboneModel(model=model, stages=stages)


def sound(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny())


# ── building ────────────────────────────────────────────────────────────────────────────────────────


def downloading(backbone: Backbone, image_size_px: int) -> BackboneModel:
    urllib.request.urlopen("http://weights.example.org/tiny.pth")
    return cut(Tiny())


def failing(backbone: Backbone, image_size_px: int) -> BackboneModel:
    raise ValueError("no such depth")


def talking(backbone: Backbone, image_size_px: int) -> BackboneModel:
    print("Building a tiny network …")  # noqa: T201
    return cut(Tiny())


def moving(backbone: Backbone, image_size_px: int) -> BackboneModel:
    os.chdir("/")
    torch.set_default_dtype(torch.float64)
    torch.set_default_dtype(torch.float32)
    torch.set_grad_enabled(False)
    return cut(Tiny())


def importing(backbone: Backbone, image_size_px: int) -> BackboneModel:
    import broken.heavy  # type: ignore[import-not-found] # noqa: F401

    return cut(Tiny())


def deaf(backbone: Backbone, image_size_px: int) -> BackboneModel:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    json.dumps = len  # type: ignore[assignment]
    return cut(Tiny())


def seeded(backbone: Backbone, image_size_px: int) -> BackboneModel:
    torch.manual_seed(0)
    return cut(Tiny())


# ── stages ──────────────────────────────────────────────────────────────────────────────────────────


def whole(backbone: Backbone, image_size_px: int) -> BackboneModel:
    built = cut(Tiny())
    return replace(built, stages=(("body", nn.Sequential(*(stage for _, stage in built.stages))),))


def doubled(backbone: Backbone, image_size_px: int) -> BackboneModel:
    built = cut(model := Tiny())
    *below, (name, last) = built.stages
    return replace(built, stages=(*below, (name, nn.Sequential(model.conv3, last))))


def copied(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return replace(cut(Tiny()), model=Tiny())


def with_a_gap(backbone: Backbone, image_size_px: int) -> BackboneModel:
    built = cut(Tiny())
    return replace(built, stages=(*built.stages[:2], built.stages[3]))


def too_short(backbone: Backbone, image_size_px: int) -> BackboneModel:
    built = cut(Tiny())
    return replace(built, stages=built.stages[:2])


def without_relu(backbone: Backbone, image_size_px: int) -> BackboneModel:
    built = cut(Tiny())
    *below, (name, last) = built.stages
    return replace(built, stages=(*below, (name, last[:2])))


class Pair(nn.Module):
    def forward(self, features: Tensor) -> Any:
        return features, features


def handing_on_pairs(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Pair())


def turned(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return replace(cut(Tiny()), channels_last=True)


class OfThree(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.reshape(3, 16, *features.shape[2:])


def of_three(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), OfThree())


class Detached(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features.detach()


def detached(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Detached())


def locked(backbone: Backbone, image_size_px: int) -> BackboneModel:
    built = cut(Tiny())
    built.stages[0][1].requires_grad_(False)
    return built


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


class Exiting(nn.Module):
    def forward(self, _features: Tensor) -> Tensor:
        raise SystemExit(0)


def exiting(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Exiting())


class Noisy(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return nn.functional.dropout(features)  # training=True, whatever the mode


def noisy(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Noisy())


class Sociable(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features - features.mean(0)


def sociable(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Sociable())


class Infinite(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features / 0


def infinite(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Infinite())


def learning_when_frozen(backbone: Backbone, image_size_px: int) -> BackboneModel:
    model = Tiny()
    forward = model.norm3.forward

    def train_and_forward(features: Tensor) -> Tensor:
        model.norm3.training = True
        return forward(features)

    model.norm3.forward = train_and_forward  # type: ignore[method-assign]
    return cut(model)


class Secretive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = float(torch.rand(()))  # neither a parameter nor a buffer

    def forward(self, features: Tensor) -> Tensor:
        return features * self.factor


def secretive(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Secretive())


def adapting_too_much(backbone: Backbone, image_size_px: int) -> BackboneModel:
    def halved(state: dict[str, Tensor]) -> dict[str, Tensor]:
        return {key: tensor / 2 if tensor.is_floating_point() else tensor for key, tensor in state.items()}

    return replace(cut(Tiny()), adapt_weights=halved)


class Undecided(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features if features.mean() > 0 else -features


def undecided(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Undecided())


class Foreign(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features + torch.linalg.det(features @ features.transpose(2, 3))[:, :, None, None]


def foreign(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Foreign())


class Rounded(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return features if not torch.compiler.is_exporting() else features.round()


def rounded(backbone: Backbone, image_size_px: int) -> BackboneModel:
    return cut(Tiny(), Rounded())


class TwoHeads(Tiny):
    """A token beside another: the published network's answer is the mean of two classifiers'."""

    def __init__(self) -> None:
        super().__init__()
        self.other = nn.Linear(16, 10)

    def forward(self, images: Tensor) -> Tensor:
        features = nn.Sequential(*(stage for _, stage in cut(self).stages))(images)
        logits: Tensor = (self.fc(features.mean((2, 3))) + self.other(features.amax((2, 3)))) / 2
        return logits


def two_heads(backbone: Backbone, image_size_px: int) -> BackboneModel:
    model = TwoHeads()
    built = cut(model)
    *below, (name, last) = built.stages
    return replace(built, stages=(*below, (name, nn.Sequential(last, MeanOfBoth()))))


class MeanOfBoth(nn.Module):
    def forward(self, features: Tensor) -> Tensor:
        return (features.mean((2, 3)) + features.amax((2, 3))) / 2


class OfItsSize(Tiny):
    def __init__(self, image_size_px: int) -> None:
        super().__init__()
        self.position = nn.Parameter(torch.randn(3, image_size_px, image_size_px))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images + self.position)


class Positioned(nn.Module):
    def __init__(self, model: OfItsSize, stem: nn.Module) -> None:
        super().__init__()
        self.position, self.stem = model.position, stem

    def forward(self, images: Tensor) -> Tensor:
        features: Tensor = self.stem(images + self.position)
        return features


def of_its_size(backbone: Backbone, image_size_px: int) -> BackboneModel:
    model = OfItsSize(image_size_px)
    (name, stem), *others = cut(model).stages
    return BackboneModel(model=model, stages=((name, Positioned(model, stem)), *others))


# ── fetching ────────────────────────────────────────────────────────────────────────────────────────


def find_nothing(weights: Weights) -> None:
    return None


def find_online(weights: Weights) -> None:
    with contextlib.suppress(OSError):
        urllib.request.urlopen(weights.url)


def fetch(weights: Weights) -> Path:
    for _ in range(5):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(weights.url)
        time.sleep(60)
    raise ResourceError(f"{weights.url} cannot be reached.")


def fetch_nothing(weights: Weights) -> Path:
    return Path("tiny.safetensors")
