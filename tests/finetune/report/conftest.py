"""Folders of finished runs, as small as they can be, and plugins with sections of their own."""

from __future__ import annotations

import io
import json
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune.config import resolve, to_toml
from finetune.types import RunResult, Verification
from finetune_export.contract import PluginOrigin

from . import run_files

HOSTILE = "<img src=x onerror=alert(1)>"
DATA = "insects & <b>more</b>"
LABELS = ("ant", HOSTILE, "Käfer 甲", "نملة")
EACH = 2
"""Validation pictures of each label."""


def png(width: int = 1200) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (width, 40), "teal").save(picture, format="png")
    return picture.getvalue()


def model_of(labels: Sequence[str]) -> bytes:
    """Return a file whose contract names strange data, and a plugin."""
    used = PluginOrigin(distribution="some", version="2.0", licence="MIT", origin="a disk", used_for=("callback x",))
    return run_files.model_of(
        labels,
        run_files.drawn_data(DATA, 8, EACH * len(labels)),
        **{"metrics": {"accuracy": 0.5}, "versions": {"finetune-export": "0.1.0"}, "plugins": (used,)},
    )


def result_of(folder: Path, labels: int) -> RunResult:
    return run_files.result_of(
        *(folder, 0.5, 8),
        **{"interval": (0.21, 0.79), "labels": labels, "dataset": DATA},
        **{"verdict": "The probe is kept.", "reasons": ("Few pictures.",), "notes": ("A note.",)},
        **{"train_images": 8, "seconds": {"total": 3.0}},
    )


def verified() -> Verification:
    return run_files.verified(8, seconds=0.16)


FLAGS = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-sync"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium; it ends with the module, for Playwright keeps an event loop running in this thread."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("chromium is not here: install it to test the report in a browser")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture
def run_of(tmp_path: Path) -> Callable[..., Path]:
    """Write the folder of a finished run."""

    def written(labels: Sequence[str] = LABELS, name: str = "a run") -> Path:
        folder = tmp_path / name
        folder.mkdir()
        rows = [
            f'{part},"{label}",{number}-{part}-{i}.png,{"0" * 64}'
            for part in ("train", "valid")
            for number, label in enumerate(labels)
            for i in range(EACH)
        ]
        each = [
            {"label": label, "pictures": EACH, "precision": None, "recall": 0.5, "f1": (n + 1) / len(labels)}
            for n, label in enumerate(labels)
        ]
        metrics = {"values": {"accuracy": 0.5, "log-loss": 0.7}, "labels": each, "coverage": None, "precision": None}
        contents = {
            "run.json": {"status": "done", "result": asdict(result_of(folder, len(labels)))},
            "data.json": {"refused": [], "ignored": [], "findings": []},
            "metrics.json": {"valid": metrics, "test": None},
            "versions.json": {"python": "3.11", "plugins": {}},
            "verification.json": [asdict(verified())],
        }
        for file, content in contents.items():
            (folder / file).write_text(json.dumps(content, default=str))
        (folder / "split.csv").write_text("\n".join(["part,label,path,sha256", *rows]))
        (folder / "history.csv").write_text("phase,epoch,train_loss,valid_loss,accuracy\nfrozen,1,0.6,0.7,0.5\n")
        (folder / "config.toml").write_text(to_toml(resolve({"data": Path("pictures")})))
        (folder / "learning_curve.png").write_bytes(png())
        (folder / "model.onnx").write_bytes(model_of(labels))
        answers = np.full((EACH * len(labels), len(labels)), 1 / len(labels), np.float32)
        np.save(folder / "answers.npy", answers)
        return folder

    return written


MORE = """
from finetune.hookspecs import hookimpl
from finetune.types import Figure, Paragraph, ReportSection, Table


@hookimpl
def finetune_register_sections(register):
    register(ReportSection(name="more", title="More <of> it", build="finetune_more:build"))


def build(records):
    {does}
"""


@pytest.fixture
def section(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Install a plugin with one section, whose function is given."""

    def installed(does: str) -> None:
        monkeypatch.syspath_prepend(install("more", MORE.format(does=does)))
        monkeypatch.delitem(sys.modules, "finetune_more", raising=False)

    return installed
