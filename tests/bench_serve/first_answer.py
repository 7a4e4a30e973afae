"""Measured in a process of its own that sees the runtime and nothing else: one picture, from import to answer.

Takes a model and a picture and writes a line of JSON: seconds of the import, and memory in MB after it, after the
answer, and at most.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def resident_mb() -> float:
    """Return the memory that this process has at this moment (Linux)."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Import, answer, and say what it took."""
    began = time.perf_counter()
    from finetune_export import Predictor

    found = {"import_s": time.perf_counter() - began, "imported_mb": resident_mb()}
    predictor = Predictor(sys.argv[1], threads=1)
    predictor.predict(sys.argv[2])
    found["answered_mb"] = resident_mb()
    from finetune_export.bench.memory import peak_bytes

    found["peak_mb"] = (peak_bytes() or 0) / 1e6
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
