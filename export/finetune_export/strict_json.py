"""Strict JSON for what travels inside a model file: read into dataclasses, with a seal that finds every changed byte.

``parse`` and ``build`` refuse whatever the dataclass does not ask for. ``seal`` appends the sha256 of the text to the
text itself, so a value edited by hand or flipped on a disk is found without a second file.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, NoReturn, Union, get_args, get_origin, get_type_hints

from finetune_export.errors import ModelError

MAX_CHARACTERS = 4 * 2**20
SEAL_KEY = "sha256"
_SEAL_LENGTH = len(f', "{SEAL_KEY}": ""}}') + 64


def seal(payload: dict[str, Any]) -> str:
    """Return ``payload`` (not empty) as JSON whose last key holds the sha256 of the JSON without that key."""
    return _sealed(json.dumps(payload, ensure_ascii=False, allow_nan=False))


def check_seal(text: str, what: str) -> None:
    """Raise ``ModelError`` unless ``text`` is exactly what ``seal`` wrote."""
    if text != _sealed(text[:-_SEAL_LENGTH] + "}"):
        raise ModelError(f"{what}: changed after it was written (its {SEAL_KEY} differs); get the model file again")


def loads(text: str) -> Any:
    """Return the value of a JSON text; raise ``ValueError`` for duplicate keys, NaN and infinity as well."""
    return json.loads(text, object_pairs_hook=_object, parse_constant=_no_constant)


def parse(text: str, what: str) -> dict[str, Any]:
    """Return the JSON object in ``text`` without its seal; refuse duplicate keys, NaN and oversized text."""
    if len(text) > MAX_CHARACTERS:
        raise ModelError(f"{what}: {len(text)} characters; at most {MAX_CHARACTERS} are allowed")
    try:
        value = loads(text)
    except (ValueError, RecursionError) as exc:
        raise ModelError(f"{what}: not valid JSON ({exc}); the model file is damaged, get it again") from exc
    if not isinstance(value, dict):
        raise ModelError(f"{what}: {_show(value)} is not a JSON object")
    value.pop(SEAL_KEY, None)
    return value


def build(hint: Any, value: Any, where: str) -> Any:
    """Return a JSON value as the type that ``hint`` names; raise ``ModelError`` with the key and what is allowed.

    Understands dataclasses, ``str``, ``int``, ``float`` (finite), ``bytes`` (base64), ``X | None``, ``Literal``,
    ``tuple`` and ``dict[str, X]``.
    """
    origin = get_origin(hint)
    if is_dataclass(hint):
        return _build_dataclass(hint, value, where)
    if origin is Literal:
        return _build_literal(hint, value, where)
    if origin in (Union, UnionType):
        (present,) = (each for each in get_args(hint) if each is not NoneType)
        return None if value is None else build(present, value, where)
    if origin is tuple:
        return _build_tuple(hint, value, where)
    if origin is dict:
        items = _expect(value, dict, where, "an object").items()
        return {key: build(get_args(hint)[1], each, f"{where}.{key}") for key, each in items}
    return _SCALARS[hint](value, where)


# ── the types ───────────────────────────────────────────────────────────────────────────────────────


def _build_dataclass(hint: Any, value: Any, where: str) -> Any:
    members = _expect(value, dict, where, "an object")
    names = [each.name for each in fields(hint)]
    if unknown := [key for key in members if key not in names]:
        raise ModelError(f"{where}: unknown key {_show(unknown[0])}; allowed are {', '.join(names)}")
    if missing := [name for name in names if name not in members]:
        raise ModelError(f"{where}: key {_show(missing[0])} is missing; needed are {', '.join(names)}")
    hints = get_type_hints(hint)
    return hint(**{name: build(hints[name], members[name], f"{where}.{name}") for name in names})


def _build_literal(hint: Any, value: Any, where: str) -> Any:
    allowed = get_args(hint)
    if type(value) not in map(type, allowed) or value not in allowed:
        raise _wrong(value, where, " or ".join(map(_show, allowed)))
    return value


def _build_tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    items = _expect(value, list, where, "a list")
    kinds = get_args(hint)
    if kinds[-1] is Ellipsis:
        kinds = (kinds[0],) * len(items)
    if len(items) != len(kinds):
        raise _wrong(value, where, f"a list of {len(kinds)}")
    return tuple(build(kind, item, f"{where}[{i}]") for i, (kind, item) in enumerate(zip(kinds, items, strict=True)))


def _build_str(value: Any, where: str) -> str:
    text: str = _expect(value, str, where, "text")
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise _wrong(value, where, "text in valid Unicode") from exc
    return text


def _build_int(value: Any, where: str) -> int:
    number: int = _expect(value, int, where, "a whole number")
    return number


def _build_float(value: Any, where: str) -> float:
    try:
        number = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise _wrong(value, where, "a finite number")
    return number


def _build_bytes(value: Any, where: str) -> bytes:
    text = _expect(value, str, where, "base64 text")
    try:
        return base64.b64decode(text, validate=True)
    except ValueError as exc:
        raise _wrong(value, where, "base64 text") from exc


_SCALARS: dict[type, Callable[[Any, str], Any]] = {
    str: _build_str,
    int: _build_int,
    float: _build_float,
    bytes: _build_bytes,
}


# ── words ───────────────────────────────────────────────────────────────────────────────────────────


def _expect(value: Any, kind: type, where: str, words: str) -> Any:
    if type(value) is not kind:  # not isinstance: True is no number
        raise _wrong(value, where, words)
    return value


def _wrong(value: Any, where: str, allowed: str) -> ModelError:
    return ModelError(f"{where}: {_show(value)} is not allowed; it has to be {allowed}")


def _show(value: Any) -> str:
    """Return a value as one short line of ASCII JSON."""
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        [(twice, _)] = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"key {_show(twice)} occurs twice")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a finite number")


def _sealed(body: str) -> str:
    digest = hashlib.sha256(body.encode(errors="surrogatepass")).hexdigest()
    return f'{body[:-1]}, "{SEAL_KEY}": "{digest}"}}'
