"""The errors a user can act on; each carries the exit status that the command line ends with.

Exit statuses: 0 done, 1 internal error, 2 usage or configuration, 3 data, 4 model refused, 5 plugin,
6 environment or resources, 7 diverged, 130 SIGINT, 143 SIGTERM.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

ImageFault = Literal["format", "damaged", "shape", "too large", "unreadable"]
"""What is wrong with a refused picture: not one of the formats, cut off or damaged, of a shape that no picture has,
larger than allowed, or a file that cannot be read."""


class FinetuneError(Exception):
    """A failure the user can act on: its text is one line with the value, what is allowed and the next step."""

    exit_code = 1


class ImageError(FinetuneError):
    """A picture was refused; ``reason`` is the sentence without the picture's name, ``kind`` is for programs."""

    exit_code = 3

    def __init__(self, source: str, reason: str, kind: ImageFault = "damaged") -> None:
        super().__init__(f"{source}: {reason}")
        self.source = source
        self.reason = reason
        self.kind = kind

    def __reduce__(self) -> tuple[type[ImageError], tuple[str, str, ImageFault]]:
        return type(self), (self.source, self.reason, self.kind)


class ModelError(FinetuneError):
    """A model file was refused: it is damaged, foreign, or answers differently from what it promises."""

    exit_code = 4


class UsageError(FinetuneError):
    """Something was asked for in a way that makes no sense; the text says which value is allowed."""

    exit_code = 2


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Put the model file's path in front of what is wrong with it."""
    try:
        yield
    except ModelError as exc:
        raise ModelError(f"{path}: {exc}") from exc


class TimeLimitError(FinetuneError):
    """A run of the network took longer than it may."""

    exit_code = 6


class ResourceError(FinetuneError):
    """The machine lacks something: disk, memory, network, permission, an optional package."""

    exit_code = 6


class RuntimeUnavailableError(FinetuneError):
    """The onnxruntime on this machine lacks what was asked of it."""

    exit_code = 6
