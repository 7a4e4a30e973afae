"""Measured in a process of its own: pictures in files to predictions, one after the other, and nothing around it.

Takes a model, and a file with the pictures' paths, a line each.
"""

from __future__ import annotations

import sys
from pathlib import Path

from finetune_export import Predictor


def main() -> None:
    """Classify every file."""
    predictor = Predictor(sys.argv[1], threads=1)
    for name in Path(sys.argv[2]).read_text(encoding="utf-8").splitlines():
        probabilities, _ = predictor.run(predictor.pixels(name)[None])
        predictor.prediction(name, probabilities[0])


if __name__ == "__main__":
    main()
