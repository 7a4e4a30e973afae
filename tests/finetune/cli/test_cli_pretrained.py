"""``finetune run --weights pretrained`` against a publisher's server: killed in the middle, and in vain."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
import torchvision

from finetune.testing.published import Published
from finetune_export.contract import BackboneOrigin, read_contract

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


def test_a_killed_download_is_gone_on_with_by_the_same_command(
    cli: Callable[..., Said],
    squeezed: Squeezed,
    published: Published,
    pictures: Path,
    tmp_path: Path,
    environment: dict[str, str],
) -> None:
    published.hold_after = squeezed.size // 3
    title = f"Downloading {NAME} ({squeezed.size / 1e6:.1f} MB) …"
    command = [sys.executable, "-m", "finetune", *arguments(pictures, tmp_path / "runs")]
    surroundings = {**environment, "PYTHONPATH": str(squeezed.site)}
    with subprocess.Popen(command, env=surroundings, cwd=tmp_path, stderr=subprocess.PIPE, encoding="utf-8") as process:
        assert process.stderr is not None
        assert title in (line.rstrip("\n") for line in process.stderr)
        while process.poll() is None and not squeezed.part.stat().st_size:
            pass  # the first bytes are on their way
        process.kill()
    have = squeezed.part.stat().st_size
    assert 0 < have <= squeezed.size // 3

    published.hold_after = None
    said = cli(*arguments(pictures, tmp_path / "runs"))

    assert said.status == 0, said.err
    assert published.asked == [(NAME, None), (NAME, f"bytes={have}-")]
    (model,) = (tmp_path / "runs").rglob("model.onnx")
    assert read_contract(model).backbone == BackboneOrigin(
        name="squeezed", weights="V1", licence="MIT", sha256=squeezed.sha256
    )
    lines = said.err.splitlines()
    downloaded = f"• Downloaded {squeezed.url} ({squeezed.size / 1e6:.1f} MB) to {squeezed.cache}; its SHA-256 begins "
    assert {title, f"{downloaded}{squeezed.sha256[:8]}, as published."} <= set(lines)


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
