"""A plugin's code in this process, while the kit calls it: no network, folders of its own, notes of what it did."""

from __future__ import annotations

import contextlib
import io
import os
import random
import shutil
import signal
import socket
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from finetune.testing.surroundings import Surroundings, refuse_address, refuse_name

CACHES = ("XDG_CACHE_HOME", "TORCH_HOME", "HF_HOME", "TMPDIR")
"""Variables that say where caches and temporary files go."""


@dataclass
class Watched:
    """What a plugin's code did while it was watched; filled in when the watch ends.

    ``stdout`` and ``stderr`` are what it printed, ``called`` the hosts that it tried to reach, ``left`` the files that
    it left in the working folder, in caches and among temporary files, and ``changed`` what of the process it left
    other than it was, ``replaced`` the functions among it; ``drew`` is whether it took numbers from
    torch's random generator, or seeded it.
    """

    stdout: str = ""
    stderr: str = ""
    called: tuple[str, ...] = ()
    left: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    replaced: tuple[str, ...] = ()
    drew: bool = False


@contextlib.contextmanager
def sheltered(seed: int = 0) -> Iterator[tuple[list[str], Path]]:
    """Run a plugin's code with torch seeded, without a network, in folders of its own; put back what it changed.

    Yields the hosts that it tried to reach, and what its folders are in. Warnings are not judged: whether they are
    shown, or raised, is for whoever runs the kit to say.
    """
    with _put_back(), pulled_network() as called, _own_folders() as root, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        yield called, root


@contextlib.contextmanager
def watched(seed: int = 0) -> Iterator[Watched]:
    """Run a plugin's code ``sheltered``, and note what it does; looking at the whole process takes half a second."""
    found, out, err = Watched(), io.StringIO(), io.StringIO()
    with sheltered(seed) as (called, root):
        before, settings, state = Surroundings.now(), _settings(), torch.get_rng_state()
        try:
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                yield found
        finally:
            found.stdout, found.stderr, found.called = out.getvalue(), err.getvalue(), tuple(dict.fromkeys(called))
            set_otherwise = [name for name, value in _settings().items() if value != settings[name]]
            after = Surroundings.now()
            found.changed, found.replaced = (*after.changes(before), *set_otherwise), tuple(after.replaced(before))
            found.drew = not torch.equal(torch.get_rng_state(), state)
            found.left = tuple(sorted(str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()))


def changes(first: Watched, second: Watched) -> list[str]:
    """Return what of the process a function changes, of two calls of it.

    The first call imports libraries, which may change much, as onnxruntime.quantization does with ``sys.path``; so the
    second tells. Only functions are of the first as well: nobody puts them back in between.
    """
    return list(dict.fromkeys((*first.replaced, *second.changed)))


def first_line(text: str) -> str:
    """Return the beginning of what was printed, on one line."""
    return " ".join(text.split())[:100]


@contextlib.contextmanager
def pulled_network() -> Iterator[list[str]]:
    """Let nothing leave this machine, as if its cable were pulled; yields the hosts that were tried."""
    resolve, connect = socket.getaddrinfo, socket.socket.connect
    tried: list[str] = []

    def resolve_here(host: Any, *args: Any, **options: Any) -> Any:
        refuse_name(host, tried)
        return resolve(host, *args, **options)

    def connect_here(self: socket.socket, address: Any) -> None:
        refuse_address(self, address, tried)
        connect(self, address)

    with mock.patch("socket.getaddrinfo", resolve_here), mock.patch("socket.socket.connect", connect_here):
        yield tried


@contextlib.contextmanager
def _own_folders() -> Iterator[Path]:
    """Give the code an empty working folder, empty caches and a place for temporary files; yields what they are in."""
    root = Path(tempfile.mkdtemp())
    places = {name: root / name.lower() for name in (*CACHES, "working folder")}
    for place in places.values():
        place.mkdir()
    variables = {name: str(places[name]) for name in CACHES}
    try:
        with mock.patch.dict(os.environ, variables), mock.patch("tempfile.tempdir", variables["TMPDIR"]):
            os.chdir(places["working folder"])
            yield root
    finally:
        shutil.rmtree(root)


def _settings() -> dict[str, Any]:
    return {
        "torch's default type": torch.get_default_dtype(),
        "whether torch records gradients": torch.is_grad_enabled(),
        "torch's number of threads": torch.get_num_threads(),
    }


@contextlib.contextmanager
def _put_back() -> Iterator[None]:
    here, state, numbers = Path.cwd(), random.getstate(), np.random.get_state()
    dtype, recording, threads = _settings().values()
    handlers = {number: signal.getsignal(number) for number in signal.valid_signals()}
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        os.chdir(here)
        random.setstate(state)
        np.random.set_state(numbers)
        torch.set_default_dtype(dtype)
        torch.set_grad_enabled(recording)
        torch.set_num_threads(threads)
        for number, handler in handlers.items():
            if signal.getsignal(number) is not handler:
                signal.signal(number, handler)
