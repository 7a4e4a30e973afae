"""Measured in a process of its own: the limit, which is every photo decoded once and one forward pass.

Nothing that looks at every photo can be faster. Decoded exactly as for deployment, by as many threads as there are
cores; then the network without its classifier, channels last, 16 pictures at a time (on a processor faster than 32),
in float32 or in bfloat16.

Takes a JSON object as its argument and ends its output with a line of JSON.
"""

from __future__ import annotations

import glob
import json
import os
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from published import MEAN, STD, network
from torch import Tensor

from finetune_export.contract import Preprocessing
from finetune_export.image import PICTURE_SUFFIXES, Pixels, read_pixels

BATCH = 16
SEEN = Preprocessing(image_size_px=224, crop_fraction=0.875, mean=MEAN, std=STD)


def decoded(folder: str) -> list[Pixels]:
    """Return every picture of a folder as the network sees it; the folder may be made of links."""
    found = (Path(path) for path in sorted(glob.glob(f"{folder}/**/*", recursive=True)))  # noqa: PTH207 - follows links
    paths = [path for path in found if path.suffix.lower() in PICTURE_SUFFIXES]
    assert paths, f"no pictures in {folder}"
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(lambda path: read_pixels(path, SEEN), paths))


def normalised(pixels: list[Pixels]) -> Tensor:
    """Return a batch: float32 (N, 3, 224, 224), channels last in memory."""
    mean, std = (torch.tensor(values).reshape(1, 3, 1, 1) for values in (MEAN, STD))
    return torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2).float().div_(255).sub_(mean).div_(std)


def pass_through(body: Any, pixels: list[Pixels], dtype: torch.dtype) -> None:
    """Compute what leaves the network's body for every picture."""
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16):
        for start in range(0, len(pixels), BATCH):
            body(normalised(pixels[start : start + BATCH])).mean((2, 3))


def main() -> None:
    """Decode, compute, and say how long both took."""
    job = json.loads(sys.argv[1])
    model: Any = network(job)
    body = model.features.eval().to(memory_format=torch.channels_last)
    started = time.perf_counter()
    pixels = decoded(job["data"])
    between = time.perf_counter()
    pass_through(body, pixels, getattr(torch, job["dtype"]))
    ended = time.perf_counter()
    parts = {"decoding": between - started, "forward pass": ended - between}
    found = {"training_s": ended - started, "passes": len(pixels), "accuracy": None, "parts": parts}
    sys.stdout.write(f"\n{json.dumps(found)}\n")


if __name__ == "__main__":
    main()
