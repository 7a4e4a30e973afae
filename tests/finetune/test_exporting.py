"""What an earlier attempt exported is removed, and nothing else, whatever its record says."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from finetune.exporting import clear_exports
from finetune.run_folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """Return the folder of a run that was stopped after its first export, beside another run."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "model.onnx").touch()
    run = RunFolder.create(tmp_path, "pets")
    for name in ("model.onnx", "weights.safetensors", "config.toml"):
        (run / name).touch()
    (run / "checkpoints").mkdir()
    (run / "web").mkdir()
    return run


def left(folder: RunFolder, *recorded: object) -> list[str]:
    (folder / "verification.json").write_text(json.dumps([{"file": name} for name in recorded]))
    clear_exports(folder)
    return sorted(path.name for path in folder.path.iterdir())


def test_files_and_folders_that_were_exported_are_removed(folder: RunFolder) -> None:
    kept = ["checkpoints", "config.toml", "verification.json", "weights.safetensors"]
    assert left(folder, "model.onnx", "web", "model.int8.onnx") == kept


@pytest.mark.parametrize(
    "name", ["..", ".", "", "../other", "/", "weights.safetensors", "checkpoints", "config.toml", 7]
)
def test_a_forged_record_removes_nothing_else(folder: RunFolder, name: object) -> None:
    before = sorted([*(path.name for path in folder.path.iterdir()), "verification.json"])

    assert left(folder, name) == before
    assert (folder.path.parent / "other" / "model.onnx").exists()


@pytest.mark.parametrize("content", ["", "{", "7", '[{"no file": 1}]'])
def test_a_record_that_is_damaged_removes_nothing(folder: RunFolder, content: str) -> None:
    (folder / "verification.json").write_text(content)
    clear_exports(folder)
    assert (folder / "model.onnx").exists()
