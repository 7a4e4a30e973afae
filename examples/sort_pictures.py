"""Copy pictures into one folder per label, with an exported model and no torch (needs finetune-export only).

    python examples/sort_pictures.py model.onnx holiday sorted

Pictures that the model is not sure of go into ``sorted/unsure``, those that cannot be read are named and left out.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from finetune_export import ImageError, Predictor

SURE = 0.8


def sort_pictures(model: Path, pictures: Path, destination: Path) -> list[ImageError]:
    """Copy every file of ``pictures`` to ``destination/<label>``; return why some could not be read."""
    errors: list[ImageError] = []
    files = sorted(path for path in pictures.iterdir() if path.is_file())
    for prediction in Predictor(model).predict(files, errors=errors):
        folder = destination / (prediction.label if prediction.probability >= SURE else "unsure")
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy2(prediction.source, folder)
    return errors


if __name__ == "__main__":
    for error in sort_pictures(*map(Path, sys.argv[1:4])):
        print(error, file=sys.stderr)
