"""Servers that are measured: ours and others, each started for a measurement and ended after it."""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from answers import Answers, Load
from processes import Process, Processes

OURS = [sys.executable, "-m", "finetune_export", "serve"]
READY = re.compile(r"Listening on http://127\.0\.0\.1:(\d+)")
START_LIMIT_S = 60.0


class Server:
    """A server that answers on a port of this machine."""

    def __init__(self, processes: Processes, command: Sequence[str], files: Sequence[Path], form: str = "raw") -> None:
        self._processes = processes
        self._files = [str(file) for file in files]
        self._form = form
        env = {**os.environ, "PYTHONUNBUFFERED": "1"}
        self.process: Process = processes.start(command, env=env)
        found = self.process.wait_until(lambda: READY.search(self.process.written), START_LIMIT_S, "not ready")
        self.port = int(found[1])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self._processes.end(self.process)

    def load(self, **job: Any) -> Load:
        """Put load on the server; see ``load.Job``."""
        return Load(self._processes, port=self.port, files=self._files, form=self._form, **job)

    def answers(self, **job: Any) -> Answers:
        """Put load on the server and return what came back."""
        return self.load(**job).answers()

    def listens(self) -> bool:
        """Whether anything accepts a connection on the port."""
        with socket.socket() as probe:
            probe.settimeout(1)
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def ours(processes: Processes, model: Path, files: Sequence[Path], *options: str) -> Server:
    """Start our service on a free port."""
    return Server(processes, [*OURS, f"model={model}", "--port", "0", *options], files)


def asked(server: Server, picture: Path) -> dict[str, Any]:
    """Return our service's answer to one picture."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", "/predict", picture.read_bytes())
    answer: dict[str, Any] = json.load(connection.getresponse())
    connection.close()
    return answer


def top(body: str) -> tuple[str, float]:
    """Return label and probability of the first prediction in one of our answers."""
    first = json.loads(body)["predictions"][0]
    return first["label"], first["probability"]
