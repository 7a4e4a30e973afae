"""What belongs to the whole process, put back after a plugin was loaded, and said."""

from __future__ import annotations

import contextlib
import os
import random
import sys
import warnings
from collections.abc import Iterator


class PluginWarning(UserWarning):
    """Something about a plugin that its user should know, and that does not keep it from working."""


@contextlib.contextmanager
def kept_surroundings() -> Iterator[None]:
    """Put the working directory and Python's random state back afterwards; warn where they were changed.

    What is printed meanwhile goes to stderr, for stdout carries results only.
    """
    folder, state = _working_directory(), random.getstate()
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        if folder and _working_directory() != folder:
            os.chdir(folder)
            _warn("it changed the working directory while it was loaded, which was put back")
        if random.getstate() != state:
            random.setstate(state)
            _warn("it changed the state of Python's random numbers while it was loaded, which was put back")


def _working_directory() -> str | None:
    try:
        return os.getcwd()  # noqa: PTH109 - as text, for it may be gone
    except OSError:
        return None


def _warn(text: str) -> None:
    warnings.warn(text, PluginWarning, stacklevel=1)
