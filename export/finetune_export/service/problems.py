"""What a client is told when a request is refused: a status and one sentence, never a path of this machine."""

from __future__ import annotations

from collections.abc import Mapping

from finetune_export.errors import FinetuneError, ImageError, ImageFault, TimeLimitError

IMAGE_STATUS: Mapping[ImageFault, int] = {
    "format": 415,
    "too large": 413,
    "damaged": 422,
    "shape": 422,
    "unreadable": 422,
}


class Problem(Exception):  # noqa: N818 - RFC 9457's word
    """A request is refused; ``status`` is HTTP's, ``text`` one line for the client, ``headers`` go with the answer."""

    def __init__(self, status: int, text: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.text = text
        self.headers = dict(headers or {})


class ClientGoneError(Exception):
    """The client closed its connection; nobody is left to answer."""


class StartError(FinetuneError):
    """The service could not start; ``exit_code`` is that of the cause."""

    def __init__(self, text: str, exit_code: int = 6) -> None:
        super().__init__(text)
        self.exit_code = exit_code


def out_of_memory() -> Problem:
    """Return what a client is told when this machine has no memory for its pictures now."""
    return Problem(503, "there is not enough memory for this now; try again in a moment", {"Retry-After": "1"})


def problem_of(error: FinetuneError) -> Problem:
    """Return what a client may know of an error of the runtime, whose own text can name a file of this machine."""
    if isinstance(error, ImageError):
        return Problem(IMAGE_STATUS[error.kind], error.reason)
    if isinstance(error, TimeLimitError):
        return Problem(504, "the network took too long for these pictures; send fewer at a time")
    return Problem(500, "the network could not answer")
