"""A worker process: opens the models, answers on the socket it was given, and never outlives its supervisor.

Started as ``python -m finetune_export.service.worker FD``: ``FD`` is the bound socket. Settings come as a line of JSON
on stdin, which stays open as long as the supervisor lives; what it has to say goes to stdout, one JSON line, either
``{"ready": {name: version}}`` or ``{"failed": text, "exit_code": code}``. SIGTERM: finish what was begun and
exit with 0, or with 1 if ``drain_timeout_s`` was not enough. SIGHUP: open the model files again.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import math
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import BinaryIO

import uvicorn

from finetune_export.errors import FinetuneError, ResourceError
from finetune_export.service.admission import Engine
from finetune_export.service.app import create_app
from finetune_export.service.connection import Connection
from finetune_export.service.logs import Log, take_over_logging
from finetune_export.service.metrics import Metrics
from finetune_export.service.models import Models
from finetune_export.service.settings import Settings

BACKLOG = 1024  # connections that the system holds until they are accepted
_PR_SET_PDEATHSIG = 1
_CUT_OFF = 1

Tell = Callable[[Mapping[str, object]], None]  # says something to the supervisor


def main() -> None:
    """Run a worker process."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the server handles it: what starts opens the files anyway
    tell = partial(_tell, os.dup(1))
    os.dup2(2, 1)  # what a library prints is not for the supervisor
    listener = socket.socket(fileno=int(sys.argv[1]))
    stdin = open(0, "rb", buffering=0, closefd=False)  # noqa: SIM115 - kept for the life of the process
    settings = Settings.from_json(stdin.readline())
    _end_with_parent(stdin)
    log = Log()
    take_over_logging(log)
    try:
        status = _serve(settings, listener, log, tell)
    except FinetuneError as exc:
        tell({"failed": str(exc), "exit_code": exc.exit_code})
        status = exc.exit_code
    log.close()
    os._exit(status)  # threads may still be busy with work that nobody waits for


class Server(uvicorn.Server):
    """uvicorn's server, without its signal handling, which would end the process by the signal itself."""

    def __init__(self, config: uvicorn.Config, models: Models, tell: Tell) -> None:
        super().__init__(config)
        self._models = models
        self._tell = tell
        self.was_cut_off = False

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Drain on SIGTERM, look at the model files on SIGHUP."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain)
        loop.add_signal_handler(signal.SIGHUP, self._models.reload)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to accept, and say so."""
        await super().startup(sockets)
        gc.collect()
        gc.freeze()  # what is here now stays; looking through it again and again would hold up answers
        self._tell({"ready": {name: served.version for name, served in self._models.all.items()}})

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Finish what was begun; what takes too long is cut off, and noted."""
        await super().shutdown(sockets)
        self.was_cut_off = bool(self.server_state.tasks)

    def _drain(self) -> None:
        self.should_exit = True


def _serve(settings: Settings, listener: socket.socket, log: Log, tell: Tell) -> int:
    metrics = Metrics()
    models = Models(settings, log, metrics)
    _listen(listener)
    engine = Engine(settings.concurrency, settings.queue, metrics)
    server = Server(_config(settings, create_app(settings, models, engine, metrics, log)), models, tell)
    server.run([listener])
    models.close()
    engine.close()
    return _CUT_OFF if server.was_cut_off else 0


def _config(settings: Settings, app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]
        http=Connection,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout_s),  # 0 would cut everything off
    )


def _listen(listener: socket.socket) -> None:
    """Listen only now that the models are open: until then, a client is told that nobody is there."""
    try:
        listener.listen(BACKLOG)
    except OSError as exc:  # another process was quicker
        raise ResourceError(f"cannot listen on {listener.getsockname()} ({exc.strerror})") from exc


def _tell(descriptor: int, message: Mapping[str, object]) -> None:
    os.write(descriptor, json.dumps(message).encode() + b"\n")


def _end_with_parent(stdin: BinaryIO) -> None:
    """End this process when its supervisor does, however that ends: nothing must stay behind and answer."""

    def watch() -> None:
        while stdin.read(1):
            pass
        os._exit(_CUT_OFF)

    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=watch, name="parent", daemon=True).start()


if __name__ == "__main__":
    main()
