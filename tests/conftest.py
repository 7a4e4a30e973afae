"""What every test stands on: a cache of its own, no network, fixed seeds, and small pictures to train on."""

from __future__ import annotations

import os
import random
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import settings
from PIL import Image

# As the command line has it: on a busy machine, threads that spin while they wait cost most of the speed.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

# A script that starts the tests in its background has them ignored, and every process that a test starts and signals.
for number, handler in ((signal.SIGINT, signal.default_int_handler), (signal.SIGHUP, signal.SIG_DFL)):
    if signal.getsignal(number) is signal.SIG_IGN:
        signal.signal(number, handler)

# No deadline, for a busy machine is no fault; the same examples each time, for a red test has to stay red.
settings.register_profile("finetune", deadline=None, database=None, derandomize=True)
settings.load_profile("finetune")

PROXIES = ("http_proxy", "https_proxy", "all_proxy")
OUR_SWITCHES = (
    "FINETUNE_PLUGINS",
    "FINETUNE_DISABLE_PLUGINS",
    "FINETUNE_DEBUG",
    "FINETUNE_TOKEN",
    "FINETUNE_WEIGHTS_DIR",
)
LOOPBACK = ("127.0.0.1", "::1", "localhost")


@pytest.fixture(autouse=True)
def _own_surroundings(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("TORCH_HOME", str(cache / "torch"))
    for name in (*OUR_SWITCHES, *PROXIES, *(proxy.upper() for proxy in PROXIES)):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing leave this machine; to the code it looks like a cable that was pulled."""
    resolve, connect = socket.getaddrinfo, socket.socket.connect

    def resolve_here(host: Any, *args: Any, **options: Any) -> Any:
        if host in (None, "", *LOOPBACK):
            return resolve(host, *args, **options)
        raise socket.gaierror(socket.EAI_AGAIN, f"tests have no network: {host}")

    def connect_here(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in LOOPBACK:
            raise ConnectionRefusedError(f"tests have no network: {address}")
        connect(self, address)

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    monkeypatch.setattr(socket.socket, "connect", connect_here)


@pytest.fixture(autouse=True)
def _seeds() -> None:
    random.seed(7)
    np.random.seed(7)
    if "torch" in sys.modules:  # most tests are light, and stay so
        sys.modules["torch"].manual_seed(7)


@pytest.fixture(scope="session")
def picture() -> Callable[..., Image.Image]:
    """Draw a picture of a class: its own colour, with noise so that no two seeds look alike."""

    def drawn(kind: int = 0, seed: int = 0, size: tuple[int, int] = (40, 40)) -> Image.Image:
        colour = [(220, 40, 40), (40, 60, 220), (40, 200, 60), (230, 210, 40)][kind % 4]
        noise = np.random.default_rng([kind, seed]).integers(-35, 36, (size[1], size[0], 3))
        return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))

    return drawn


@pytest.fixture
def picture_folder(tmp_path: Path, picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Write a folder of separable pictures, JPEG and PNG in turn, and return its path.

    ``picture_folder(("cat", "dog"), count=4)`` is ``pictures/<class>/…``; with ``parts=("train", "valid")`` it is
    ``pictures/<part>/<class>/…``, with other pictures in each part.
    """

    def written(
        classes: Sequence[str] = ("cat", "dog"),
        count: int = 4,
        parts: Sequence[str] = ("",),
        name: str = "pictures",
        size: tuple[int, int] = (40, 40),
    ) -> Path:
        root = tmp_path / name
        for p, part in enumerate(parts):
            for kind, label in enumerate(classes):
                folder = root / part / label
                folder.mkdir(parents=True)
                for i in range(count):
                    file = folder / f"{i:03}.{'png' if i % 2 else 'jpg'}"
                    picture(kind, seed=1000 * p + i, size=size).save(file)
        return root

    return written


@pytest.fixture
def pictures(picture_folder: Callable[..., Path]) -> Path:
    """Two classes, ``cat`` and ``dog``, of four pictures each."""
    return picture_folder()


@pytest.fixture
def tree() -> Callable[[Path], dict[str, bytes]]:
    """Return every file below a folder with its bytes, to see that nothing was touched."""

    def read(root: Path) -> dict[str, bytes]:
        return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}

    return read
