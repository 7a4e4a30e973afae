"""``python -m finetune.testing.training NAME FOLDER``: a tiny network is trained with a callback, and told about.

Twice, from the same start: the weights that came of it, and in which events the callback touched the generators of
random numbers.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from finetune.errors import FinetuneError
from finetune.plugins import load_plugins
from finetune.testing.processes import tell
from finetune.testing.tiny import OPTIONS, write_pictures
from finetune.types import CallbackRequest, TrainingCallback

_SEED = 7


def main(name: str, folder: Path) -> None:
    """Train twice, in the folder, and tell what came of it."""
    callback = load_plugins().find_callback(name)
    pictures = write_pictures(folder / "pictures")
    tell([_trained(callback, pictures, folder / f"run {number}") for number in (1, 2)])


def _trained(callback: TrainingCallback, pictures: Path, run: Path) -> dict[str, Any]:
    """Return a digest of the weights after two phases, or the problem; and the events in which chance was touched."""
    from finetune.clock import Clock
    from finetune.intent import discover
    from finetune.preparation import prepare
    from finetune.reporting import SILENT
    from finetune.training.learner.strangers import Strangers, builders, strangers
    from finetune.training.strategies import plan
    from finetune.training.trainer import Trainer
    from finetune.training.transfer import follow

    drew: list[str] = []

    def joined(phase: str) -> Strangers:
        made_by = {name: _watched(build, drew) for name, build in builders([callback]).items()}
        return strangers(made_by, run, SILENT.note, phase)

    job = prepare(discover({"data": pictures, **OPTIONS, "seed": _SEED}), SILENT)
    trainer = Trainer(job, SILENT, strangers=joined)
    try:
        follow(plan(job.config, job.groups, OPTIONS["lr"], "finetune"), trainer, Clock(), lambda: None)
    except FinetuneError as error:
        return {"problem": str(error), "drew": drew}
    weights = hashlib.sha256()
    for tensor in job.network.state_dict().values():
        weights.update(tensor.numpy().tobytes())
    return {"problem": "", "weights": weights.hexdigest(), "drew": list(dict.fromkeys(drew))}


def _watched(build: Callable[[CallbackRequest], Any], drew: list[str]) -> Callable[[CallbackRequest], Any]:
    """Return a build function whose callbacks write down the events in which random numbers were drawn or seeded."""

    def built(request: CallbackRequest) -> Any:
        callback = build(request)
        for event in [name for name in dir(type(callback)) if name.startswith(("before_", "after_"))]:
            setattr(callback, event, partial(_call, getattr(callback, event), event, drew))
        return callback

    return built


def _call(method: Callable[[], object], event: str, drew: list[str]) -> None:
    before = _chance()
    try:
        method()
    finally:
        if _chance() != before:
            drew.append(event)


def _chance() -> tuple[object, ...]:
    import numpy as np
    import torch

    state: Any = np.random.get_state()
    return random.getstate(), state[1].tobytes(), *state[2:], torch.get_rng_state().numpy().tobytes()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
