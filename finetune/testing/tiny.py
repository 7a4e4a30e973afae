"""``python -m finetune.testing.tiny FOLDER``: a real run of seconds for each task, to try sections with."""

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


def main(folder: Path) -> None:
    """Train on pictures in the folder, once for each task, and tell where the runs' folders are."""
    from finetune import run

    pictures = write_pictures(folder / "pictures")
    runs = {"single-label": run(data=pictures, out=folder / "runs", **OPTIONS)}
    for task, columns in _COLUMNS.items():
        options = {**OPTIONS, "label_col": columns, "task": task}
        runs[task] = run(data=pictures / "pictures.csv", out=folder / "runs", **options)
    tell({task: str(result.run) for task, result in runs.items()})


if __name__ == "__main__":
    main(Path(sys.argv[1]))
