"""A run's memory comes back from its checkpoints as it was, to the last bit."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from finetune.errors import ModelError
from finetune.training.checkpoints import Checkpoints
from finetune.training.history import Epoch
from finetune.training.journal import Journal, Midway

LONG = 3600.0


def epoch(number: int, score: float = 0.9) -> Epoch:
    return Epoch(phase="frozen", epoch=number, train_loss=0.1, valid_loss=1 / 3, score=score, lr=2.5e-4, seconds=0.123)


def network() -> dict[str, torch.Tensor]:
    return {
        "body.stem.weight": torch.randn(4, 3, 3, 3).to(memory_format=torch.channels_last),
        "body.stem.running_mean": torch.randn(4),
        "body.stem.num_batches_tracked": torch.tensor(7),
    }


def midway(best: Epoch | None = None) -> Midway:
    tensors = {"optimizer.0.exp_avg": torch.randn(3), "best.weight": torch.randn(2), "rates": torch.rand(2).double()}
    return Midway(
        phase="unfrozen",
        epoch=1,
        step=2,
        steps_done=5,
        share_done=0.1 + 0.2,
        smooth_loss=(1 / 3, 5),
        best=best,
        tensors=tensors,
    )


def begun(folder: Path) -> Journal:
    """Return a journal with something in everything."""
    journal = Journal(Checkpoints(folder), LONG)
    journal.lr = 0.1 + 0.2
    journal.history += [epoch(1, math.nan), epoch(2)]
    outcome = journal.outcome
    outcome.scores.update({"frozen": 0.9, "logreg": 1 / 3})
    outcome.kept, outcome.temperature = "frozen", 0.7
    outcome.reasons, outcome.plan = ("180 pictures are few;", "Käfer 甲"), ("last 2 stages",)
    outcome.weights = network()
    return journal


def again(folder: Path) -> Journal:
    return Journal(Checkpoints(folder), LONG)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert set(found) == set(expected)
    for name, tensor in expected.items():
        assert (found[name].dtype, found[name].stride()) == (tensor.dtype, tensor.stride())
        assert torch.equal(found[name], tensor)


# ── there and back ──────────────────────────────────────────────────────────────────────────────────


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    journal, weights = begun(tmp_path), network()

    journal.save(weights)
    found = again(tmp_path)

    assert found.has_begun
    assert (found.lr, found.note) == (journal.lr, "")
    assert_equal(found.network, weights)
    assert_equal(found.outcome.weights, journal.outcome.weights)
    assert dataclasses.replace(found.outcome, weights={}) == dataclasses.replace(journal.outcome, weights={})
    assert str(found.history) == str(journal.history)  # in which a score is NaN
    assert list(found.outcome.scores) == ["frozen", "logreg"]  # in the order in which they were taken


@pytest.mark.parametrize("best", [None, epoch(3)], ids=["no epoch yet", "a best epoch"])
def test_the_middle_of_a_phase_comes_back(tmp_path: Path, best: Epoch | None) -> None:
    expected = midway(best)

    begun(tmp_path).save(network(), expected)
    found = again(tmp_path).midway("unfrozen")

    assert found is not None
    assert_equal(found.tensors, expected.tensors)
    assert dataclasses.replace(found, tensors={}) == dataclasses.replace(expected, tensors={})


def test_the_middle_is_that_of_its_phase_alone_and_gone_on_with_once(tmp_path: Path) -> None:
    begun(tmp_path).save(network(), midway())
    found = again(tmp_path)

    assert found.midway("frozen") is None
    assert found.midway("unfrozen") is not None
    assert found.midway("unfrozen") is None


def test_a_checkpoint_after_a_phase_is_in_the_middle_of_none(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.save(network(), midway())

    journal.save(network())

    assert again(tmp_path).midway("unfrozen") is None


@pytest.mark.parametrize(("plan", "expected"), [(None, None), ((), ())], ids=["not measured", "nothing worth trying"])
def test_having_found_nothing_worth_trying_is_not_as_not_having_measured(
    tmp_path: Path, plan: tuple[str, ...] | None, expected: tuple[str, ...] | None
) -> None:
    journal = begun(tmp_path)
    journal.outcome.plan = plan

    journal.save(network())

    assert again(tmp_path).outcome.plan == expected


def test_a_journal_goes_on_in_the_same_checkpoints(tmp_path: Path) -> None:
    begun(tmp_path).save(network())
    second, weights = again(tmp_path), network()
    second.history.append(epoch(3))
    second.outcome.scores["unfrozen"] = 0.95

    second.save(weights)
    third = again(tmp_path)

    assert [line.epoch for line in third.history] == [1, 2, 3]
    assert list(third.outcome.scores) == ["frozen", "logreg", "unfrozen"]
    assert_equal(third.network, weights)


# ── when, and where it was ──────────────────────────────────────────────────────────────────────────


def test_a_new_journal_is_empty(tmp_path: Path) -> None:
    for journal in (Journal(), again(tmp_path)):
        assert not journal.has_begun
        assert (journal.history, journal.outcome.scores, journal.outcome.plan, journal.lr) == ([], {}, None, None)
        assert journal.midway("frozen") is None


def test_without_checkpoints_nothing_is_ever_due_and_saving_does_nothing() -> None:
    journal = Journal(every_s=0)

    journal.save(network(), midway())

    assert not journal.is_due
    assert not journal.has_begun


def test_a_checkpoint_is_due_after_so_many_seconds(tmp_path: Path) -> None:
    assert Journal(Checkpoints(tmp_path), every_s=0).is_due
    assert not Journal(Checkpoints(tmp_path), every_s=LONG).is_due


def test_where_a_run_was_is_said_in_words(tmp_path: Path) -> None:
    journal, checkpoints = Journal(Checkpoints(tmp_path), LONG), Checkpoints(tmp_path)

    def described() -> str:
        found = checkpoints.load()
        assert found is not None
        return found.description

    journal.save(network())
    assert described() == "after nothing yet"
    journal.save(network(), midway())
    assert described() == "unfrozen, epoch 2, step 2"
    journal.outcome.scores.update(frozen=0.5, logreg=0.6)
    journal.save(network())
    assert described() == "after frozen, logreg"


def test_a_checkpoint_that_is_gone_is_told(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.save(network())
    first = set(tmp_path.glob("*.safetensors"))
    journal.save(network())
    (newest,) = set(tmp_path.glob("*.safetensors")) - first
    newest.unlink()

    found = again(tmp_path)

    assert found.has_begun
    assert found.note.startswith(f"{newest} is missing; going on from")


# ── another version ─────────────────────────────────────────────────────────────────────────────────


def facts_of(folder: Path) -> dict[str, Any]:
    begun(folder).save(network(), midway())
    found = Checkpoints(folder).load()
    assert found is not None
    return found.facts


@pytest.mark.parametrize(
    "change",
    [
        {"format": 0},
        {"format": None},
        {"run": "of somebody else"},
        {"outcome": {}},
        {"outcome": []},
        {"history": [{"phase": "frozen"}]},
        {"history": None},
        {"midway": {"best": None, "smooth_loss": [1.0, 2], "rounds": 3}},
        {"midway": {"best": None, "smooth_loss": 1.0}},
    ],
    ids=str,
)
def test_a_checkpoint_of_another_version_is_refused_with_what_to_do(tmp_path: Path, change: dict[str, Any]) -> None:
    Checkpoints(tmp_path).save(network(), {**facts_of(tmp_path), **change}, "a state of the run")

    with pytest.raises(ModelError) as refused:
        again(tmp_path)

    assert str(refused.value) == (
        f"{tmp_path} was written by another run, or another version of finetune: delete it and repeat the command to "
        "train from the start."
    )


def test_a_checkpoint_without_a_format_is_of_another_version(tmp_path: Path) -> None:
    facts = facts_of(tmp_path)
    del facts["format"]
    Checkpoints(tmp_path).save(network(), facts, "a state of the run")

    with pytest.raises(ModelError, match="was written by another run, or another version of finetune: delete it"):
        again(tmp_path)


def test_the_precision_that_was_decided_and_what_is_midway_are_known_again(tmp_path: Path) -> None:
    journal = begun(tmp_path)
    journal.precision = "bfloat16"
    journal.save(network(), midway())

    found = again(tmp_path)

    assert found.precision == "bfloat16"
    assert found.is_midway(midway().phase)
    assert not found.is_midway("another phase")
    found.midway(midway().phase)
    assert not found.is_midway(midway().phase)
