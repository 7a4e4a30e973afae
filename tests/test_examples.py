"""The examples are run."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import finetune

EXAMPLES = Path(__file__).parent.parent / "examples"


def test_pictures_are_sorted_and_the_unreadable_one_is_named(picture_folder: Callable[..., Path]) -> None:
    pictures = picture_folder(count=5)
    options = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "epochs": 1}
    model = finetune.run(data=pictures, out=pictures.parent / "runs", **options).onnx
    (pictures / "cat" / "broken.jpg").write_text("no picture")
    destination = pictures.parent / "sorted"
    arguments = [str(model), str(pictures / "cat"), str(destination)]
    script = [sys.executable, str(EXAMPLES / "sort_pictures.py")]
    answer = subprocess.run([*script, *arguments], capture_output=True, text=True, check=True)
    assert "broken.jpg" in answer.stderr
    assert len([path for path in destination.rglob("*") if path.is_file()]) == 5
    assert {path.name for path in destination.iterdir()} <= {"cat", "dog", "unsure"}
