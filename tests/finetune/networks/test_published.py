"""Published weights: from a mirror, out of the cache or over a bad line, and never other bytes than the published."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import socket
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune import download
from finetune.errors import ConfigError, FinetuneError, ModelError, ResourceError
from finetune.networks.published import MIRROR, is_at_hand, obtain, place_of
from finetune.reporting import SILENT, SilentReporter
from finetune.testing.published import Published
from finetune.types import Backbone, Weights

NAME = "tiny-00c0ffee.pth"
CONTENT = hashlib.shake_256(b"weights").digest(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
OTHER = CONTENT[::-1]
BEHIND = " or into the folder that FINETUNE_WEIGHTS_DIR names, or give --weights FILE or --weights none."
REFUSED = "Pretrained weights of 'tiny': Cannot download "

Obtain = Callable[[], tuple[Path, str]]


class Recorder(SilentReporter):
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[str] = []
        self.jobs: list[tuple[str, int | None]] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int | None = None) -> None:
        self.jobs.append((title, total))
        self.steps = 0

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps += steps
        super().advance(steps, detail)


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


@pytest.fixture
def backbone(published: Published, finetune_caches: Path, monkeypatch: pytest.MonkeyPatch) -> Backbone:
    """A backbone whose weights are offered by a server on this machine, and are in no cache."""
    monkeypatch.delenv(MIRROR, raising=False)
    published.offer(NAME, CONTENT)
    return backbone_at(f"{published.url}/{NAME}")


@pytest.fixture
def get(backbone: Backbone, reporter: Recorder) -> Obtain:
    return lambda: obtain(backbone, weights_of(backbone), reporter)


@pytest.fixture
def place(backbone: Backbone) -> Path:
    """Where the weights are looked for last, and downloaded to."""
    place = place_of(weights_of(backbone))
    place.parent.mkdir(parents=True)
    return place


@pytest.fixture
def part(place: Path) -> Path:
    """Where a download is until it is whole."""
    return place.with_name(f"{NAME}.part")


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that the variable names."""
    folder = tmp_path / "mirror"
    folder.mkdir()
    monkeypatch.setenv(MIRROR, str(folder))
    return folder


def backbone_at(url: str) -> Backbone:
    weights = Weights(name="V1", url=url, sha256=SHA256[:8], licence="MIT", source="the publisher")
    return Backbone(name="tiny", family="tiny", summary="", build="tiny:build", parameters=1, weights=weights)


def weights_of(backbone: Backbone) -> Weights:
    assert backbone.weights is not None
    return backbone.weights


def left(place: Path) -> list[str]:
    return sorted(path.name for path in place.parent.iterdir())


def refusal(get: Obtain, kind: type[FinetuneError]) -> str:
    with pytest.raises(kind) as refused:
        get()
    assert "\n" not in str(refused.value)
    return str(refused.value)


# ── where they may be ───────────────────────────────────────────────────────────────────────────────


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


# ── connections that are cut ────────────────────────────────────────────────────────────────────────


def test_a_cut_connection_is_taken_up_within_the_same_command(
    get: Obtain, published: Published, reporter: Recorder
) -> None:
    published.hang_up_after = 100_000

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, None), (NAME, "bytes=100000-"), (NAME, "bytes=200000-")]
    said = "the connection ended after {} of 300,000 bytes; asking for the rest."
    assert reporter.notes[:2] == [f"{published.url}/{NAME}: {said.format(n)}" for n in ("100,000", "200,000")]
    assert reporter.steps == 300_000  # the last bar begins where the one before ended


def test_one_that_is_cut_too_often_is_taken_up_by_the_next_command(
    get: Obtain, part: Path, place: Path, published: Published
) -> None:
    published.hang_up_after = 50_000

    assert refusal(get, ResourceError) == (
        f"{REFUSED}{published.url}/{NAME}: the connection ended after 200,000 of 300,000 bytes. Run the same command "
        f"again to go on, or put a copy at {place}{BEHIND}"
    )
    assert len(published.asked) == 4
    assert left(place) == [f"{NAME}.part"]
    published.hang_up_after = None
    assert get()[0].read_bytes() == CONTENT
    assert published.asked[4:] == [(NAME, "bytes=200000-")]
    assert left(place) == [NAME]


def test_where_a_connection_brings_nothing_nobody_asks_again(get: Obtain, place: Path, published: Published) -> None:
    published.hang_up_after = 0

    assert "the connection ended after 0 of 300,000 bytes. Run the same command" in refusal(get, ResourceError)
    assert len(published.asked) == 1
    assert left(place) == []


def test_a_server_that_ignores_ranges_sends_everything_again(get: Obtain, part: Path, published: Published) -> None:
    part.write_bytes(OTHER[:1000])
    published.ignores_range = True

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, "bytes=1000-")]


def test_a_file_that_changed_in_between_is_refused_and_then_right(
    get: Obtain, part: Path, place: Path, published: Published
) -> None:
    part.write_bytes(OTHER[:1000])

    assert "; removed. Run the same command again, or put a copy at" in refusal(get, ModelError)
    assert left(place) == []
    assert get()[0].read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_begun_anew(get: Obtain, part: Path, published: Published) -> None:
    part.write_bytes(CONTENT + b"more")

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, "bytes=300004-"), (NAME, None)]


def test_a_part_that_is_whole_already_is_not_asked_for(
    get: Obtain, part: Path, place: Path, published: Published
) -> None:
    part.write_bytes(CONTENT)

    assert get()[0].read_bytes() == CONTENT
    assert (published.asked, left(place)) == ([], [NAME])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    begun=st.integers(0, 300_010),
    cuts=st.lists(st.one_of(st.none(), st.integers(0, 300_000)), max_size=3),
    ignores_range=st.booleans(),
)
def test_however_the_line_is_cut_what_comes_is_right_or_is_gone_on_with(
    part: Path,
    place: Path,
    begun: int,
    cuts: list[int | None],
    ignores_range: bool,
    backbone: Backbone,
    published: Published,
) -> None:
    place.unlink(missing_ok=True)
    part.write_bytes((CONTENT + b"ten bytes.")[:begun])
    published.ignores_range = ignores_range
    for published.hang_up_after in cuts:
        try:
            assert obtain(backbone, weights_of(backbone), SILENT) == (place, SHA256)
        except ResourceError:
            assert not part.exists() or CONTENT.startswith(part.read_bytes())
            assert not place.exists()
    published.hang_up_after = None
    assert obtain(backbone, weights_of(backbone), SILENT) == (place, SHA256)
    assert place.read_bytes() == CONTENT
    assert left(place) == [NAME]


# ── what cannot be had ──────────────────────────────────────────────────────────────────────────────


def test_other_bytes_than_the_published_are_removed(get: Obtain, place: Path, published: Published) -> None:
    published.files[NAME] = b"<html>Please log in to this hotel's network.</html>"

    got = hashlib.sha256(published.files[NAME]).hexdigest()
    assert refusal(get, ModelError) == (
        f"Pretrained weights of 'tiny': {published.url}/{NAME} is not the published {NAME}: expected SHA-256 "
        f"{SHA256[:8]}…, got 51 bytes with {got}; removed. Run the same command again, or put a copy at "
        f"{place}{BEHIND}"
    )
    assert left(place) == []


@pytest.mark.parametrize("status", [403, 404, 410])
def test_what_is_not_there_is_not_worth_another_try(
    place: Path, status: int, get: Obtain, published: Published
) -> None:
    published.status = status

    text = refusal(get, ResourceError)
    assert text.startswith(f"{REFUSED}{published.url}/{NAME}: the server answered {status} ")
    assert text.endswith(f". Put a copy at {place}{BEHIND}")
    assert (len(published.asked), left(place)) == (1, [])


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_server_that_cannot_now_is_worth_another_try(
    part: Path, place: Path, status: int, get: Obtain, published: Published
) -> None:
    part.write_bytes(CONTENT[:1000])
    published.status = status

    text = refusal(get, ResourceError)
    assert text.startswith(f"{REFUSED}{published.url}/{NAME}: the server answered {status} ")
    assert ". Run the same command again to go on, or put a copy at " in text
    assert (len(published.asked), left(place)) == (1, [f"{NAME}.part"])


def test_offline_the_message_says_which_file_belongs_where(place: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        there = backbone_at(f"http://127.0.0.1:{closed.getsockname()[1]}/models/{NAME}")

    text = refusal(lambda: obtain(there, weights_of(there), SILENT), ResourceError)
    assert text.startswith(f"{REFUSED}{weights_of(there).url}: [Errno 111] Connection refused. Run the same command")
    assert text.endswith(f"put a copy at {place}{BEHIND}")
    assert left(place) == []


def test_a_server_that_never_answers_is_not_waited_for_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        there = backbone_at(f"http://127.0.0.1:{silent.getsockname()[1]}/{NAME}")
        text = refusal(lambda: obtain(there, weights_of(there), SILENT), ResourceError)

    assert text.startswith(f"{REFUSED}{weights_of(there).url}: timed out. Run the same command again to go on, or put")


def test_a_connection_on_which_nothing_more_comes_is_taken_up_as_well(
    get: Obtain, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.1)
    published.hold_after = 100_000

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, None), (NAME, "bytes=100000-"), (NAME, "bytes=200000-")]


def test_a_disk_that_is_too_small_for_what_the_server_announces_is_said_before_anything_is_written(
    get: Obtain, place: Path, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    published.files[NAME] = bytes(3_000_000)

    assert refusal(get, ResourceError) == (
        f"Pretrained weights of 'tiny': {place.parent} has 1 MB free; {NAME} needs 3 MB to download. Free space "
        f"there, or put a copy at {place}{BEHIND}"
    )
    assert left(place) == []


def test_where_another_process_downloads_it_is_waited_for(get: Obtain, part: Path, published: Published) -> None:
    part.write_bytes(CONTENT[:1000])
    with part.open("ab") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        text = f"Another run is downloading {part}. Wait for it, then run again."
        assert refusal(get, ResourceError) == f"Pretrained weights of 'tiny': {text}"

    assert published.asked == []
    assert get()[0].read_bytes() == CONTENT


def test_a_cache_that_cannot_be_written_is_named(get: Obtain, finetune_caches: Path) -> None:
    finetune_caches.write_text("in the way")

    text = refusal(get, ResourceError)
    assert text.startswith(f"Pretrained weights of 'tiny': Cannot write to {finetune_caches}")
    assert text.endswith("Check space and permissions there, then run again.")
