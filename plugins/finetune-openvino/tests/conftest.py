"""Three small runs with the target ``openvino``, one for each task, and two networks that are drawn up here."""

from __future__ import annotations

import socket
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

PROJECT = Path(__file__).parent.parent
SIZE_PX = 32
TASKS = {"single-label": "squeezenet1_1", "multi-label": "drawn-vit", "regression": "drawn-conv"}
"""The tasks, and the network that each is tried with."""
COLOURS = ((220, 40, 40), (40, 60, 220), (90, 80, 90), (200, 50, 210))
SHOWN: dict[str, tuple[tuple[object, object], ...]] = {
    "multi-label": ((1, 0), (0, 1), (0, 0), (1, 1)),
    "regression": ((90.5, 20.0), (20.0, 91.0), (20.5, 25.0), (85.0, 90.0)),
}
"""What a picture of each colour shows: whether it is red and whether blue, or how much in per cent."""

NETWORKS = """
import torch
from torch import nn

from finetune.hookspecs import hookimpl
from finetune.networks.network import BackboneModel
from finetune.types import Backbone


@hookimpl
def finetune_register_backbones(register):
    for name in ("conv", "vit"):
        register(Backbone(name=f"drawn-{name}", family="drawn", summary="Drawn up for tests.",
                          build=f"finetune_drawn:{name}", parameters=1))


def conv(backbone, image_size_px):
    stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
    deep = nn.Sequential(nn.Conv2d(16, 16, 3, 2, 1, groups=16), nn.Hardswish(), nn.Conv2d(16, 24, 1), nn.SiLU())
    return as_backbone(nn.Sequential(stem, deep))


def vit(backbone, image_size_px):
    return as_backbone(nn.Sequential(Patches((image_size_px // 8) ** 2), Block(), Block(), Average()))


def as_backbone(model):
    return BackboneModel(model=model, stages=tuple((f"stage{i}", stage) for i, stage in enumerate(model)))


class Patches(nn.Module):
    def __init__(self, tokens):
        super().__init__()
        self.cut = nn.Conv2d(3, 32, 8, 8)
        self.places = nn.Parameter(torch.randn(1, tokens, 32) / 8)

    def forward(self, x):
        return self.cut(x).flatten(2).transpose(1, 2) + self.places


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.before, self.between = nn.LayerNorm(32), nn.LayerNorm(32)
        self.attention = nn.MultiheadAttention(32, 2, batch_first=True)
        self.wide = nn.Sequential(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 32))

    def forward(self, x):
        y = self.before(x)
        x = x + self.attention(y, y, y, need_weights=False)[0]
        return x + self.wide(self.between(x))


class Average(nn.Module):
    def forward(self, x):
        return x.mean(1)
"""


@dataclass(frozen=True)
class Exported:
    """A finished run of a task: its folder, the folder of the target, the ONNX file and the pictures."""

    task: str
    run: Path
    pictures: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        return self.run / "openvino"

    @property
    def onnx(self) -> Path:
        return self.run / "model.onnx"


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing leave this machine; to the code it looks like a cable that was pulled."""

    def refused(*args: Any) -> None:
        raise socket.gaierror(socket.EAI_AGAIN, f"tests have no network: {args}")

    monkeypatch.setattr(socket, "getaddrinfo", refused)
    monkeypatch.setattr(socket.socket, "connect", refused)


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the plugin, whether or not it is, and one with the networks: put metadata on the path."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    root = tmp_path_factory.mktemp("site")
    (root / "finetune_drawn.py").write_text(NETWORKS)
    _register(root, project["name"], project["entry-points"]["finetune"])
    _register(root, "finetune-drawn", {"drawn": "finetune_drawn"})
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(root)
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield root


def _register(site: Path, name: str, points: dict[str, str]) -> None:
    facts = site / f"{name.replace('-', '_')}-0.1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 0.1.0\n")
    (facts / "entry_points.txt").write_text(
        "[finetune]\n" + "".join(f"{key} = {value}\n" for key, value in points.items())
    )


def draw(folder: Path, part: str, kind: int, count: int) -> list[Path]:
    """Save pictures of one colour, with noise so that no two are alike."""
    paths = []
    for i in range(count):
        noise = np.random.default_rng([kind, i, len(part)]).integers(-35, 36, (40, 48, 3))
        paths.append(folder / f"{part} {kind} {i}.{'png' if i % 2 else 'jpg'}")
        Image.fromarray((np.array(COLOURS[kind]) + noise).clip(0, 255).astype(np.uint8)).save(paths[-1])
    return paths


def table(folder: Path, task: str) -> Path:
    """Write a table of pictures with a column for red and one for blue, or of two labels, in both parts."""
    kinds = SHOWN.get(task, (("dog, brown",), ("Käfer 甲",)))
    rows = ["image,split,red,blue"] if task in SHOWN else ["image,split,label"]
    for part in ("train", "valid"):
        for kind, shown in enumerate(kinds):
            rows += [
                f'{path.name},{part},"{shown[0]}"' + "".join(f",{each}" for each in shown[1:])
                for path in draw(folder, part, kind, 4)
            ]
    (folder / "colours.csv").write_text("\n".join(rows), encoding="utf-8")
    return folder / "colours.csv"


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory, site: Path) -> Callable[[str], Exported]:
    """Train and export for a task, once."""
    from finetune import run

    made: dict[str, Exported] = {}

    def of(task: str) -> Exported:
        if task not in made:
            root = tmp_path_factory.mktemp(task)
            options: dict[str, Any] = {"label_col": ("red", "blue")} if task in SHOWN else {}
            done = run(
                data=table(root, task),
                task=task,
                backbone=TASKS[task],
                weights="none",
                image_size=SIZE_PX,
                batch_size=8,
                strategy="probe",
                freeze_epochs=4,
                views=1,
                target=("openvino",),
                out=root / "runs",
                **options,
            )
            made[task] = Exported(task, done.run, tuple(sorted(root.glob("valid *"))))
        return made[task]

    return of


@pytest.fixture(params=TASKS)
def each(request: pytest.FixtureRequest, exported: Callable[[str], Exported]) -> Exported:
    """Return the run of each task in turn."""
    return exported(request.param)


@pytest.fixture
def one(exported: Callable[[str], Exported]) -> Exported:
    """Return a run with single labels."""
    return exported("single-label")


@pytest.fixture
def small(exported: Callable[[str], Exported]) -> Exported:
    """Return the run with the smallest files."""
    return exported("regression")
