"""Whether the trackers that a run is to be followed in are installed; what they do is in ``learner.trackers``."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.util import find_spec

from finetune.config import Tracker
from finetune.errors import ResourceError

PACKAGES: Mapping[Tracker, str] = {"tensorboard": "tensorboard", "wandb": "wandb", "mlflow": "mlflow"}


def check_trackers(names: Iterable[Tracker]) -> None:
    """Raise ``ResourceError`` for the first tracker whose package is missing; imports none of them."""
    for name in names:
        if find_spec(PACKAGES[name]) is None:
            raise ResourceError(
                f"--track {name} needs the package {PACKAGES[name]}; pip install 'finetune[{name}]' brings it."
            )
