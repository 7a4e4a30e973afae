"""What this process has of its machine: the cores it may use, and the memory that it gives back."""

from __future__ import annotations

import ctypes
import os


def cores() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def give_back_freed_memory() -> None:
    """Return freed memory to the system where the C library is glibc, which would hold on to it.

    Opening a model frees about as much as it keeps, and a service stays as large as it was at its start.
    """
    library = ctypes.CDLL(None) if os.name == "posix" else None
    if library is not None and hasattr(library, "gnu_get_libc_version"):
        library.malloc_trim(0)
