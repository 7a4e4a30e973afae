"""What a distribution says about itself: name, version, licence, and where it comes from."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from finetune_export.cli.output import CONTROL

if TYPE_CHECKING:
    from importlib.metadata import Distribution, PackageMetadata

UNKNOWN = "unknown"
LOCAL = "local folder"
"""The origin of what was installed from this machine: its path is nobody else's business."""
MOST_CHARACTERS = 200

_CLASSIFIER = "License :: "
_LABELS = ("source", "sourcecode", "repository", "github", "code", "homepage")
"""Labels of project URLs that lead to the source, as the packaging standard writes them, the best first."""
_LONGEST_LICENCE = 80


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a distribution says about itself; what it does not say is "unknown"."""

    name: str = UNKNOWN
    version: str = UNKNOWN
    licence: str = UNKNOWN
    origin: str = UNKNOWN


def normalised(name: str) -> str:
    """Return a distribution's name as installers compare it (PEP 503): My_Plugin is my-plugin."""
    return re.sub(r"[-_.]+", "-", name).lower()


def facts_of(distribution: Distribution) -> Facts:
    """Return what an installed distribution says about itself, everything "unknown" where its METADATA is gone.

    Each is one line without control characters, of ``MOST_CHARACTERS`` at most: it is printed, and carried by models.
    """
    return Facts(**{name: _bounded(text) for name, text in asdict(_stated(distribution)).items()})


def _bounded(text: str) -> str:
    plain = CONTROL.sub("", text)
    return (plain if len(plain) <= MOST_CHARACTERS else f"{plain[: MOST_CHARACTERS - 1]}…") or UNKNOWN


def _stated(distribution: Distribution) -> Facts:
    try:
        stated = distribution.metadata  # read once: it is parsed anew each time
    except Exception:  # damaged: whatever the parser made of it
        return Facts(origin=_installed_from(distribution))
    return Facts(
        name=_field(stated, "Name") or UNKNOWN,
        version=_field(stated, "Version") or UNKNOWN,
        licence=_licence(stated),
        origin=_published_at(stated) or _installed_from(distribution),
    )


def _field(stated: PackageMetadata, name: str) -> str:
    return next(iter(_fields(stated, name)), "")


def _fields(stated: PackageMetadata, name: str) -> list[str]:
    return [" ".join(str(value).split()) for value in (stated.get_all(name) or []) if str(value).strip()]


def _licence(stated: PackageMetadata) -> str:
    """Return the licence expression, or else the old field, which may hold a whole licence, or else the classifiers."""
    classifiers = [text.split(" :: ")[-1] for text in _fields(stated, "Classifier") if text.startswith(_CLASSIFIER)]
    old = _field(stated, "License").replace("UNKNOWN", "")  # what setuptools wrote for want of one
    return _field(stated, "License-Expression") or _short(old) or ", ".join(classifiers) or UNKNOWN


def _short(licence: str) -> str:
    return licence if len(licence) <= _LONGEST_LICENCE else f"{licence[:_LONGEST_LICENCE]}…"


def _published_at(stated: PackageMetadata) -> str:
    """Return the project's URL, the one of its source before its homepage; empty without one."""
    urls = {label: url for label, url in _project_urls(stated) if url}
    return next((urls[label] for label in _LABELS if label in urls), "")


def _project_urls(stated: PackageMetadata) -> Iterator[tuple[str, str]]:
    yield "homepage", _public(_field(stated, "Home-page"))
    for text in _fields(stated, "Project-URL"):
        label, _, url = text.partition(",")
        yield "".join(c for c in label.casefold() if c.isalnum()), _public(url.strip())


def _installed_from(distribution: Distribution) -> str:
    """Return where the installer took it from, as ``direct_url.json`` has it (PEP 610)."""
    try:
        url: Any = json.loads(distribution.read_text("direct_url.json") or "{}").get("url")
    except (ValueError, AttributeError, OSError):
        return UNKNOWN
    if not isinstance(url, str):
        return UNKNOWN
    return LOCAL if url.startswith("file:") else _public(url) or UNKNOWN


def _public(url: str) -> str:
    """Return a URL without the names and secrets of who installed it; empty for what is none of the network's."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    if parts.scheme not in ("https", "http", "ssh", "git") or not parts.hostname:
        return ""
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))
