"""A signal ends a command, wherever it comes."""

from __future__ import annotations

import subprocess
import sys

import pytest

LOST = """
import signal, threading
from finetune_export.cli.ending import exit_with

class Lost:
    def __del__(self):
        signal.raise_signal(signal.{name})

def command():
    Lost()
    threading.Event().wait(60)

exit_with(command, "finetune")
"""


@pytest.mark.parametrize(("name", "status", "said"), [("SIGTERM", 143, "terminated."), ("SIGINT", 130, "interrupted.")])
def test_a_signal_that_comes_where_exceptions_are_ignored_is_not_lost(name: str, status: int, said: str) -> None:
    ended = subprocess.run([sys.executable, "-c", LOST.format(name=name)], capture_output=True, text=True, timeout=50)
    assert (ended.returncode, ended.stderr) == (status, f"finetune: {said}\n")
