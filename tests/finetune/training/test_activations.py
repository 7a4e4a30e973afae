"""Activations are computed once: what is kept is found again, bit for bit, and never taken for something else."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from finetune.data.pictures import Pictures
from finetune.errors import DataError, ResourceError
from finetune.networks.network import Network, assemble, build_backbone
from finetune.plugins import load_plugins
from finetune.reporting import SilentReporter
from finetune.training import boundary as boundary_module
from finetune.training.activation_cache import ActivationCache
from finetune.training.boundary import Activations, Boundary, boundary_of
from finetune.types import Example
from finetune_export.contract import Preprocessing

SIZE = 32
PREPROCESSING = Preprocessing(image_size_px=SIZE, crop_fraction=0.875, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
MAP, WHOLE_BODY = 1, 4
"""Parameter groups of SqueezeNet below the boundary: a map leaves the stem, pooled features the whole body."""
FLOAT = torch.float32


class Desk:
    """A network, its pictures, the cache, and a count of the pictures that went through the frozen part."""

    def __init__(self, folder: Path, cache: Path, network: Network) -> None:
        self.paths = sorted(folder.rglob("*.*"))
        self.cache_file = cache
        self.network = network
        self.notes: list[str] = []
        self.passed = 0

    def boundary(self, frozen: int) -> Boundary:
        cut = boundary_of(self.network, frozen, SIZE)
        cut.below.register_forward_hook(lambda _, inputs, __: self._count(inputs[0]))
        return cut

    def _count(self, images: Tensor) -> None:
        self.passed += len(images)

    def pictures(self, paths: Sequence[Path] | None = None, preprocessing: Preprocessing = PREPROCESSING) -> Pictures:
        paths = self.paths if paths is None else paths
        examples = [Example(path=path, label="cat") for path in paths]
        return Pictures(examples, [sha256_of(path) for path in paths], ["cat"], preprocessing)

    def compute(
        self,
        frozen: int = WHOLE_BODY,
        views: int = 2,
        dtype: torch.dtype = FLOAT,
        *,
        paths: Sequence[Path] | None = None,
        preprocessing: Preprocessing = PREPROCESSING,
        origin: str = "squeezenet 1",
        capacity_bytes: int = 2**30,
    ) -> tuple[Tensor, int]:
        """Compute as a new run would, and return the activations and how many views were computed for them."""
        before = self.passed
        with ActivationCache(self.cache_file, capacity_bytes, self.notes.append) as cache:
            pictures = self.pictures(paths, preprocessing)
            activations = Activations(preprocessing, origin, cache, SilentReporter())
            made = activations.compute(self.boundary(frozen), pictures, views, dtype)
        return made, self.passed - before

    def keys(self) -> list[bytes]:
        with closing(sqlite3.connect(self.cache_file)) as database:
            return [key for (key,) in database.execute("SELECT key FROM entry")]


def sha256_of(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    """SqueezeNet on one thread: it is so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield assemble(build_backbone(load_plugins().find_backbone("squeezenet1_1"), SIZE), 2, SIZE)
    torch.set_num_threads(threads)


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
    some, _ = desk.compute(paths=desk.paths[2:5], views=2)
    more, computed = desk.compute(views=3)

    assert computed == 8 * 3 - 3 * 2
    assert torch.equal(more[2:5, :2], some)
    assert desk.compute(views=3)[1] == 0


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


def test_other_rules_for_views_or_another_torch_are_another_key(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    desk.compute()
    for module, name in ((boundary_module, "VIEW_RULES"), (torch, "__version__"), (boundary_module, "FORMAT")):
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


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────


def test_damaged_content_is_computed_again(desk: Desk) -> None:
    first, _ = desk.compute()
    with closing(sqlite3.connect(desk.cache_file)) as database, database:
        database.execute("UPDATE value SET content = zeroblob(length(content)) WHERE id % 4 = 0")

    second, computed = desk.compute()

    assert computed == 4
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-5)
    assert desk.compute()[1] == 0


def test_content_of_another_size_is_computed_again(desk: Desk) -> None:
    first, _ = desk.compute()
    with ActivationCache(desk.cache_file, 2**30, desk.notes.append) as cache:
        cache.put(dict.fromkeys(desk.keys()[:3], b"four") | {desk.keys()[3]: b""})

    second, computed = desk.compute()

    assert computed == 4
    torch.testing.assert_close(second, first, rtol=1e-4, atol=1e-5)
    assert desk.compute()[1] == 0


def test_a_file_that_is_no_cache_is_said_once_and_costs_nothing_but_time(desk: Desk) -> None:
    expected, _ = desk.compute()
    desk.cache_file.write_text("My diary. " * 1000)

    found, computed = desk.compute()

    assert computed == 16
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert len(desk.notes) == 1
    assert desk.cache_file.read_text().startswith("My diary.")


def test_a_cache_that_is_turned_off_leaves_no_trace(desk: Desk) -> None:
    expected, _ = desk.compute(capacity_bytes=0)
    again, computed = desk.compute(capacity_bytes=0)

    assert computed == 16
    torch.testing.assert_close(again, expected, rtol=1e-4, atol=1e-5)
    assert not desk.cache_file.exists()
    assert desk.notes == []


def test_what_does_not_fit_into_the_cache_pushes_nothing_out_of_it(desk: Desk) -> None:
    made, _ = desk.compute(views=1)
    room, before = made.numel() * made.element_size(), set(desk.keys())

    assert desk.compute(views=2, capacity_bytes=room)[1] == 8  # which would need twice the room

    assert set(desk.keys()) == before
    assert desk.compute(views=1, capacity_bytes=room)[1] == 0


def test_a_picture_that_went_away_is_a_data_error_and_what_is_known_needs_no_picture(desk: Desk) -> None:
    known, others, boundary = desk.pictures(), desk.pictures(), desk.boundary(WHOLE_BODY)
    with ActivationCache(desk.cache_file, 2**30, desk.notes.append) as cache:
        activations = Activations(PREPROCESSING, "squeezenet 1", cache, SilentReporter())
        expected = activations.compute(boundary, known, 2, FLOAT)
        for path in desk.paths:
            path.unlink()

        assert torch.equal(activations.compute(boundary, others, 2, FLOAT), expected)
        with pytest.raises(DataError, match=r": the file cannot be read.+leave the pictures alone while training\.$"):
            activations.compute(boundary, others, 3, FLOAT)


# ── more than memory holds ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("frozen", "dtype"), [(MAP, torch.bfloat16), (WHOLE_BODY, FLOAT)])
def test_activations_beyond_memory_are_the_same_in_a_mapped_file_that_leaves_no_trace(
    desk: Desk, frozen: int, dtype: torch.dtype, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, _ = desk.compute(frozen, dtype=dtype)
    mapped: list[int] = []
    map_file = boundary_module._mapped
    monkeypatch.setattr(boundary_module, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(boundary_module, "_mapped", lambda size: mapped.append(size) or map_file(size))
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()

    read, computed = desk.compute(frozen, dtype=dtype)
    desk.cache_file.unlink()
    anew, computed_anew = desk.compute(frozen, dtype=dtype)

    assert (computed, computed_anew) == (0, 16)
    assert mapped == [expected.numel() * expected.element_size()] * 2
    assert torch.equal(read, expected)
    torch.testing.assert_close(anew, expected, rtol=1e-4, atol=1e-5)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_disk_without_room_for_what_memory_cannot_hold_is_said_in_one_line(
    desk: Desk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(descriptor: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(boundary_module, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    roomy = replace(desk.boundary(WHOLE_BODY), shape=(2_500_000,))
    cache = ActivationCache(desk.cache_file, 0, desk.notes.append)
    with pytest.raises(ResourceError) as caught:
        Activations(PREPROCESSING, "squeezenet 1", cache, SilentReporter()).compute(roomy, desk.pictures(), 15, FLOAT)

    assert str(caught.value) == (
        f"{tmp_path} has no room for 1.2 GB of activations (No space left on device). Free some space, set TMPDIR to a "
        "larger disk, or ask for fewer --views."
    )
    assert desk.passed == 0
