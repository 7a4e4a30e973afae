"""Archives of two small files, and a reporter that keeps what it is told."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.download import Archive

CONTENT = {"cats/tom.txt": b"a cat" * 40, "dogs/rex.txt": b"a dog" * 60}


class Recorder:
    """A reporter that keeps what it is told."""

    def __init__(self) -> None:
        self.titles: list[str] = []
        self.notes: list[str] = []
        self.steps = 0

    def note(self, text: str) -> None:
        self.notes.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.titles.append(title)
        self.total = total

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps += steps
        self.detail = detail

    def figure(self, name: str, value: float, shown: str) -> None:
        pass

    def end(self) -> None:
        self.titles.append("end")


@pytest.fixture
def reporter() -> Recorder:
    return Recorder()


@pytest.fixture
def content() -> dict[str, bytes]:
    """Return what is in an archive unless something else is asked for."""
    return dict(CONTENT)


@pytest.fixture
def packed() -> Callable[..., bytes]:
    """Return the bytes of an archive of the kind that its name says, with these members."""

    def pack(name: str, members: dict[str, bytes] = CONTENT) -> bytes:
        file = io.BytesIO()
        if name.lower().endswith(".zip"):
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for member, content in members.items():
                    archive.writestr(member, content)
        else:
            write_tar(file, name.replace(".tgz", ".tar.gz").partition(".tar.")[2], members)
        return file.getvalue()

    return pack


def write_tar(file: io.BytesIO, compression: str, members: dict[str, bytes]) -> None:
    small_blocks = {"compresslevel": 1} if compression == "bz2" else {}
    with tarfile.open(fileobj=file, mode=f"w:{compression}", **small_blocks) as archive:  # type: ignore[call-overload]
        for member, content in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))


@pytest.fixture
def archive_of() -> Callable[..., Archive]:
    """Return what a publisher says of a file with this content."""

    def described(name: str, content: bytes, **facts: int) -> Archive:
        return Archive(name, len(content), hashlib.sha256(content).hexdigest(), **facts)

    return described


@pytest.fixture
def names_in() -> Callable[[Path], list[str]]:
    """Return the names in a folder, hidden ones too."""
    return lambda folder: sorted(path.name for path in folder.iterdir())
