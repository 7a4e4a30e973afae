"""One small run that many tests look at, and plugins that are really installed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.reporting import SilentReporter
from finetune.types import WeightRecord

from .recording import RECORD

TINY: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 8, "epochs": 2}
"""Options of a run that takes seconds: a network without batch norms on pictures of 32 pixels."""
SEVERAL: dict[str, Any] = {"strategy": "probe", "freeze_epochs": 4, "label_col": ("red", "blue")}

LATE_SEED = 1
"""With it, the second of two folds lacks the one picture that is not as the others."""

LABELS = ("Käfer 甲", "dog, brown")
COLUMNS: dict[str, tuple[tuple[object, object], ...]] = {
    "multi-label": ((1, 0), (0, 1), (0, 0), (1, 1)),
    "regression": ((0.9, 0.2), (0.2, 0.9), (0.2, 0.25), (0.85, 0.2)),
}
"""What each of the four kinds of pictures shows: whether it is red and whether blue, or how much."""


class Notes(SilentReporter):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


@dataclass(frozen=True)
class Trained:
    """A finished run, the pictures it was given, and their bytes before it began."""

    result: Any
    pictures: Path
    before: dict[str, bytes]
    labels: tuple[str, ...] = LABELS

    @property
    def run(self) -> Path:
        return self.result.run  # type: ignore[no-any-return]

    @property
    def model(self) -> Path:
        return self.result.onnx  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def toys() -> Callable[..., bytes]:
    """Make a file of weights with a record of toys, with other facts in it where a test gives them."""
    from .toys import toys

    return toys


@pytest.fixture
def tiny() -> dict[str, Any]:
    """Return the options of a run that takes seconds."""
    return dict(TINY)


@pytest.fixture
def notes() -> Notes:
    """Return a reporter that remembers what it was told."""
    return Notes()


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Trained:
    """Train on two classes with given parts, with every kind of picture in both, and one that cannot be read."""
    from finetune import run

    root = tmp_path_factory.mktemp("trained")
    pictures = root / "insects"
    for p, part in enumerate(("train", "valid")):
        for kind, label in enumerate(LABELS):
            folder = pictures / part / label
            folder.mkdir(parents=True)
            for i in range(6):
                picture(kind, seed=100 * p + i).save(folder / f"{i} of 6, plain.{'png' if i % 2 else 'jpg'}")
            save_every_kind(folder, [picture(kind, seed=100 * p + i, size=(52, 40)) for i in range(10, 16)])
    (pictures / "train" / LABELS[1] / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (pictures / "train" / LABELS[1] / "notes.txt").write_text("This is no picture.")
    before = {str(path.relative_to(pictures)): path.read_bytes() for path in pictures.rglob("*") if path.is_file()}
    return Trained(run(data=pictures, out=root / "runs", **TINY), pictures, before)


@pytest.fixture(scope="session")
def colour_table(picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Write a table of pictures with columns 'red' and 'blue', as a task has them, and pictures in both parts."""

    def written(root: Path, task: str, count: int = 3, parts: tuple[str, ...] = ("train", "valid")) -> Path:
        root.mkdir(parents=True, exist_ok=True)
        rows = ["image,split,red,blue"]
        for p, part in enumerate(parts):
            for kind, (red, blue) in enumerate(COLUMNS[task]):
                for i in range(count):
                    name = f"{part} {kind} {i}.png"
                    picture(kind, seed=100 * p + i).save(root / name)
                    rows.append(f"{name},{part},{red},{blue}")
        (root / "colours.csv").write_text("\n".join(rows))
        return root / "colours.csv"

    return written


@pytest.fixture
def late(tmp_path: Path, colour_table: Callable[..., Path]) -> tuple[Path, dict[str, Any]]:
    """Return a table, and options with which the first of two folds can be measured, and the second cannot."""
    table = colour_table(tmp_path, "regression", count=2, parts=("",))
    names = [line.split(",")[0] for line in table.read_text().splitlines()[1:]]
    table.write_text("\n".join(["image,red", f"{names[0]},1", *(f"{name},0" for name in names[1:])]))
    return table, {"label_col": ("red",), "task": "regression", "folds": 2, "seed": LATE_SEED}


@pytest.fixture(scope="session", params=COLUMNS)
def trained_on_table(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, colour_table: Callable[..., Path]
) -> Trained:
    """Train once for each of the other tasks; the pictures are a table of two labels or two values."""
    from finetune import run

    root = tmp_path_factory.mktemp(request.param)
    table = colour_table(root, request.param)
    result = run(data=table, out=root / "runs", **TINY | SEVERAL)
    return Trained(result, table, {}, ("red", "blue"))


@pytest.fixture(scope="session")
def weight_record() -> WeightRecord:
    """Return a record of a ``resnet18_half`` that tells three classes apart; its hash is nobody's."""
    return RECORD


def save_every_kind(folder: Path, drawn: list[Image.Image]) -> None:
    """Save six pictures so that each needs another way through the preprocessing."""
    moving, still, inky, deep, few, clear = drawn
    turned = Image.Exif()
    turned[0x0112] = 6
    moving.save(folder / "animated.gif", save_all=True, append_images=[still])
    still.save(folder / "turned.jpg", exif=turned)
    inky.convert("CMYK").save(folder / "inky.jpg")
    Image.fromarray(np.asarray(deep.convert("L")).astype(np.uint16) * 257).save(folder / "deep.png")
    few.quantize(16).save(folder / "few.png")
    clear.putalpha(Image.linear_gradient("L").resize(clear.size))
    clear.save(folder / "clear.webp", lossless=True)


@pytest.fixture
def install(tmp_path: Path) -> Callable[[str, str], Path]:
    """Install a plugin: a module, and the metadata of a distribution that names it; return what goes on the path."""

    def installed(name: str, source: str) -> Path:
        site = tmp_path / "site"
        facts = site / f"finetune_{name}-1.2.dist-info"
        facts.mkdir(parents=True)
        (site / f"finetune_{name}.py").write_text(source)
        (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: finetune_{name}\nVersion: 1.2\n")
        (facts / "entry_points.txt").write_text(f"[finetune]\n{name} = finetune_{name}\n")
        return site

    return installed
