"""Activations whose store is damaged, too small or gone, and such that no memory holds."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.errors import DataError, ResourceError
from finetune.networks.network import Network
from finetune.reporting import SilentReporter
from finetune.training import boundary as boundary_module
from finetune.training.activation_cache import ActivationCache
from finetune.training.boundary import Activations

from .desk import FLOAT, MAP, PREPROCESSING, WHOLE_BODY, Desk, squeezenet


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    with squeezenet() as built:
        yield built


@pytest.fixture
def desk(pictures: Path, tmp_path: Path, network: Network) -> Desk:
    return Desk(pictures, tmp_path / "activations.sqlite", network)


# ── what goes wrong ─────────────────────────────────────────────────────────────────────────────────


def test_damaged_content_is_computed_again(desk: Desk) -> None:
    first, _ = desk.compute()
    with closing(sqlite3.connect(desk.cache_file)) as database, database:
        database.execute("UPDATE value SET content = zeroblob(length(content)) WHERE id % 4 = 0")

    second, computed = desk.compute()

    assert computed == 4
    assert torch.equal(second, first)
    assert desk.compute()[1] == 0


def test_content_of_another_size_is_computed_again(desk: Desk) -> None:
    first, _ = desk.compute()
    with ActivationCache(desk.cache_file, 2**30, desk.notes.append) as cache:
        cache.put(dict.fromkeys(desk.keys()[:3], b"four") | {desk.keys()[3]: b""})

    second, computed = desk.compute()

    assert computed == 4
    assert torch.equal(second, first)
    assert desk.compute()[1] == 0


def test_a_file_that_is_no_cache_is_said_once_and_costs_nothing_but_time(desk: Desk) -> None:
    expected, _ = desk.compute()
    desk.cache_file.write_text("My diary. " * 1000)

    found, computed = desk.compute()

    assert computed == 16
    assert torch.equal(found, expected)
    assert len(desk.notes) == 1
    assert desk.cache_file.read_text().startswith("My diary.")


def test_a_cache_that_is_turned_off_leaves_no_trace(desk: Desk) -> None:
    expected, _ = desk.compute(capacity_bytes=0)
    again, computed = desk.compute(capacity_bytes=0)

    assert computed == 16
    assert torch.equal(again, expected)
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
    assert torch.equal(anew, expected)
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
