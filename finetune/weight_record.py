"""Weight records in ``.safetensors`` files: read and held against the tensors beside them; light, and before torch.

A file may come from anybody. It is read within limits, whatever it holds is checked, and it names no code: only the
architecture, under the name that it is registered by.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlparse
from urllib.request import url2pathname

from finetune.config.checks import problem_of
from finetune.errors import ModelError
from finetune.evaluation.catalogue import HEADLINE
from finetune.types import Backbone, WeightRecord, Weights
from finetune_export import strict_json

METADATA_KEY = "finetune.weights"
"""Under which the metadata of a file of weights hold its record, as JSON."""
SCHEMA = 1

_LARGEST_HEADER_BYTES = 16 * 2**20  # of ten thousand tensors it has two; read as JSON, it takes many times its length
_LARGEST_RECORD_CHARACTERS = strict_json.MAX_CHARACTERS
_METADATA = "__metadata__"
_HEAD_PREFIX = "head."
_ROOM = "finetune.networks.recorded"
_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_SAID = 120
_LARGEST_PX = 4096
_LARGEST_COUNT = 2**63 - 1
_BLOCK = 2**20
_AGAIN = "Copy it again, or pretrain it anew."
_INSTALL = "Install the plugin again that offers the weights."


@dataclass(frozen=True)
class _Tensor:
    """What a header says of a tensor; ``data_offsets`` are its first byte, and the one after its last."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def read_record(path: Path, remedy: str = "") -> WeightRecord | None:
    """Return the record in a ``.safetensors`` file, of which only the header is read; None where it has no record.

    Raises ``ModelError`` for a file that is damaged, a record that is not whole, and one of a newer schema; with the
    ``remedy``, where the usual ones are of no use.
    """
    with _reading(path, remedy), path.open("rb") as file:
        metadata = _metadata(_header(file))
    text = metadata.get(METADATA_KEY)
    return None if text is None else from_text(text, str(path), remedy)


def from_text(text: str, what: str, remedy: str = "") -> WeightRecord:
    """Return the record that ``to_text`` wrote; raise ``ModelError`` about ``what`` for anything else."""
    where, remedy = f"The weight record of {what}", remedy or _AGAIN
    if len(text) > _LARGEST_RECORD_CHARACTERS:
        raise ModelError(
            f"{where} has {len(text)} characters; at most {_LARGEST_RECORD_CHARACTERS} are allowed. {remedy}"
        )
    try:
        facts = _of_this_schema(strict_json.loads(text), where)
        record = _built(facts)
        to_text(record).encode()  # what cannot be encoded could not be shown, either
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} is damaged: {reason_of(error)}. {remedy}") from error
    for name, is_right, allowed in _facts(record):
        if not is_right:
            raise ModelError(f"{where} is damaged: its {name} is not {allowed}. {remedy}")
    return record


def to_text(record: WeightRecord) -> str:
    """Return a record as the JSON that a file's metadata hold."""
    return json.dumps({"schema": SCHEMA, **dataclasses.asdict(record)}, ensure_ascii=False)


def _of_this_schema(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict) or type(value.get("schema")) is not int or value["schema"] < 1:
        raise ValueError("it is no JSON object with a schema")
    if value["schema"] > SCHEMA:
        raise ModelError(
            f"{where} has the schema {value['schema']}, and this finetune reads {SCHEMA}: it needs a newer finetune."
        )
    return {name: fact for name, fact in value.items() if name != "schema"}


def _built(facts: dict[str, Any]) -> WeightRecord:
    """Return the record of these facts; raise ``ValueError`` with the first that is missing, too many or ill-typed."""
    names = [field.name for field in dataclasses.fields(WeightRecord)]
    if strange := [name for name in facts if name not in names]:
        raise ValueError(f"it has no key {json.dumps(one_line(strange[0]))}")
    if missing := [name for name in names if name not in facts]:
        raise ValueError(f'its key "{missing[0]}" is missing')
    try:
        record: WeightRecord = strict_json.build(WeightRecord, facts, "record")
    except ModelError as error:
        raise ValueError(str(error)) from error
    return record


def _facts(record: WeightRecord) -> Iterator[tuple[str, bool, str]]:
    """Yield of each field that has more than a type whether it is as it has to be, and how that is."""
    for name in ("name", "architecture"):
        yield name, getattr(record, name) != "", "text"
    for name, option in (("image_size_px", "image_size"), ("crop_fraction", "crop_fraction"), ("seed", "seed")):
        yield name, problem_of(option, getattr(record, name), name) is None, f"what --{option.replace('_', '-')} may be"
    for name in ("min_image_size_px", "image_size_multiple_px"):
        yield name, 1 <= getattr(record, name) <= _LARGEST_PX, f"a number of pixels up to {_LARGEST_PX}"
    for name in ("parameters", "train_images", "valid_images"):
        yield name, 0 <= getattr(record, name) <= _LARGEST_COUNT, "a count"
    yield "mean", all(0 <= value <= 1 for value in record.mean), "within 0 and 1"
    yield "std", all(0 < value <= 1 for value in record.std), "over 0 and up to 1"
    yield "labels", "" not in record.labels and len(set(record.labels)) == len(record.labels) > 0, "a list of names"
    yield "sha256", _SHA256.fullmatch(record.sha256) is not None, "64 hexadecimal digits"


# ── the tensors ─────────────────────────────────────────────────────────────────────────────────────


def check_record(path: Path, record: WeightRecord) -> None:
    """Read a whole file, and raise ``ModelError`` unless its tensors and its record are those that were written.

    Their hash has to be the record's, and the head has to have one output for each of its labels.
    """
    with _reading(path), path.open("rb") as file:
        sha256, outputs = _told(file, record)
    _refuse_unlike(record, sha256, outputs, str(path))


def check_content(content: bytes, record: WeightRecord, what: str) -> None:
    """Hold the content of a file against its record as ``check_record`` does."""
    with _reading(what):
        sha256, outputs = _told(io.BytesIO(content), record)
    _refuse_unlike(record, sha256, outputs, what)


def _refuse_unlike(record: WeightRecord, sha256: str, outputs: int, what: str) -> None:
    if sha256 != record.sha256:
        raise ModelError(
            f"{what} is damaged or was changed: the SHA-256 of its tensors and facts begins {sha256[:16]}, and its "
            f"record says {record.sha256[:16]}. {_AGAIN}"
        )
    if outputs != len(record.labels):
        raise ModelError(
            f"{what} is damaged: its head has {outputs} outputs, and its record names {len(record.labels)} labels. "
            f"{_AGAIN}"
        )


def record_sha256(content: bytes, record: WeightRecord) -> str:
    """Return the hash of a ``.safetensors`` file's tensors and of a record as it is read, whatever the file's metadata.

    It is of the tensors' names, types, shapes and bytes, and of all that the record says but the hash itself, as JSON
    with sorted keys. Raises ``ModelError`` for content that is damaged or something else.
    """
    with _reading("The content"):
        return _told(io.BytesIO(content), record)[0]


def _told(file: BinaryIO, record: WeightRecord) -> tuple[str, int]:
    """Return the hash of a whole file and its record, read block by block, and the number of outputs of its head."""
    tensors = _tensors(file)
    return _sha256(tensors, file, record), _outputs(tensors)


def _sha256(tensors: Mapping[str, _Tensor], file: BinaryIO, record: WeightRecord) -> str:
    facts = {name: fact for name, fact in dataclasses.asdict(record).items() if name != "sha256"}
    begin, found = file.tell(), hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(json.dumps([name, tensor.dtype, tensor.shape]).encode())
        first, last = tensor.data_offsets
        file.seek(begin + first)
        for left in range(last - first, 0, -_BLOCK):
            found.update(file.read(min(left, _BLOCK)))
    return found.hexdigest()


def _outputs(header: Mapping[str, _Tensor]) -> int:
    """Return the length of what the head's last layer answers; 0 where there is no head."""
    layers = [name for name, tensor in header.items() if name.startswith(_HEAD_PREFIX) and len(tensor.shape) == 2]
    last = max(layers, key=lambda name: [int(number) for number in re.findall("[0-9]+", name)], default=None)
    return header[last].shape[0] if last else 0


def _tensors(file: BinaryIO) -> dict[str, _Tensor]:
    """Return what the header says of each tensor, with the file where the first begins.

    Raises ``ValueError`` where the header and what comes after it do not fit.
    """
    header, data_bytes = _header(file), _bytes_of(file) - file.tell()
    _metadata(header)
    tensors = {name: strict_json.build(_Tensor, said, name) for name, said in header.items() if name != _METADATA}
    end = 0
    for first, last in sorted(tensor.data_offsets for tensor in tensors.values()):
        if first != end or last < first:
            raise ValueError("its tensors overlap, or leave something between them")
        end = last
    if end != data_bytes:
        raise ValueError(f"its tensors have {end} bytes, and {data_bytes} are there")
    return tensors


# ── headers ─────────────────────────────────────────────────────────────────────────────────────────


def _header(file: BinaryIO) -> dict[str, Any]:
    """Read the header from the begin of a file; raise ``ValueError`` for one that is damaged, or too long to read."""
    prefix = file.read(8)
    size = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or size > _bytes_of(file) - 8:
        raise ValueError("its header is not whole")
    if size > _LARGEST_HEADER_BYTES:
        raise ValueError(f"its header has {size} bytes, and at most {_LARGEST_HEADER_BYTES} are read")
    value = strict_json.loads(file.read(size).decode())
    if not isinstance(value, dict):
        raise ValueError("its header is no JSON object")
    return value


def _bytes_of(file: BinaryIO) -> int:
    here, end = file.tell(), file.seek(0, os.SEEK_END)
    file.seek(here)
    return end


def _metadata(header: Mapping[str, Any]) -> dict[str, str]:
    found = header.get(_METADATA, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its metadata are no texts by name")
    return found


@contextlib.contextmanager
def _reading(what: Path | str, remedy: str = "") -> Iterator[None]:
    try:
        yield
    except OSError as error:
        why = error.strerror or error
        raise ModelError(f"Cannot read {what}: {why}. {remedy or 'Check the path.'}") from error
    except (ModelError, ValueError, RecursionError) as error:
        why = reason_of(error)
        raise ModelError(f"{what} is damaged or no safetensors file: {why}. {remedy or 'Copy it again.'}") from error


# ── words ───────────────────────────────────────────────────────────────────────────────────────────


def pretraining(record: WeightRecord) -> str:
    """Return what a network was pretrained on, in words: 'dogs: drawn (100 pictures of 12 classes, accuracy 93.1%)'."""
    kind = "classes" if record.task == "single-label" else "labels"
    facts = [f"{record.train_images} pictures of {len(record.labels)} {kind}"]
    headline = HEADLINE[record.task]
    if headline in record.metrics:
        value = record.metrics[headline]
        facts.append(f"{headline} {value:.3f}" if record.task == "regression" else f"{headline} {value:.1%}")
    # That it was 'a local folder' tells nobody which.
    named = record.dataset if record.source.startswith("a local ") else f"{record.dataset}: {record.source}"
    return f"{one_line(named)} ({', '.join(facts)})"


def one_line(text: str) -> str:
    """Return a text of a record in one line of bounded length, for a sentence."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"


def reason_of(error: BaseException) -> str:
    """Return what an error says in one line; its type where it says nothing."""
    return one_line(str(error)) or type(error).__name__


# ── plugins that carry one ──────────────────────────────────────────────────────────────────────────


def carried(backbone: Backbone) -> Path | None:
    """Return the file that a backbone of ``backbone_of`` carries, whether it is there or not; None for any other."""
    if backbone.build != f"{_ROOM}:build" or backbone.weights is None:
        return None
    return place_of(backbone.weights)


def carried_record(backbone: Backbone) -> WeightRecord | None:
    """Return the record in the file that a plugin's backbone carries; None where it carries none.

    Raises as ``read_record`` does, and asks for the plugin again: whoever installed it has no other file to copy.
    """
    place = carried(backbone)
    return read_record(place, _INSTALL) if place else None


def place_of(weights: Weights) -> Path:
    """Return where the file of carried weights is, or should be."""
    return Path(url2pathname(urlparse(weights.url).path))


def backbone_of(path: Path, *, name: str, sha256: str) -> Backbone:
    """Return the backbone ``name`` of a plugin that carries a file with a record; for its hooks, and light.

    ``sha256`` is the whole file's, as the plugin states it: the weights are held against it when they are loaded.
    Raises ``ModelError`` as ``carried_record`` does, and for a file without a record.
    """
    record = read_record(path, _INSTALL)
    if record is None:
        raise ModelError(f"{path} has no weight record. Carry a file that 'finetune pretrain' wrote.")
    weights = Weights(
        name=record.name,
        url=path.absolute().as_uri(),
        sha256=sha256,
        licence=record.licence,
        source=f"a pretraining on {pretraining(record)}",
        fetch=f"{_ROOM}:fetch",
        find=f"{_ROOM}:find",
    )
    return Backbone(
        name=name,
        family=record.family,
        summary=f"{one_line(record.architecture)}, pretrained on {one_line(record.dataset)}",
        build=f"{_ROOM}:build",
        parameters=record.parameters,
        image_size_px=record.image_size_px,
        min_image_size_px=record.min_image_size_px,
        image_size_multiple_px=record.image_size_multiple_px,
        crop_fraction=record.crop_fraction,
        mean=record.mean,
        std=record.std,
        weights=weights,
    )
