"""Texts and pictures as HTML holds them."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from html import escape

from finetune.report.blocks import PNG


def plain(text: str) -> str:
    """Return text without the characters that no document may hold; they are replaced."""
    return "".join(c if c >= " " or c in "\t\n\r" else "�" for c in text)


def escaped(text: str) -> str:
    """Return text as HTML shows it as it is, between tags and in attributes."""
    return escape(plain(text))


_RIGHT_TO_LEFT = "\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc"
_NAMES = re.compile(rf"[{_RIGHT_TO_LEFT}][{_RIGHT_TO_LEFT}\d_-]*(?:\s+[{_RIGHT_TO_LEFT}][{_RIGHT_TO_LEFT}\d_-]*)*")
_LEFT_TO_RIGHT = re.compile("[A-Za-z]")


def breakable(text: str) -> str:
    """Return text as ``escaped`` does, so that its lines break where its words do, and each script keeps its place.

    A line may end after what joins the words of names and paths: a slash, a pipe and an underscore, which are never
    part of what ``escaped`` has put in. Names that are read from right to left are isolated from a sentence that is
    not, so that they do not turn it around. It is copied without either.
    """
    markup = escaped(text)
    if _LEFT_TO_RIGHT.search(text):
        markup = _NAMES.sub(r"<bdi>\g<0></bdi>", markup)
    return re.sub(r"([/|_\\]+)(?!bdi>)", r"\1<wbr>", markup)


def as_json(value: object) -> str:
    """Return a value as JSON that may stand within a ``script`` element: no text can end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def data_uri(image: bytes) -> str:
    """Return the bytes of a PNG or JPEG file as an address that asks nobody."""
    kind = "png" if image.startswith(PNG) else "jpeg"
    return f"data:image/{kind};base64,{b64encode(image).decode()}"


def size_bytes(markup: str) -> int:
    """Return how many bytes of a file a part of the page takes; what is no UTF-8 is written with backslashes."""
    return len(markup.encode(errors="backslashreplace"))
