"""Runs of the command line as processes of their own, born from one that has torch loaded already.

Reads one JSON object per line from stdin: ``arguments`` of ``finetune``; ``marker``, the beginning of a line that the
run says (empty: none), or where ``watched`` is the pattern of a file, a text in one that was written since;
``after_s``, how long after that the run gets the ``signals`` (null: never); and the ``limits``, by the names of
``resource``, under which it runs. Answers each with one line: how it ended (exit status, negative for a signal) and
what it said on stderr.
"""

from __future__ import annotations

import json
import os
import resource
import select
import signal
import sys
import time
import traceback
from pathlib import Path
from typing import Any

import finetune.pretraining
import finetune.run
import finetune.targets.onnx_file  # noqa: F401 - loaded once, here
from finetune.cli import main

LOOK_EVERY_S = 0.005


def born(arguments: list[str], limits: dict[str, int]) -> tuple[int, int]:
    """Start ``finetune`` with these arguments; return its process id and where its stderr can be read."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.dup2(writing, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.close(reading)
        signal.signal(signal.SIGINT, signal.default_int_handler)  # as in a terminal, whatever this was started by
        status = 1
        try:
            limit(limits)
            main(arguments)
        except SystemExit as ending:
            status = ending.code if isinstance(ending.code, int) else 1
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    os.close(writing)
    return child, reading


def limit(limits: dict[str, int]) -> None:
    """Set limits of this process; that of its addresses is what it may take beyond those that it has."""
    for name, most in limits.items():
        taken = 4096 * int(Path("/proc/self/statm").read_text().split()[0]) if name == "RLIMIT_AS" else 0
        resource.setrlimit(getattr(resource, name), (most + taken, resource.RLIM_INFINITY))


def contents(pattern: str) -> set[str]:
    """Return what files of a pattern hold."""
    folder, _, name = pattern.partition("*")
    return {path.read_text() for path in Path(folder).glob(f"*{name}")} if pattern else set()


def is_marked(text: str, request: dict[str, Any]) -> bool:
    """Whether a line begins with the marker, or a file holds it."""
    return request["marker"] in text if request["watched"] else text.startswith(request["marker"])


def send(child: int, signals: list[str]) -> None:
    """Send signals in turn; those between SIGSTOP and SIGCONT come at once."""
    for name in signals:
        os.kill(child, getattr(signal, name))
        if name == "SIGSTOP":
            os.waitpid(child, os.WUNTRACED)


def followed(child: int, stderr: int, request: dict[str, Any]) -> dict[str, Any]:
    """Read what a run says, signal it when it is time, and return how it ended."""
    said, deadline, waiting = "", float("inf"), request["after_s"] is not None
    before = contents(request["watched"])
    while True:
        lines = contents(request["watched"]) - before if request["watched"] else said.splitlines()
        if waiting and any(is_marked(line, request) for line in lines):
            waiting, deadline = False, time.monotonic() + request["after_s"]
        if time.monotonic() >= deadline:
            deadline = float("inf")
            send(child, request["signals"])
        pause = LOOK_EVERY_S if waiting and request["watched"] else max(0.0, deadline - time.monotonic())
        ready, _, _ = select.select([stderr], [], [], None if pause == float("inf") else pause)
        if ready:
            if not (data := os.read(stderr, 65536)):
                break
            said += data.decode(errors="replace")
    os.close(stderr)
    _, status = os.waitpid(child, 0)
    return {"status": os.waitstatus_to_exitcode(status), "said": said}


for request in map(json.loads, sys.stdin):
    ending = followed(*born(request["arguments"], request["limits"]), request)
    sys.stdout.write(json.dumps(ending) + "\n")
    sys.stdout.flush()
