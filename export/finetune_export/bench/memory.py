"""How much memory this process has taken at most."""

from __future__ import annotations

import sys
from pathlib import Path

_LINUX_STATUS = Path("/proc/self/status")
_LINUX_PEAK = "VmHWM:"


def peak_bytes() -> int | None:
    """Return the most resident memory this process has had, in bytes; None where the system does not tell.

    On Linux, ``getrusage`` counts what the parent had when it started this process; ``VmHWM`` does not.
    """
    if _LINUX_STATUS.is_file():
        lines = _LINUX_STATUS.read_text(encoding="utf-8").splitlines()
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(_LINUX_PEAK))
    if sys.platform == "darwin":
        import resource  # not there on Windows

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return None
