"""Published weights are taken from a mirror, out of the cache, or over the net, and believed with their hash only."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from finetune.errors import ConfigError, ModelError
from finetune.networks.published import MIRROR, is_at_hand, obtain
from finetune.reporting import SILENT
from finetune.testing.published import Published
from finetune.types import Backbone

from .conftest import CONTENT, NAME, OTHER, SHA256, Obtain, Recorder, backbone_at, left, refusal, weights_of


def test_they_are_downloaded_once_with_a_bar_and_a_sentence(
    get: Obtain, place: Path, published: Published, reporter: Recorder
) -> None:
    path, sha256 = get()

    assert (path, path.read_bytes(), sha256) == (place, CONTENT, SHA256)
    assert reporter.jobs == [(f"Downloading {NAME}", None), (f"Downloading {NAME} (0.3 MB)", 300_000)]
    assert reporter.steps == 300_000
    assert reporter.notes == [
        f"Downloaded {published.url}/{NAME} (0.3 MB) to {path.parent}; its SHA-256 begins {SHA256[:8]}, as published."
    ]
    assert get() == (path, sha256)
    assert published.asked == [(NAME, None)]
    assert len(reporter.notes) == 1
    assert left(place) == [NAME]


def test_what_torch_has_in_its_cache_is_taken(tmp_path: Path, finetune_caches: Path) -> None:
    torch.save({"weight": torch.ones(3)}, tmp_path / "tiny.pth")
    url = (tmp_path / "tiny.pth").as_uri()
    torch.hub.load_state_dict_from_url(url, progress=False)
    (tmp_path / "tiny.pth").rename(tmp_path / "away.pth")
    sha256 = hashlib.sha256((tmp_path / "away.pth").read_bytes()).hexdigest()
    weights = replace(weights_of(backbone_at(url)), sha256=sha256[:8])

    path, found = obtain(backbone_at(url), weights, SILENT)

    assert (path, found) == (Path(torch.hub.get_dir()) / "checkpoints" / "tiny.pth", sha256)


def test_the_mirror_comes_first(get: Obtain, place: Path, published: Published, mirror: Path) -> None:
    place.write_bytes(OTHER)
    (mirror / NAME).write_bytes(CONTENT)

    assert get() == (mirror / NAME, SHA256)
    assert published.asked == []


def test_what_the_mirror_lacks_is_downloaded_into_the_cache(get: Obtain, place: Path, mirror: Path) -> None:
    assert get() == (place, SHA256)
    assert list(mirror.iterdir()) == []


@pytest.mark.parametrize("where", ["mirror", "cache"])
def test_other_bytes_that_lie_there_are_refused_and_stay(
    where: str, get: Obtain, place: Path, published: Published, mirror: Path
) -> None:
    place.write_bytes(CONTENT)
    file = mirror / NAME if where == "mirror" else place
    file.write_bytes(OTHER)

    instead = {
        "mirror": "Put the published file there, or unset FINETUNE_WEIGHTS_DIR.",
        "cache": "Delete it, and the next run downloads it again.",
    }
    assert refusal(get, ModelError) == (
        f"{file} is not what {published.url}/{NAME} publishes: its SHA-256 begins "
        f"{hashlib.sha256(OTHER).hexdigest()[:16]}, not {SHA256[:8]}. {instead[where]}"
    )
    assert file.read_bytes() == OTHER
    assert published.asked == []


@pytest.mark.parametrize("kind", ["nothing", "a file"])
def test_a_mirror_that_is_no_folder_is_refused(get: Obtain, mirror: Path, kind: str) -> None:
    mirror.rmdir()
    if kind == "a file":
        mirror.write_bytes(CONTENT)

    text = f"FINETUNE_WEIGHTS_DIR '{mirror}' is no folder that can be read; name one with weight files, or unset it."
    assert refusal(get, ConfigError) == text


def test_an_empty_variable_is_none(get: Obtain, place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / NAME).write_bytes(OTHER)
    monkeypatch.setenv(MIRROR, "")

    assert get() == (place, SHA256)


def test_whether_they_are_at_hand_is_seen_without_asking_anybody(
    backbone: Backbone, place: Path, mirror: Path, published: Published
) -> None:
    assert not is_at_hand(replace(backbone, weights=None))
    assert not is_at_hand(backbone)
    place.write_bytes(CONTENT)
    assert is_at_hand(backbone)
    place.rename(mirror / NAME)
    assert is_at_hand(backbone)
    assert published.asked == []
