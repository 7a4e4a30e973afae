"""What belongs to the whole process, put back after a plugin was loaded, and said."""

from __future__ import annotations

import contextlib
import os
import random
import sys
from collections.abc import Iterator

MOVED = "it changed the working directory while it was loaded, which"
SEEDED = "it changed the state of Python's random numbers while it was loaded, which was put back"


class PluginWarning(UserWarning):
    """Something about a plugin that its user should know, and that does not keep it from working."""


@contextlib.contextmanager
def kept_surroundings() -> Iterator[list[str]]:
    """Put the working directory and Python's random state back afterwards; yield a list, which then says what was.

    What Python code prints meanwhile goes to stderr, for stdout carries results only; what libraries in C write to the
    file descriptor of stdout does not. Nothing is raised but what is raised inside.
    """
    folder, state, said = _working_directory(), random.getstate(), list[str]()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield said
    finally:
        if folder and _working_directory() != folder:
            said.append(f"{MOVED} {_went_back(folder)}")
        if random.getstate() != state:
            random.setstate(state)
            said.append(SEEDED)


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - as text, for it may be gone
    except OSError:
        return None


def _went_back(folder: str) -> str:
    try:
        os.chdir(folder)
    except OSError as error:
        return f"could not be put back: {error.strerror}: '{folder}'"
    return "was put back"
