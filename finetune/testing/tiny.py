"""``python -m finetune.testing.tiny FOLDER TASK``: a real run of seconds, whose records sections are tried with."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from finetune.testing.processes import tell

OPTIONS: dict[str, Any] = {
    "backbone": "squeezenet1_1",
    "weights": "none",
    "image_size": 32,
    "batch_size": 4,
    "freeze_epochs": 1,
    "epochs": 1,
    "lr": 0.01,
}
"""Options of a run that takes seconds, in two phases."""
_EACH = 4
"""Pictures of each kind and part."""
_COLUMNS = {"multi-label": ("red", "bright"), "regression": ("redness",)}
"""The columns of the table that say what a picture shows, for tasks that folders cannot say it for."""
_COLOURS = ((220, 40, 40), (40, 60, 220))


def write_pictures(root: Path) -> Path:
    """Write red and blue pictures, in folders by part and label, and a table of what they show; return the folder."""
    import numpy as np
    from PIL import Image

    rows = ["image,split,red,bright,redness"]
    for part in ("train", "valid"):
        for kind, label in enumerate(("red", "blue")):
            (root / part / label).mkdir(parents=True)
            for number in range(_EACH):
                noise = np.random.default_rng([kind, number, part == "valid"]).integers(-35, 36, (40, 40, 3))
                pixels = (np.array(_COLOURS[kind]) + noise).clip(0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(root / part / label / f"{number}.png")
                rows.append(f"{part}/{label}/{number}.png,{part},{1 - kind},{number % 2},{1 - kind + number / 10}")
    (root / "pictures.csv").write_text("\n".join(rows), encoding="utf-8")
    return root


def main(folder: Path, task: str) -> None:
    """Train on pictures in the folder, as the task says, and tell where the run's folder is."""
    from finetune import run

    pictures = write_pictures(folder / "pictures")
    options = OPTIONS
    if task in _COLUMNS:
        pictures, options = pictures / "pictures.csv", {**OPTIONS, "label_col": _COLUMNS[task], "task": task}
    tell({"run": str(run(data=pictures, out=folder / "runs", **options).run)})


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
