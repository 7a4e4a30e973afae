"""Activations are computed once: what is kept is found again, bit for bit, and never taken for something else."""

from __future__ import annotations

import random
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finetune.networks.network import Network
from finetune.reporting import SilentReporter
from finetune.training import boundary as boundary_module

from .desk import FLOAT, MAP, PREPROCESSING, WHOLE_BODY, Desk, squeezenet


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with squeezenet() as built:
        yield built


@pytest.fixture
def desk(pictures: Path, tmp_path: Path, network: Network) -> Desk:
    return Desk(pictures, tmp_path / "activations.sqlite", network)


# ── what is computed ────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("frozen", [MAP, WHOLE_BODY])
def test_activations_are_what_leaves_the_frozen_part_for_each_view_of_each_picture(desk: Desk, frozen: int) -> None:
    made, passed = desk.compute(frozen, views=3)

    boundary, pictures = desk.boundary(frozen), desk.pictures()
    assert passed == 8 * 3
    assert (made.dtype, tuple(made.shape)) == (FLOAT, (8, 3, *boundary.shape))
    assert made.std() > 0
    with torch.no_grad():
        for index in range(8):
            expected = boundary.below(pictures.images([(index, view) for view in range(3)]))
            torch.testing.assert_close(made[index], expected, rtol=1e-4, atol=1e-5)


def test_more_pictures_than_go_through_at_once_come_in_their_order(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    expected, _ = desk.compute(views=2)
    monkeypatch.setattr(boundary_module, "BATCH", 3)
    monkeypatch.setattr(boundary_module, "KEYS_AT_ONCE", 5)
    again, none = desk.compute(views=2)
    desk.cache_file.unlink()
    anew, all_of_them = desk.compute(views=2)

    assert (none, all_of_them) == (0, 16)
    assert torch.equal(again, expected)
    torch.testing.assert_close(anew, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("frozen", "kept_as"), [(MAP, torch.bfloat16), (WHOLE_BODY, FLOAT)])
def test_maps_are_kept_in_the_arithmetic_of_training_and_pooled_features_in_float32(
    desk: Desk, frozen: int, kept_as: torch.dtype
) -> None:
    exact, _ = desk.compute(frozen)
    rounded, _ = desk.compute(frozen, dtype=torch.bfloat16)
    again, passed = desk.compute(frozen, dtype=torch.bfloat16)

    assert rounded.dtype == kept_as
    assert 0 < (rounded.float() - exact).abs().max() < 0.05 * exact.abs().max()
    assert torch.equal(again, rounded)
    assert passed == 0


def test_activations_can_be_learned_from(desk: Desk) -> None:
    for _ in range(2):  # computed, then read
        made, _ = desk.compute()
        layer = nn.Linear(made.shape[2], 2)

        layer(made[:, 0]).sum().backward()

        assert layer.weight.grad is not None
        assert layer.weight.grad.abs().sum() > 0


def test_computing_draws_nothing_at_random(desk: Desk) -> None:
    before = torch.get_rng_state()
    desk.compute()
    assert torch.equal(torch.get_rng_state(), before)


# ── what is found again ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("frozen", [MAP, WHOLE_BODY])
def test_a_second_run_reads_all_of_it_bit_for_bit_and_computes_nothing(desk: Desk, frozen: int) -> None:
    first, computed = desk.compute(frozen)
    second, computed_again = desk.compute(frozen)

    assert (computed, computed_again) == (16, 0)
    assert torch.equal(first, second)


def test_another_path_is_no_other_picture(desk: Desk, tmp_path: Path) -> None:
    first, _ = desk.compute()
    moved = [Path(shutil.copy(path, tmp_path / f"{number}.image")) for number, path in enumerate(desk.paths)]

    second, computed = desk.compute(paths=moved[::-1])

    assert computed == 0
    assert torch.equal(second.flip(0), first)


def test_only_what_is_missing_is_computed(desk: Desk) -> None:
    desk.compute(paths=desk.paths[2:5], views=2)

    assert desk.compute(views=3)[1] == 8 * 3 - 3 * 2
    assert desk.compute(views=3)[1] == 0


@pytest.mark.parametrize(("frozen", "dtype"), [(MAP, FLOAT), (WHOLE_BODY, FLOAT), (MAP, torch.bfloat16)])
@pytest.mark.parametrize("known", [1, 7, 15, 19], ids="{} of 20".format)
def test_what_is_computed_for_a_picture_is_the_same_bit_for_bit_whatever_was_known_of_others(
    desk: Desk, frozen: int, dtype: torch.dtype, known: int
) -> None:
    four = desk.paths[:4]
    at_once, _ = desk.compute(frozen, views=5, dtype=dtype, paths=four)
    forgotten = random.Random(known).sample(desk.keys(), 20 - known)
    with closing(sqlite3.connect(desk.cache_file)) as database, database:
        database.executemany("DELETE FROM entry WHERE key = ?", [(key,) for key in forgotten])

    again, computed = desk.compute(frozen, views=5, dtype=dtype, paths=four)

    assert computed == 20 - known
    assert torch.equal(again, at_once)


def test_a_run_that_was_stopped_while_it_computed_goes_on_to_the_same_activations(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = desk.compute(views=5)  # forty views
    desk.cache_file = tmp_path / "another.sqlite"
    with monkeypatch.context() as patch:
        patch.setattr(SilentReporter, "advance", lambda *_: _stop() if desk.keys() else None)
        with pytest.raises(KeyboardInterrupt):
            desk.compute(paths=desk.paths[3:], views=4)
    assert len(desk.keys()) == boundary_module.BATCH

    found, computed = desk.compute(views=5)

    assert computed == 40 - boundary_module.BATCH
    assert torch.equal(found, expected)


def _stop() -> None:
    raise KeyboardInterrupt


def test_pictures_that_do_not_fill_a_batch_are_computed_as_in_a_full_one(desk: Desk) -> None:
    many, _ = desk.compute(views=5, capacity_bytes=0)
    one, _ = desk.compute(views=1, paths=desk.paths[6:7], capacity_bytes=0)

    assert torch.equal(one[0, 0], many[6, 0])


def test_view_0_of_a_validation_picture_is_that_of_a_training_picture(desk: Desk) -> None:
    many, _ = desk.compute(views=4)
    one, computed = desk.compute(views=1)

    assert computed == 0
    assert torch.equal(one[:, 0], many[:, 0])


def test_the_cut_decides_what_is_found(desk: Desk) -> None:
    desk.compute(MAP)

    assert desk.compute(WHOLE_BODY)[1] == 16
    assert desk.compute(MAP)[1] == 0


def changed_weight(network: Network) -> Tensor:
    convolution = network.body.get_submodule("stem.0")
    assert isinstance(convolution, nn.Conv2d)
    return convolution.weight


def test_other_weights_below_the_boundary_are_another_key(desk: Desk) -> None:
    desk.compute()
    weight = changed_weight(desk.network)
    before = weight.detach().clone()

    try:
        with torch.no_grad():
            weight[0, 0, 0, 0] += 1e-6
        assert desk.compute()[1] == 16
    finally:
        weight.data.copy_(before)
    assert desk.compute()[1] == 0


def test_other_weights_above_the_boundary_are_not(desk: Desk) -> None:
    desk.compute(MAP)
    head = desk.network.head.get_submodule("classifier.2")
    assert isinstance(head, nn.Linear)

    with torch.no_grad():
        head.weight.add_(1)

    assert desk.compute(MAP)[1] == 0


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": torch.bfloat16},
        {"origin": "squeezenet 2"},
        *(
            {"preprocessing": replace(PREPROCESSING, **changed)}
            for changed in ({"crop_fraction": 1.0}, {"mean": (0.5, 0.5, 0.4)}, {"std": (0.5, 0.5, 0.4)})
        ),
    ],
    ids=["arithmetic", "origin", "crop", "mean", "deviation"],
)
def test_whatever_activations_depend_on_is_in_their_key(desk: Desk, change: dict[str, Any]) -> None:
    desk.compute()

    assert desk.compute(**change)[1] == 16
    assert desk.compute()[1] == desk.compute(**change)[1] == 0


def test_other_rules_for_views_are_another_key_for_all_but_the_first(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk.compute(views=3)

    assert desk.compute(views=3, augment="trivial")[1] == 8 * 2
    monkeypatch.setattr(boundary_module, "view_rules", lambda augment: f"{augment}, changed")
    assert desk.compute(views=3)[1] == 8 * 2


def test_another_torch_is_another_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.compute()
    for module, name in ((torch, "__version__"), (boundary_module, "FORMAT")):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, "another")
            assert desk.compute()[1] == 16
    assert desk.compute()[1] == 0


def test_a_picture_whose_content_changed_is_another_picture(desk: Desk) -> None:
    first, _ = desk.compute()
    shutil.copy(desk.paths[5], desk.paths[1])  # of another class

    second, computed = desk.compute()

    assert computed == 0  # that content is known, too
    assert torch.equal(second[1], first[5])
    with desk.paths[0].open("ab") as file:
        file.write(b"\0")  # behind the picture's end: the same pixels
    assert desk.compute()[1] == 2
