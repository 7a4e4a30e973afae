"""``finetune run --weights pretrained`` against a publisher's server: killed in the middle, and in vain."""

from __future__ import annotations

import contextlib
import http.server
import importlib
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision

from finetune.networks.published import obtain
from finetune.reporting import SILENT
from finetune.testing.published import Published

from .conftest import Said, refusal, tiny

NAME = "squeezed-00c0ffee.pth"

SQUEEZED = """
from dataclasses import replace

from finetune.hookspecs import hookimpl
from finetune.types import Backbone, Weights

FINETUNE_API = "1.0"
WEIGHTS = Weights(name="V1", url="{url}", sha256="{sha256}", licence="MIT", source="the publisher")
BACKBONE = Backbone(
    name="squeezed", family="squeezenet", summary="", build="finetune_squeezed:build", parameters=1_235_496,
    weights=WEIGHTS,
)

@hookimpl
def finetune_register_backbones(register):
    register(BACKBONE)


def build(backbone, image_size_px):
    from finetune.builtin.torchvision_families import build

    return build(replace(backbone, name="squeezenet1_1"), image_size_px)
"""


@dataclass(frozen=True)
class Squeezed:
    """A plugin with a real network of torchvision, whose weights a server on this machine publishes."""

    site: Path
    url: str
    cache: Path
    size: int
    sha256: str

    @property
    def part(self) -> Path:
        return self.cache / f"{NAME}.part"


@pytest.fixture
def squeezed(
    published: Published,
    finetune_caches: Path,
    install: Callable[[str, str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Squeezed:
    torch.save(torchvision.models.squeezenet1_1(weights=None).state_dict(), tmp_path / NAME)
    archive = published.offer(NAME, (tmp_path / NAME).read_bytes())
    url = f"{published.url}/{NAME}"
    site = install("squeezed", SQUEEZED.format(url=url, sha256=archive.sha256[:8]))
    monkeypatch.syspath_prepend(site)
    monkeypatch.delitem(sys.modules, "finetune_squeezed", raising=False)
    cache = finetune_caches / "torch" / "hub" / "checkpoints"
    return Squeezed(site=site, url=url, cache=cache, size=archive.size, sha256=archive.sha256)


def arguments(pictures: Path, out: Path) -> list[str]:
    options = tiny(backbone="squeezed", weights="pretrained", strategy="probe", freeze_epochs=1)
    return ["run", "--data", str(pictures), "--out", str(out), *options]


@contextlib.contextmanager
def keeping_whoever_asks_for_the_rest(published: Published) -> Iterator[threading.Event]:
    """Let the server answer nothing to requests for the rest of a file; give the event that there is one."""
    answer, asked = published.answer, threading.Event()

    def kept(handler: http.server.BaseHTTPRequestHandler) -> None:
        if "Range" not in handler.headers:
            answer(handler)
            return
        asked.set()
        published.closing.wait()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(published, "answer", kept)
        yield asked


def killed(command: list[str], moment: threading.Event, **surroundings: Any) -> str:
    """Kill a command in a process of its own at a moment; return what it had said."""
    with subprocess.Popen(command, **surroundings, stderr=subprocess.PIPE, encoding="utf-8") as process:
        has_come = moment.wait(timeout=120)
        process.kill()
        _, said = process.communicate()
    assert has_come, said
    return said


def test_a_killed_download_is_gone_on_with(
    squeezed: Squeezed, published: Published, pictures: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    have = published.hang_up_after = squeezed.size // 3
    command = [sys.executable, "-m", "finetune", *arguments(pictures, tmp_path / "runs")]
    surroundings = {**environment, "PYTHONPATH": str(squeezed.site)}
    with keeping_whoever_asks_for_the_rest(published) as asked:
        said = killed(command, asked, env=surroundings, cwd=tmp_path)
    assert f"Downloading {NAME} ({squeezed.size / 1e6:.1f} MB) …" in said.splitlines()
    assert squeezed.part.stat().st_size == have

    published.hang_up_after = None
    backbone = importlib.import_module("finetune_squeezed").BACKBONE
    assert obtain(backbone, backbone.weights, SILENT) == (squeezed.cache / NAME, squeezed.sha256)
    assert published.asked == [(NAME, None), (NAME, f"bytes={have}-")]
    assert not squeezed.part.exists()


def test_weights_that_are_gone_are_one_line_and_status_6(
    cli: Callable[..., Said], squeezed: Squeezed, published: Published, pictures: Path, tmp_path: Path
) -> None:
    published.files.clear()

    said = cli(*arguments(pictures, tmp_path / "runs"))

    assert refusal(said, 6) == (
        f"finetune: Pretrained weights of 'squeezed': Cannot download {squeezed.url}: the server answered 404 Not "
        f"Found. Put a copy at {squeezed.cache / NAME} or into the folder that FINETUNE_WEIGHTS_DIR names, or give "
        "--weights FILE or --weights none."
    )
