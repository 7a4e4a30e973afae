"""How the process of a command behaves towards the machine; to be said before torch is loaded."""

from __future__ import annotations

import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGEST_KEPT_BYTES = 2**30


def let_idle_threads_sleep() -> None:
    """Let idle threads of torch sleep instead of spinning.

    On a machine that has other work to do, our own decoders included, spinning costs most of the speed (BENCHMARKS.md).
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> None:
    """Let the C library keep large blocks that were freed, for the next training step, where it is glibc.

    Otherwise it gives every large tensor back, and a fifth of the processor's time goes into the kernel's handing
    out the same memory again (BENCHMARKS.md).
    """
    import ctypes

    if os.name != "posix":
        return
    library = ctypes.CDLL(None)
    if hasattr(library, "gnu_get_libc_version"):
        library.mallopt(_M_MMAP_THRESHOLD, _LARGEST_KEPT_BYTES)
        library.mallopt(_M_TRIM_THRESHOLD, _LARGEST_KEPT_BYTES)
