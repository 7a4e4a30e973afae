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


def breakable(text: str) -> str:
    """Return text as ``escaped`` does, with places to break a line after what joins the words of names and paths.

    It is copied without them. A pipe, a slash and an underscore are never part of what ``escaped`` has put in.
    """
    return re.sub(r"([/|_\\]+)", r"\1<wbr>", escaped(text))


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
