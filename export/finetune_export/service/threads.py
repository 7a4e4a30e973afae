"""Threads that work for one event loop, first come, first served: asyncio's executor at a third of its cost."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass
class Entry:
    """A job that waits for a thread, and the future of its result; the job is dropped as soon as that is done."""

    future: asyncio.Future[Any]
    job: Callable[[], Any] | None

    def drop(self, _: object) -> None:
        """Let go of the job, which holds a picture's file."""
        self.job = None


class Threads:
    """``count`` threads; what waits for them is not bounded here."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._jobs: SimpleQueue[Entry | None] = SimpleQueue()
        for i in range(count):
            threading.Thread(target=self._work, name=f"picture {i}", daemon=True).start()

    def submit(self, job: Callable[[], T]) -> asyncio.Future[T]:
        """Return what ``job`` will return or raise; it does not start if that is cancelled before its turn."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        entry = Entry(future, job)
        future.add_done_callback(entry.drop)
        self._jobs.put(entry)
        return future

    def close(self) -> None:
        """End the threads once they have done what waits."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (entry := self._jobs.get()) is not None:
            future, job = entry.future, entry.job
            if job is not None and not future.cancelled():
                _do(job, future)
            del entry, future, job  # a thread that waits keeps nothing alive


def _do(job: Callable[[], T], future: asyncio.Future[T]) -> None:
    loop = future.get_loop()
    try:
        result = job()
    except BaseException as exc:
        loop.call_soon_threadsafe(_fail, future, exc)
    else:
        loop.call_soon_threadsafe(_finish, future, result)


def _finish(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)


def _fail(future: asyncio.Future[T], exc: BaseException) -> None:
    if not future.done():
        future.set_exception(exc)
