"""What a plugin's code may not change behind its host's back, and what only the interpreter sees it do.

A plugin shares its process with others, and with training that has to come out the same twice. So its code leaves as
they were: the working directory, ``os.environ``, ``sys.path``, signal handlers, the state of ``random`` and of numpy's
global generator, the filters of ``warnings``, the root logger, and the functions of the standard library and of
finetune. Give ``random.Random(seed)`` or ``numpy.random.default_rng(seed)`` a seed of your own instead.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import socket
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

LOOPBACK = ("127.0.0.1", "::1", "localhost")
_WATCHED = sys.stdlib_module_names | {"finetune", "finetune_export"}
"""The packages whose functions are watched."""
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_NO_FILES = ("/dev/", "/proc/")
_CHILDREN = ("subprocess.Popen", "os.system", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn", "os.exec")


@dataclass(frozen=True)
class Surroundings:
    """The process at one moment: what is around a plugin's code, by what people call it.

    ``facts`` are compared by value, ``functions`` by identity.
    """

    facts: Mapping[str, object]
    functions: Mapping[str, object]

    @classmethod
    def now(cls) -> Surroundings:
        """Look at them."""
        return cls(facts=dict(_facts()), functions=dict(_functions()))

    def changes(self, before: Surroundings) -> list[str]:
        """Return what is no longer as it was ``before``, each in a few words."""
        old, new = before.facts, self.facts
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name) and _was_seen(name, old)]
        return [*changed, *self.replaced(before)]

    def replaced(self, before: Surroundings) -> list[str]:
        """Return the functions that are not those from ``before``."""
        return [name for name, function in before.functions.items() if self.functions.get(name) is not function]


def _was_seen(name: str, before: Mapping[str, object]) -> bool:
    return name in before or name.startswith("os.environ")  # numpy's generator is new where numpy was not there


def _facts() -> Iterator[tuple[str, object]]:
    yield "the working directory", os.getcwd()  # noqa: PTH109 - Path.cwd would say the same
    yield from ((f"os.environ['{name}']", value) for name, value in os.environ.items())
    yield "sys.path", list(sys.path)
    for number in signal.valid_signals():
        yield f"the handler of {_name_of(number)}", signal.getsignal(number)
    yield "the state of random", random.getstate()
    if "numpy" in sys.modules:
        name, keys, *rest = sys.modules["numpy"].random.get_state()
        yield "the state of numpy.random", (name, keys.tobytes(), *rest)
    yield "warnings.filters", list(warnings.filters)
    yield "the root logger", (logging.root.level, list(logging.root.handlers))


def _name_of(number: int) -> str:
    return number.name if isinstance(number, signal.Signals) else f"signal {number}"


def _functions() -> Iterator[tuple[str, object]]:
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _WATCHED and isinstance(module, ModuleType):
            for attribute, value in list(vars(module).items()):
                if callable(value) and not attribute.startswith("_"):
                    yield f"{name}.{attribute}", value
                    yield from _methods(value)


def _methods(value: object) -> Iterator[tuple[str, object]]:
    if isinstance(value, type):
        for name, method in list(vars(value).items()):
            if isinstance(method, FunctionType):
                yield f"{value.__module__}.{value.__qualname__}.{name}", method


def threads() -> list[str]:
    """Return the names of the threads beside the main one that run now."""
    return [thread.name for thread in threading.enumerate() if thread is not threading.main_thread()]


class Watch:
    """What this process does from now on: files it writes, children it starts, addresses it asks for.

    It is an audit hook, which stays until the process ends. The network beyond this machine is as if the cable were
    pulled. ``before_file`` is called with the path before a file is opened to be written.
    """

    def __init__(self, before_file: Callable[[Path], None] | None = None) -> None:
        self.written: list[Path] = []
        self.children: list[str] = []
        self.asked: list[str] = []
        self._before_file = before_file
        sys.addaudithook(self._see)

    def _see(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str | bytes | os.PathLike) and flags & _WRITING:
                self._write(path, self._before_file)
        elif event in ("os.mkdir", "os.rename", "os.symlink", "os.link"):
            self._write(arguments[event != "os.mkdir"])
        elif event in _CHILDREN:
            self.children.append(_child(arguments))
        elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
            refuse_name(arguments[0], self.asked)
        elif event == "socket.connect":
            connection, address = arguments
            refuse_address(connection, address, self.asked)

    def _write(self, path: str | bytes | os.PathLike[Any], before: Callable[[Path], None] | None = None) -> None:
        file = Path(os.path.abspath(os.fsdecode(path)))  # noqa: PTH100 - a link is written as itself
        if not str(file).startswith(_NO_FILES):
            if before:
                before(file)
            self.written.append(file)


def refuse_name(host: object, asked: list[str]) -> None:
    """Add a host beyond this machine to those that were ``asked`` for, and fail as if the cable were pulled."""
    name = host.decode() if isinstance(host, bytes) else host
    if name not in (None, "", *LOOPBACK):
        asked.append(str(name))
        raise socket.gaierror(socket.EAI_AGAIN, f"there is no network while a plugin is checked: {name}")


def refuse_address(connection: socket.socket, address: Any, asked: list[str]) -> None:
    """Do the same for an address that a connection is made to."""
    if connection.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
        asked.append(str(address[0]))
        raise ConnectionRefusedError(f"there is no network while a plugin is checked: {address[0]}")


def _child(arguments: tuple[Any, ...]) -> str:
    """Return the words of what is started, as far as the event tells them."""
    words = next((a for a in reversed(arguments[:2]) if isinstance(a, list | tuple | str | bytes)), ())
    listed = [words] if isinstance(words, str | bytes) else words
    return " ".join(os.fsdecode(word) for word in listed) or "a fork of itself"
