"""Calling a plugin's code: its faults become errors that say whose they are; what Python code prints goes to stderr."""

from __future__ import annotations

import contextlib
import importlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, cast

from finetune.errors import FinetuneError, PluginError

_TERMINATED = 128 + signal.SIGTERM
_PASSING = (FinetuneError, MemoryError)


def load_function(reference: str, what: str) -> Callable[..., Any]:
    """Import ``"package.module:function"``; raise ``PluginError`` naming ``what`` needed it when that fails."""
    module_name, _, function_name = reference.partition(":")
    try:
        with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
            function = getattr(importlib.import_module(module_name), function_name)
    except BaseException as error:  # as in loading: a module may raise anything while it is imported
        if comes_from_the_user(error):
            raise
        raise PluginError(f"{what} cannot be loaded from '{reference}': {reason(error)}") from error
    if not callable(function):
        raise PluginError(f"{what} cannot be loaded from '{reference}': it is not a function")
    return cast(Callable[..., Any], function)


@contextlib.contextmanager
def blaming(what: str) -> Iterator[None]:
    """Run a plugin's code: what it raises becomes a ``PluginError`` about ``what``, and what it prints goes to stderr.

    That is what Python code prints: libraries in C that write to the file descriptor of stdout reach it. Errors that a
    user can act on pass as they are, and so does running out of memory.
    """
    with _blaming(what, *_PASSING), contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
        yield


@contextlib.contextmanager
def blaming_command(what: str) -> Iterator[None]:
    """Run a plugin's command as ``blaming`` does, but what it prints is the result, and goes to stdout.

    A status that it exits with passes as well, and so does a reader of its output that goes away.
    """
    with _blaming(what, *_PASSING, SystemExit, BrokenPipeError):
        yield


@contextlib.contextmanager
def _blaming(what: str, *passing: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except passing:
        raise
    except BaseException as error:  # whatever it is
        if comes_from_the_user(error):
            raise
        raise PluginError(f"{what} failed: {reason(error)}. FINETUNE_DEBUG=1 shows where.") from error


def comes_from_the_user(error: BaseException) -> bool:
    """Whether it is a Ctrl-C or a signal to end, which only happened to arrive while a plugin was loading."""
    return isinstance(error, KeyboardInterrupt) or (isinstance(error, SystemExit) and error.code == _TERMINATED)


def reason(error: BaseException) -> str:
    """Return in one line what an error says, whatever it is."""
    try:
        text = " ".join(str(error).split())
    except Exception:  # an exception that cannot say what it is
        text = ""
    if isinstance(error, PluginError):
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
