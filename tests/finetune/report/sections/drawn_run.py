"""The records of a run on pictures that are drawn for it: few, tiny and really there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.report.thumbnails import Thumbnails
from finetune.types import Block, Gallery, Paragraph, Picture, RunRecords, RunResult, Task
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, Preprocessing

SIZE_PX = (24, 16)
SEEN_PX = 12


def draw(path: Path, number: int, size_px: tuple[int, int] = SIZE_PX) -> dict[str, str]:
    """Draw a picture that no other number has; return its place and content as a row of ``split.csv`` has them."""
    colour = tuple(int(value) for value in np.random.default_rng(number).integers(0, 256, 3))
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size_px, colour).save(path)
    name = str(path).encode(errors="backslashreplace").decode()
    return {"path": name, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def drawn(folder: Path, texts: Sequence[str], part: str) -> list[dict[str, str]]:
    """Return the rows of a part, one drawn picture for each text of what it shows."""
    return [
        {"part": part, "label": text, **draw(folder / part / f"{number}.png", number)}
        for number, text in enumerate(texts)
    ]


def records_of(
    rows: Sequence[dict[str, str]], labels: Sequence[str], answers: Any, targets: Any, **others: Any
) -> RunRecords:
    """Return the records of a run with these rows in ``split.csv`` and these answers to its validation pictures."""
    task: Task = others.pop("task", "single-label")
    contract = contract_of(labels, task, others.pop("thresholds", {}))
    nothing: dict[str, Any] = {"options": {}, "versions": {}, "history": (), "verification": (), "shares": ()}
    moved = others.pop("moved", {})
    return RunRecords(
        run=Path("/runs/a run"),
        task=task,
        labels=tuple(labels),
        result=RunResult.__new__(RunResult),  # no section with pictures asks for it
        data=others.pop("data", {}),
        metrics=others.pop("metrics", {}),
        split=tuple(rows),
        paths=tuple(Path(row["path"]) for row in rows if row["part"] == "valid"),
        answers=np.asarray(answers, np.float32).reshape(-1, len(labels)),
        targets=np.asarray(targets, np.int64 if task == "single-label" else np.float32),
        contract=contract,
        pictures=Thumbnails(tuple(rows), contract.preprocessing, moved),
        **nothing,
        **others,
    )


def contract_of(labels: Sequence[str], task: Task = "single-label", thresholds: Any = None) -> Contract:
    return Contract(
        labels=tuple(labels),
        preprocessing=Preprocessing(image_size_px=SEEN_PX, crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3),
        backbone=BackboneOrigin(name="tiny", weights="none", licence="Apache-2.0"),
        dataset=DatasetOrigin(
            **{"name": "drawn", "source": "drawn", "licence": "CC0-1.0", "fingerprint": "0" * 64},
            **{"train_images": 1, "valid_images": 1},
        ),
        run_id="a-run",
        metrics={},
        versions={},
        task=task,
        thresholds=thresholds or {},
    )


def galleries(blocks: Iterable[Block]) -> list[Gallery]:
    return [block for block in blocks if isinstance(block, Gallery)]


def captions(blocks: Iterable[Block]) -> list[str]:
    return [gallery.caption for gallery in galleries(blocks)]


def pictures(blocks: Iterable[Block]) -> list[Picture]:
    return [picture for gallery in galleries(blocks) for picture in gallery.pictures]


def paragraphs(blocks: Iterable[Block]) -> list[str]:
    return [f"{block.text} {block.command}".strip() for block in blocks if isinstance(block, Paragraph)]
