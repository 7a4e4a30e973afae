"""Puts load on a server and notes every answer; a process of its own, which takes little of the cores it shares.

Reads a ``Job`` as JSON from stdin. Writes the line ``started``, in a burst also ``sent``, and at its end one line of
JSON: a list for each of ``COLUMNS``, and more of the whole. SIGTERM ends it early. Loops:

- ``closed``: each client sends its next request when it has its answer;
- ``open``: requests leave at random moments, ``rate`` a second, whatever comes back (Poisson), so that a server that
  is late cannot slow its clients down; seconds count from the moment at which a request was due;
- ``burst``: each client has one answer on its connection, then all send one request at the same moment.
"""

from __future__ import annotations

import asyncio
import gc
import json
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

from messages import Message, mixed, pictures

COLUMNS = ("began", "seconds", "status", "kind", "right")
NO_ANSWER, HUNG_UP, NO_CONNECTION = 0, -1, -2
"""Instead of a status: the connection broke, we left on purpose, all connections were taken."""
LIMIT_S = 60.0
AGAIN_S = 0.01
MAX_CONNECTIONS = 256
VERSION = b'"version":'


@dataclass(frozen=True, kw_only=True)
class Job:
    """What load to put on which port; ``malformed`` is the share of requests that have to be refused."""

    port: int
    files: list[str]
    target: str = "/predict"
    form: str = "raw"
    loop: str = "closed"
    clients: int = 1
    seconds: float = 1.0
    requests: int | None = None
    rate: float = 0.0
    malformed: float = 0.0
    seed: int = 1

    def messages(self) -> Iterator[Message]:
        """Yield what to send."""
        paths = [Path(file) for file in self.files]
        if self.malformed:
            return islice(mixed(paths, self.target, self.malformed, self.seed), self.requests)
        return islice(cycle(pictures(paths, self.target, self.form)), self.requests)


class Wire(asyncio.Protocol):
    """One connection as long as it lasts."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._received = bytearray()
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None

    def send(self, message: Message) -> asyncio.Future[tuple[int, bytes]]:
        """Send a request and return what will be status and body."""
        self._received.clear()
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(message.data)
        return self._answer

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)  # uvloop's are of a class of their own

    def data_received(self, data: bytes) -> None:
        """Complete the answer, or wait for more."""
        self._received += data
        answer = parsed(self._received)
        if answer and self._answer and not self._answer.done():
            status, body, closes = answer
            if closes:
                self.transport.close()
            self._answer.set_result((status, body))

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell who is waiting."""
        if self._answer and not self._answer.done():
            self._answer.set_exception(ConnectionResetError("closed without an answer"))


class Connection:
    """Asks one thing at a time on a connection that is kept; where it was closed, on a new one."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._wire: Wire | None = None

    async def ask(self, message: Message) -> tuple[int, bytes]:
        """Send a request and return status and body; raise ``OSError`` where there is no answer."""
        wire = await self._open()
        answer = wire.send(message)
        if message.hang_up:
            answer.cancel()
            wire.transport.close()
            return HUNG_UP, b""
        async with asyncio.timeout(LIMIT_S):
            found = await answer
        if message.cut_off:
            wire.transport.close()
        return found

    async def _open(self) -> Wire:
        if self._wire is None or self._wire.transport.is_closing():
            _, self._wire = await asyncio.get_running_loop().create_connection(Wire, "127.0.0.1", self._port)
        return self._wire


def parsed(received: bytearray) -> tuple[int, bytes, bool] | None:
    """Return status, body and whether the server closes the connection; None while something is missing."""
    end = received.find(b"\r\n\r\n")
    if end < 0:
        return None
    head = bytes(received[:end]).lower()
    _, found, after = head.partition(b"content-length:")
    length = int(after.split(b"\r\n", 1)[0]) if found else 0
    if len(received) < end + 4 + length:
        return None
    return int(head[9:12]), bytes(received[end + 4 :]), b"connection: close" in head


@dataclass
class Notes:
    """Every answer, in columns; versions by how often they answered; the first good body of each picture."""

    rows: list[tuple[float, float, int, str, bool]] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)
    bodies: dict[str, str] = field(default_factory=dict)

    async def ask(self, connection: Connection, message: Message, due: float | None = None) -> int:
        """Send a request and note what came back."""
        began = time.monotonic() if due is None else due
        try:
            status, body = await connection.ask(message)
        except (OSError, TimeoutError):
            status, body = NO_ANSWER, b""
            await asyncio.sleep(AGAIN_S)  # a port on which nobody listens would be asked without end
        self.note(began, status, message)
        if status == 200:
            self._read(message, body)
        return status

    def note(self, began: float, status: int, message: Message) -> None:
        """Note an answer, or the lack of one."""
        right = status in message.allowed or status == HUNG_UP
        self.rows.append((began, time.monotonic() - began, status, message.kind, right))

    def _read(self, message: Message, body: bytes) -> None:
        _, found, after = body.partition(VERSION)
        self.versions[after.split(b'"', 2)[1].decode() if found else "none"] += 1
        if message.kind not in self.bodies:
            self.bodies[message.kind] = body.decode(errors="replace")


class Load:
    """A job that is being done."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self.notes = Notes()
        self.messages = job.messages()
        self.stopped = False
        self.deadline = float("inf")

    async def run(self) -> dict[str, Any]:
        """Do the job and return what was noted."""
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop)
        loops: dict[str, Callable[[], Coroutine[Any, Any, None]]]
        loops = {"closed": self._closed, "open": self._open, "burst": self._burst}
        say("started")
        began, cpu = time.monotonic(), time.process_time()
        self.deadline = began + (self.job.seconds if self.job.requests is None else float("inf"))
        await loops[self.job.loop]()
        columns = dict(zip(COLUMNS, map(list, zip(*self.notes.rows, strict=True)), strict=False))
        whole = {"started": began, "cpu_s": time.process_time() - cpu, "ended": time.monotonic()}
        return {**columns, **whole, "versions": self.notes.versions, "bodies": self.notes.bodies}

    def stop(self) -> None:
        """Send nothing more."""
        self.stopped = True

    def _over(self) -> bool:
        return self.stopped or time.monotonic() >= self.deadline

    async def _closed(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self.job.clients)))

    async def _client(self) -> None:
        connection = Connection(self.job.port)
        while not self._over() and (message := next(self.messages, None)):
            await self.notes.ask(connection, message)

    async def _open(self) -> None:
        chance, due = random.Random(self.job.seed), time.monotonic()
        idle, waiting = [Connection(self.job.port) for _ in range(MAX_CONNECTIONS)], set()
        while not self._over() and (message := next(self.messages, None)):
            due += chance.expovariate(self.job.rate)
            await asyncio.sleep(due - time.monotonic())
            if not idle:
                self.notes.note(due, NO_CONNECTION, message)
                continue
            task = asyncio.create_task(self._lent(idle, message, due))
            waiting.add(task)
            task.add_done_callback(waiting.discard)
        await asyncio.gather(*waiting)

    async def _lent(self, idle: list[Connection], message: Message, due: float) -> None:
        connection = idle.pop()  # the one used last: those that were needed once fall asleep
        await self.notes.ask(connection, message, due)
        idle.append(connection)

    async def _burst(self) -> None:
        connections = [Connection(self.job.port) for _ in range(self.job.clients)]
        for connection in connections:
            await connection.ask(next(self.messages))
        asked = [self.notes.ask(connection, next(self.messages)) for connection in connections]
        tasks = [asyncio.create_task(one) for one in asked]
        await asyncio.sleep(0)  # each task runs up to its first wait, which is for the answer
        say("sent")
        await asyncio.gather(*tasks)


def say(line: str) -> None:
    """Write a line for whoever started us."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Do the job on stdin."""
    load = Load(Job(**json.loads(sys.stdin.readline())))
    gc.freeze()
    try:
        import uvloop
    except ImportError:
        run = asyncio.run
    else:
        run = uvloop.run
    run(_said(load))


async def _said(load: Load) -> None:
    # In the loop, which takes the signal to stop: after it, one that comes late would cut the line short.
    say(json.dumps(await load.run()))


if __name__ == "__main__":
    main()
