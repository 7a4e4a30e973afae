"""Several worker processes: their answers in the order of the questions, and a new one for each that dies."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

from finetune_export.bulk.answers import Answer, Question
from finetune_export.bulk.sources import Entry
from finetune_export.contract import Contract
from finetune_export.errors import FinetuneError, ModelError, ResourceError

AHEAD = 4  # batches for each process: no worker waits for a slow picture of another one
Batch = Sequence[Entry]


class WorkerDiedError(FinetuneError):
    """A worker process ended in the middle of its work; the text says how."""

    exit_code = 6


def answers(
    batches: Iterable[Batch], question: Question, contract: Contract, processes: int
) -> Generator[list[Answer], None, None]:
    """Yield the answers to each batch, in order; ``processes`` work at the same time, and none is left at the end.

    A worker that dies is replaced, and its pictures are tried again, one at a time. A picture that a worker dies of
    again is answered with that as its error. Raises ``ModelError`` if the file no longer has the ``contract``.
    """
    workers = [_Worker(question, contract) for _ in range(processes)]
    idle: SimpleQueue[_Worker] = SimpleQueue()
    for worker in workers:
        idle.put(worker)
    pool = ThreadPoolExecutor(processes)
    try:
        yield from _in_order(pool, idle, batches, AHEAD * processes)
    finally:
        for worker in workers:
            worker.kill()
        pool.shutdown(cancel_futures=True)
        for worker in workers:
            worker.bury()


def _in_order(
    pool: ThreadPoolExecutor, idle: SimpleQueue[_Worker], batches: Iterable[Batch], most_ahead: int
) -> Iterator[list[Answer]]:
    ahead: deque[Future[list[Answer]]] = deque()
    for batch in batches:
        ahead.append(pool.submit(_ask, idle, batch))
        if len(ahead) > most_ahead:
            yield ahead.popleft().result()
    while ahead:
        yield ahead.popleft().result()


def _ask(idle: SimpleQueue[_Worker], batch: Batch) -> list[Answer]:
    worker = idle.get()
    try:
        return worker.ask(batch)
    except WorkerDiedError:
        return [_ask_again(worker, entry) for entry in batch]
    finally:
        idle.put(worker)


def _ask_again(worker: _Worker, entry: Entry) -> Answer:
    try:
        return worker.ask([entry])[0]
    except WorkerDiedError as death:
        return Answer(entry.path, error=f"the process that worked on it ended twice ({death})")


class _Worker:
    """A place for a worker process, which is started when it is needed, and again after it died."""

    def __init__(self, question: Question, contract: Contract) -> None:
        self._question = question
        self._contract = contract
        self._process: subprocess.Popen[bytes] | None = None
        self._closing = threading.Lock()
        self._closed = False

    def ask(self, batch: Batch) -> list[Answer]:
        """Return the answers to one batch; raise ``WorkerDiedError`` when the process ends instead."""
        process = self._process or self._started()
        answers: list[Answer] = self._exchange(process, batch)
        return answers

    def kill(self) -> None:
        """End the process, for good; what waits for its answer gets ``WorkerDiedError``."""
        with self._closing:
            self._closed = True
            if self._process:
                self._process.kill()

    def bury(self) -> str:
        """Wait for the end of the process, clean up after it, and return how it ended."""
        process, self._process = self._process, None
        if process is None:
            return "never started"
        with contextlib.suppress(OSError), process:  # what could not be sent cannot be flushed
            pass
        return _ending(process.returncode)

    def _started(self) -> subprocess.Popen[bytes]:
        with self._closing:
            if self._closed:
                raise WorkerDiedError("closed")
            process = self._process = _popen()
        try:
            contract = self._exchange(process, self._question)
        except WorkerDiedError as death:
            raise ResourceError(
                f"a worker process ended while it opened the model ({death}); try fewer --processes"
            ) from death
        if contract != self._contract:
            raise ModelError(f"{self._question.model}: the model file was changed while it was at work; run again")
        return process

    def _exchange(self, process: subprocess.Popen[bytes], message: object) -> Any:
        assert process.stdin
        assert process.stdout
        try:
            pickle.dump(message, process.stdin)
            process.stdin.flush()
            reply = pickle.load(process.stdout)
        except (EOFError, OSError, pickle.UnpicklingError) as error:
            raise WorkerDiedError(self.bury()) from error
        if isinstance(reply, Exception):
            raise reply
        return reply


def _popen() -> subprocess.Popen[bytes]:
    start = f"import sys; sys.path[:] = {sys.path!r}; from finetune_export.bulk.worker import main; main()"
    return subprocess.Popen(
        [sys.executable, "-P", "-c", start],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        process_group=0 if os.name == "posix" else None,  # Ctrl-C is for the parent
    )


def _ending(status: int) -> str:
    if status >= 0:
        return f"exit status {status}"
    return f"killed by {signal.Signals(-status).name}"
