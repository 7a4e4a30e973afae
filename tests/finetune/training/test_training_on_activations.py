"""Training on what leaves the frozen part gives the weights that training through it gives.

The other side is written out here: pictures through the whole network, batch after batch, with torch alone or with
fastai as its documentation has it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fastai.callback.core import Callback
from fastai.callback.schedule import combined_cos  # noqa: F401 - importing this module gives Learner its fit_one_cycle
from fastai.data.core import DataLoaders
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.optimizer import OptimWrapper
from torch import Tensor, nn

from finetune.intent import discover
from finetune.networks.network import Network, parameter_groups
from finetune.preparation import Job, prepare
from finetune.reporting import SILENT
from finetune.training import boundary as boundary_module
from finetune.training.randomness import seed_of
from finetune.training.strategies import Phase, plan
from finetune.training.trainer import Trainer
from finetune.types import Example
from finetune_export.image import read_pixels

State = dict[str, Tensor]

LR = 0.01
NOTHING = 1e-6
"""What a weight that nothing depends on may drift by rounding."""
BATCH = 8
SAME = {
    "data": None,
    "weights": "none",
    "image_size": 64,
    "batch_size": BATCH,
    "views": 1,
    "precision": "fp32",
    "freeze_epochs": 3,
    "epochs": 3,
    "unfrozen_lr": LR / 3,
}
SGD = {"optimizer": "SGD", "schedule": "StepLR", "step_epochs": 1, "gamma": 0.5, "momentum": 0.8}
QUICK = {"backbone": "shufflenet_v2_x0_5", "image_size": 32}

AT_BOUNDARIES = pytest.mark.parametrize("unfrozen", [0, 2], ids=["whole body frozen", "two stages learn"])


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def job_of(picture_folder: Callable[..., Path]) -> Callable[..., Job]:
    """Prepare runs on the same 16 training and 16 validation pictures, with a network as if it were trained."""
    folder = picture_folder(count=8, parts=("train", "valid"))

    def prepared(**options: Any) -> Job:
        job = prepare(discover({**SAME, "data": folder, **options}), SILENT)
        settle(job.network, images_of(job, job.split.train))
        return job

    return prepared


def settle(network: Network, images: Tensor) -> None:
    """Give the batch norms the statistics of the pictures: a body of random weights would let them vanish."""
    torch.manual_seed(5)
    norms = [module for module in network.body.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
    with torch.no_grad():
        network.body.train()(images)
    for norm in norms:
        norm.momentum = 0.1
    network.eval()


def images_of(job: Job, examples: Sequence[Example]) -> Tensor:
    pixels = np.stack([read_pixels(example.path, job.preprocessing) for example in examples])
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values)[:, None, None] for values in (job.preprocessing.mean, job.preprocessing.std))
    return (scaled - mean) / std


def targets_of(job: Job, examples: Sequence[Example]) -> Tensor:
    return torch.tensor([job.dataset.labels.index(example.label) for example in examples])


def phase_of(job: Job, unfrozen: int) -> Phase:
    """Return the phase in which the head learns alone, or with so many stages."""
    phases = plan(job.config, job.groups, LR, "partial")
    found = phases[1 if unfrozen else 0]
    assert isinstance(found, Phase)
    assert found.frozen_groups == len(job.groups) - 1 - unfrozen
    return found


def trained_on_activations(job: Job, phase: Phase) -> tuple[State, int, list[float]]:
    """Return the weights, the epoch that they are of (from 0), and the validation losses of all epochs."""
    trainer = Trainer(job, SILENT)
    trainer.train(phase)
    kept = max(trainer.history, key=lambda epoch: (epoch.score, -epoch.valid_loss))
    return trainer.snapshot(), kept.epoch - 1, [epoch.valid_loss for epoch in trainer.history]


# ── the other side: torch alone ─────────────────────────────────────────────────────────────────────


def trained_by_torch_through_the_network(job: Job, phase: Phase) -> tuple[list[State], list[float]]:
    """Return weights and validation loss after each epoch of torch's usual loop, with SGD and StepLR."""
    network, config = job.network, job.config
    images, targets = images_of(job, job.split.train), targets_of(job, job.split.train)
    groups = parameter_groups(network.body, network.head)[phase.frozen_groups :]
    rated = [
        {"params": group, "lr": rate} for group, rate in zip(groups, phase.rates[phase.frozen_groups :], strict=True)
    ]
    optimizer = torch.optim.SGD(rated, momentum=config.momentum, weight_decay=config.weight_decay)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, config.step_epochs, config.gamma)
    states, losses = [], []
    torch.manual_seed(seed_of(config.seed, phase.name))  # for dropout
    for epoch in range(phase.epochs):
        set_modes(network, groups)
        for part in order_of(len(images), config.seed, epoch).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[part]), targets[part]).backward()
            optimizer.step()
        scheduler.step()
        states.append(copy.deepcopy(network.state_dict()))
        losses.append(validation_loss(job))
    return states, losses


def order_of(count: int, seed: int, epoch: int) -> Tensor:
    """Return the order of the pictures in an epoch: it depends on that and the seed, and on nothing else."""
    (state,) = np.random.SeedSequence([seed, epoch]).generate_state(1)
    return torch.randperm(count, generator=torch.Generator().manual_seed(int(state)))


def set_modes(network: Network, groups: list[list[nn.Parameter]]) -> None:
    """Put what learns into training mode, and stages of which nothing does into eval mode."""
    learning = {id(parameter) for group in groups for parameter in group}
    for stage in (*network.body, network.head):
        stage.train(any(id(parameter) in learning for parameter in stage.parameters()))


def validation_loss(job: Job) -> float:
    network = job.network.eval()
    with torch.no_grad():
        logits = network(images_of(job, job.split.valid))
    return float(nn.functional.cross_entropy(logits, targets_of(job, job.split.valid)))


@AT_BOUNDARIES
def test_with_batch_norms_and_dropout_the_weights_are_those_of_torchs_loop_through_the_whole_network(
    job_of: Callable[..., Job], unfrozen: int
) -> None:
    ours, theirs = (job_of(backbone="efficientnet_b0", **SGD) for _ in range(2))
    before = copy.deepcopy(ours.network.state_dict())
    states, losses = trained_by_torch_through_the_network(theirs, phase_of(theirs, unfrozen))

    found, kept, found_losses = trained_on_activations(ours, phase_of(ours, unfrozen))

    assert_same_training(before, found, states[kept])
    assert found_losses == pytest.approx(losses, rel=1e-3)


def assert_same_training(before: State, found: State, expected: State) -> None:
    """Compare what training added to each tensor, on the scale of that; for some it is nothing but rounding itself."""
    moved = {key for key in before if not torch.equal(before[key], expected[key])}
    assert moved == {key for key in before if not torch.equal(before[key], found[key])}
    for key in moved:
        step, expected_step = (state[key].double() - before[key] for state in (found, expected))
        rounding = NOTHING * expected_step.numel() ** 0.5
        assert (step - expected_step).norm() <= 0.005 * expected_step.norm() + rounding, key


# ── the other side: fastai as it is ─────────────────────────────────────────────────────────────────


class KeepEpochs(Callback):  # type: ignore[misc]
    """Keep weights and validation loss of every epoch, and what is frozen in eval mode."""

    order = 60  # after fastai's Recorder

    def __init__(self, frozen: int) -> None:
        self.frozen, self.states, self.losses = frozen, [], []

    def before_train(self) -> None:
        for stage in self.model.body[: self.frozen]:
            stage.eval()

    def after_epoch(self) -> None:
        self.states.append(copy.deepcopy(self.model.state_dict()))
        self.losses.append(float(self.recorder.values[-1][1]))


class InMemory:
    """All pictures as one tensor, in batches that come in another order in every epoch where there is a seed for it."""

    def __init__(self, images: Tensor, targets: Tensor, seed: int | None) -> None:
        self.images, self.targets, self.seed = images, targets, seed
        self.epoch = 0

    def __len__(self) -> int:
        return -(-len(self.images) // BATCH)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        count = len(self.images)
        order = torch.arange(count) if self.seed is None else order_of(count, self.seed, self.epoch)
        self.epoch += 1
        for part in order.split(BATCH):
            yield self.images[part], self.targets[part]


def trained_by_fastai_through_the_network(job: Job, phase: Phase) -> tuple[list[State], list[float]]:
    """Return weights and validation loss after each epoch of ``fit_one_cycle``, with AdamW."""
    network, config = job.network, job.config
    parts = ((job.split.train, config.seed), (job.split.valid, None))
    loaders = [InMemory(images_of(job, part), targets_of(job, part), seed) for part, seed in parts]
    learner = Learner(
        DataLoaders(*loaders),
        network,
        loss_func=CrossEntropyLossFlat(),
        opt_func=partial(OptimWrapper, opt=torch.optim.AdamW, weight_decay=config.weight_decay),
        splitter=lambda _: parameter_groups(network.body, network.head),
        train_bn=False,
    )
    epochs = KeepEpochs(phase.frozen_groups)
    learner.freeze_to(phase.frozen_groups)
    torch.manual_seed(seed_of(config.seed, phase.name))
    with learner.no_bar(), learner.no_logging():
        learner.fit_one_cycle(
            phase.epochs, np.array(phase.rates), div=phase.start_divisor, pct_start=phase.rise, cbs=epochs
        )
    return epochs.states, epochs.losses


@AT_BOUNDARIES
def test_with_one_cycle_the_weights_are_those_of_fastai_through_the_whole_network(
    job_of: Callable[..., Job], unfrozen: int
) -> None:
    # AdamW takes steps of one size, however small a gradient is: at a low rate, rounding turns fewer of them around.
    ours, theirs = (job_of(backbone="resnet18", head="fastai", unfrozen_lr=1e-4) for _ in range(2))
    before = copy.deepcopy(ours.network.state_dict())
    states, losses = trained_by_fastai_through_the_network(theirs, phase_of(theirs, unfrozen))

    found, kept, found_losses = trained_on_activations(ours, phase_of(ours, unfrozen))

    assert_same_training(before, found, states[kept])
    assert found_losses == pytest.approx(losses, rel=1e-3)


# ── on the way ──────────────────────────────────────────────────────────────────────────────────────


@AT_BOUNDARIES
def test_a_second_run_on_the_same_pictures_ends_with_the_same_weights_bit_for_bit(
    job_of: Callable[..., Job], unfrozen: int
) -> None:
    first, second = (job_of(**QUICK) for _ in range(2))

    expected, *_ = trained_on_activations(first, phase_of(first, unfrozen))
    passed = inputs_of(second.network.body.get_submodule("stem"))
    found, *_ = trained_on_activations(second, phase_of(second, unfrozen))

    assert passed == []
    assert differing(found, expected) == set()


def inputs_of(module: nn.Module) -> list[Tensor]:
    """Return a list that fills with what the module is given, in training and in eval mode."""
    inputs: list[Tensor] = []

    def note(_: nn.Module, given: tuple[Tensor]) -> None:
        if not given[0].is_meta:  # which is a question about shapes only
            inputs.append(given[0].clone())

    module.register_forward_pre_hook(note)
    return inputs


def differing(one: State, other: State) -> set[str]:
    return {key for key in one if not torch.equal(one[key], other[key])}


@AT_BOUNDARIES
def test_training_on_a_mapped_file_ends_with_the_same_weights_bit_for_bit(
    job_of: Callable[..., Job], unfrozen: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_memory, in_file = (job_of(**QUICK) for _ in range(2))
    expected, *_ = trained_on_activations(in_memory, phase_of(in_memory, unfrozen))
    mapped, map_file = [], boundary_module._mapped
    monkeypatch.setattr(boundary_module, "IN_MEMORY_BYTES", 100)
    monkeypatch.setattr(boundary_module, "_mapped", lambda size: mapped.append(size) or map_file(size))

    found, *_ = trained_on_activations(in_file, phase_of(in_file, unfrozen))

    assert len(mapped) == 2  # for training and for validation
    assert differing(found, expected) == set()


@pytest.mark.parametrize("largest", [0, 2**30], ids=["through the pictures", "on activations"])
@AT_BOUNDARIES
def test_what_is_frozen_stays_as_it_was_statistics_included(
    job_of: Callable[..., Job], unfrozen: int, largest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(boundary_module, "LARGEST_VIEW_BYTES", largest)
    job = job_of(**QUICK)
    before = copy.deepcopy(job.network.state_dict())
    phase = phase_of(job, unfrozen)

    found, *_ = trained_on_activations(job, phase)

    learning = ("head.", *(f"body.{name}." for name in job.groups[phase.frozen_groups : -1]))
    moved = differing(before, found)
    assert moved == {key for key in before if key.startswith(learning)}
    assert any(key.endswith("running_var") for key in moved) == bool(unfrozen)


def test_epochs_go_through_the_views_of_each_picture_in_turn(job_of: Callable[..., Job]) -> None:
    seen = []
    for views, epochs in ((1, 2), (2, 1), (2, 2)):
        job = job_of(**{**QUICK, "views": views, "freeze_epochs": epochs})
        batches = inputs_of(job.network.head.get_submodule("classifier"))
        Trainer(job, SILENT).train(phase_of(job, 0))
        seen.append({row.numpy().tobytes() for batch in batches for row in batch})

    validation = 16
    assert [len(rows) - validation for rows in seen] == [16, 16, 32]
    assert seen[0] | seen[1] < seen[2]
    assert len(seen[0] & seen[1]) == validation + 8  # half of the pictures begin with their second view
