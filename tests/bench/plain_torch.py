"""Measured in a process of its own: the training loop that transfer-learning tutorials for PyTorch teach.

A new last layer on the published network; SGD with a rate of 0.001 and a momentum of 0.9; a tenth of the rate every
seven epochs; random crops and mirror images to learn from, the middle of the picture to validate on; the best epoch is
kept. ``job["frozen"]`` says whether the last layer learns alone. Float32, as many loader workers as there are cores.

Takes a JSON object as its argument and ends its output with a line of JSON.
"""

from __future__ import annotations

import copy
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import torch
from published import MEAN, STD, network
from torch import nn
from torch.utils.data import DataLoader
from torchvision import transforms
from torchvision.datasets import ImageFolder

TO_TENSOR = [transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
LEARNED_FROM = transforms.Compose([transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), *TO_TENSOR])
VALIDATED_ON = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), *TO_TENSOR])


def batches(job: dict[str, Any], part: str, transform: Any) -> DataLoader[Any]:
    """Return shuffled batches of one part of the photos."""
    pictures = ImageFolder(Path(job["data"], part), transform)
    return DataLoader(pictures, batch_size=job["batch_size"], shuffle=True, num_workers=os.cpu_count() or 1)


def with_new_head(job: dict[str, Any], classes: int) -> Any:
    """Return the network with a new last layer; all others are frozen where the job says so."""
    model: Any = network(job)
    model.requires_grad_(not job["frozen"])
    old = model.classifier[1]
    head = nn.Linear(1280, classes) if isinstance(old, nn.Linear) else nn.Conv2d(512, classes, kernel_size=1)
    model.classifier[1] = head
    return model


def train_epoch(model: nn.Module, loader: DataLoader[Any], optimizer: torch.optim.Optimizer) -> None:
    """Learn from every picture once."""
    model.train()
    for images, targets in loader:
        optimizer.zero_grad()
        loss: Any = nn.functional.cross_entropy(model(images), targets)
        loss.backward()
        optimizer.step()


def accuracy(model: nn.Module, loader: DataLoader[Any]) -> float:
    """Return the share of pictures that the network is right about."""
    model.eval()
    right = 0
    with torch.no_grad():
        for images, targets in loader:
            right += int((model(images).argmax(dim=1) == targets).sum())
    return right / len(loader.dataset)  # type: ignore[arg-type]


def fit(model: nn.Module, train: DataLoader[Any], valid: DataLoader[Any], epochs: int) -> float:
    """Train, put the best epoch's weights back, and return that epoch's accuracy."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(learning, lr=0.001, momentum=0.9)
    schedule = torch.optim.lr_scheduler.StepLR(optimizer, step_size=7, gamma=0.1)
    best, weights = -1.0, model.state_dict()
    for _ in range(epochs):
        train_epoch(model, train, optimizer)
        schedule.step()
        if (reached := accuracy(model, valid)) > best:
            best, weights = reached, copy.deepcopy(model.state_dict())
    model.load_state_dict(weights)
    return best


def main() -> None:
    """Train, and say how long it took and what it reached."""
    job = json.loads(sys.argv[1])
    torch.manual_seed(job["seed"])
    train, valid = batches(job, "train", LEARNED_FROM), batches(job, "val", VALIDATED_ON)
    pictures: Any = train.dataset
    model = with_new_head(job, len(pictures.classes))
    started = time.perf_counter()
    best = fit(model, train, valid, job["epochs"])
    seconds = time.perf_counter() - started
    found = {"training_s": seconds, "passes": len(pictures) * job["epochs"], "accuracy": best, "parts": {}}
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
