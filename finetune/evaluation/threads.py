"""How many threads a fit may use: one, for all together mostly wait for each other.

The products of a fit are small and many: thousands of them, of milliseconds or less each. For every one OpenBLAS and
OpenMP wake all their threads and wait for the last, which takes longer than the product where other processes have the
cores: fits of 1,200 pictures were 5 to 50 times slower on two threads than on one (``BENCHMARKS.md``).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

MOST_ON_ONE = 1e9
"""Pictures × features × classes up to which one thread takes some tens of milliseconds for a step, and no more."""


@contextmanager
def on_one_thread(multiplications: float = 0) -> Iterator[None]:
    """Let numpy, scipy and scikit-learn compute on one thread, also as a decorator; afterwards as before.

    ``multiplications`` is what one step of the fit takes; beyond ``MOST_ON_ONE`` threads are left as they are. Holds
    for the whole process, and for the thread that asks for it where torch is concerned.
    """
    if multiplications > MOST_ON_ONE:
        yield
        return
    with threadpool_limits(1):
        yield
