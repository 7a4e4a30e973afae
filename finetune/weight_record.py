"""Weight records in ``.safetensors`` files: read and held against the tensors beside them; light, and before torch.

A file may come from anybody. It is read within limits, whatever it holds is checked, and it names no code: only the
architecture, under the name that it is registered by.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse
from urllib.request import url2pathname

from finetune.errors import ModelError
from finetune.types import Backbone, Task, WeightRecord, Weights
from finetune_export import strict_json

METADATA_KEY = "finetune.weights"
"""Under which the metadata of a file of weights hold its record, as JSON."""
SCHEMA = 1

_LARGEST_HEADER_BYTES = 100_000_000  # safetensors reads no larger one either
_LARGEST_RECORD_CHARACTERS = strict_json.MAX_CHARACTERS
_METADATA = "__metadata__"
_HEAD_PREFIX = "head."
_ROOM = "finetune.networks.recorded"
_SHA256 = re.compile("[0-9a-f]{64}")
_LONGEST_SAID = 120
_HEADLINE: dict[Task, str] = {"single-label": "accuracy", "multi-label": "mean-average-precision", "regression": "r2"}


@dataclass(frozen=True)
class _Tensor:
    """What a header says of a tensor; ``data_offsets`` are its first byte, and the one after its last."""

    dtype: str
    shape: tuple[int, ...]
    data_offsets: tuple[int, int]


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def read_record(path: Path) -> WeightRecord | None:
    """Return the record in a ``.safetensors`` file, of which only the header is read; None where it has no record.

    Raises ``ModelError`` for a file that is damaged, a record that is not whole, and one of a newer schema.
    """
    with _reading(path), path.open("rb") as file:
        size = _header_bytes(file.read(8), path.stat().st_size)
        metadata = _metadata(_json(file.read(size)))
    text = metadata.get(METADATA_KEY)
    return None if text is None else from_text(text, str(path))


def from_text(text: str, what: str) -> WeightRecord:
    """Return the record that ``to_text`` wrote; raise ``ModelError`` about ``what`` for anything else."""
    where = f"The weight record of {what}"
    if len(text) > _LARGEST_RECORD_CHARACTERS:
        raise ModelError(
            f"{where} has {len(text)} characters; at most {_LARGEST_RECORD_CHARACTERS} are allowed. Get the file again."
        )
    try:
        value = strict_json.loads(text)
        record: WeightRecord = strict_json.build(WeightRecord, _of_this_schema(value, where), where)
        to_text(record).encode()  # what cannot be encoded could not be shown, either
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} is damaged: {_reason(error)}. Get the file again.") from error
    for name, is_right, allowed in _facts(record):
        if not is_right:
            raise ModelError(f"{where} is damaged: its {name} is not {allowed}. Get the file again.")
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


def _facts(record: WeightRecord) -> Iterator[tuple[str, bool, str]]:
    """Yield of each field that has more than a type whether it is as it has to be, and how that is."""
    for name in ("name", "architecture"):
        yield name, getattr(record, name) != "", "text"
    for name in ("image_size_px", "min_image_size_px", "image_size_multiple_px"):
        yield name, getattr(record, name) >= 1, "a number of pixels"
    for name in ("parameters", "train_images", "valid_images"):
        yield name, getattr(record, name) >= 0, "a count"
    yield "crop_fraction", 0 < record.crop_fraction <= 1, "a share of a picture"
    yield "mean", all(0 <= value <= 1 for value in record.mean), "within 0 and 1"
    yield "std", all(0 < value <= 1 for value in record.std), "over 0 and up to 1"
    yield "labels", "" not in record.labels and len(set(record.labels)) == len(record.labels) > 0, "a list of names"
    yield "sha256", _SHA256.fullmatch(record.sha256) is not None, "64 hexadecimal digits"


# ── the tensors ─────────────────────────────────────────────────────────────────────────────────────


def check_record(path: Path, record: WeightRecord) -> None:
    """Read a whole file, and raise ``ModelError`` unless its tensors are those that its record was written for.

    Their hash has to be the record's, and the head has to have one output for each of its labels.
    """
    with _reading(path):
        content = path.read_bytes()
    check_content(content, record, str(path))


def check_content(content: bytes, record: WeightRecord, what: str) -> None:
    """Hold the content of a file against its record as ``check_record`` does."""
    with _reading(what):
        header, data = _parts(content)
        sha256, outputs = _sha256(header, data), _outputs(header)
    if sha256 != record.sha256:
        raise ModelError(
            f"{what} is damaged: the SHA-256 of its tensors begins {sha256[:16]}, and its record says "
            f"{record.sha256[:16]}. Get the file again."
        )
    if outputs != len(record.labels):
        raise ModelError(
            f"{what} is damaged: its head has {outputs} outputs, and its record names {len(record.labels)} labels. "
            "Get the file again."
        )


def sha256_of_tensors(content: bytes) -> str:
    """Return the hash of a ``.safetensors`` file's tensors: names, types, shapes and bytes, whatever its metadata.

    Raises ``ModelError`` for content that is damaged or something else.
    """
    with _reading("The content"):
        return _sha256(*_parts(content))


def _sha256(header: Mapping[str, _Tensor], data: memoryview) -> str:
    found = hashlib.sha256()
    for name, tensor in sorted(header.items()):
        found.update(json.dumps([name, tensor.dtype, tensor.shape]).encode())
        found.update(data[slice(*tensor.data_offsets)])
    return found.hexdigest()


def _outputs(header: Mapping[str, _Tensor]) -> int:
    """Return the length of what the head's last layer answers; 0 where there is no head."""
    layers = [name for name, tensor in header.items() if name.startswith(_HEAD_PREFIX) and len(tensor.shape) == 2]
    last = max(layers, key=lambda name: [int(number) for number in re.findall("[0-9]+", name)], default=None)
    return header[last].shape[0] if last else 0


def _parts(content: bytes) -> tuple[dict[str, _Tensor], memoryview]:
    """Return what the header says of each tensor, and the data; raise ``ValueError`` where they do not fit."""
    begin = 8 + _header_bytes(content[:8], len(content))
    header, data = _json(content[8:begin]), memoryview(content)[begin:]
    _metadata(header)
    tensors = {name: strict_json.build(_Tensor, said, name) for name, said in header.items() if name != _METADATA}
    end = 0
    for first, last in sorted(tensor.data_offsets for tensor in tensors.values()):
        if first != end or last < first:
            raise ValueError("its tensors overlap, or leave something between them")
        end = last
    if end != len(data):
        raise ValueError(f"its tensors have {end} bytes, and {len(data)} are there")
    return tensors, data


# ── headers ─────────────────────────────────────────────────────────────────────────────────────────


def _header_bytes(prefix: bytes, file_bytes: int) -> int:
    size = int.from_bytes(prefix, "little")
    if len(prefix) < 8 or size > min(_LARGEST_HEADER_BYTES, file_bytes - 8):
        raise ValueError("its header is not whole")
    return size


def _json(header: bytes) -> dict[str, Any]:
    value = strict_json.loads(header.decode())
    if not isinstance(value, dict):
        raise ValueError("its header is no JSON object")
    return value


def _metadata(header: Mapping[str, Any]) -> dict[str, str]:
    found = header.get(_METADATA, {})
    if not isinstance(found, dict) or not all(isinstance(value, str) for value in found.values()):
        raise ValueError("its metadata are no texts by name")
    return found


@contextlib.contextmanager
def _reading(what: Path | str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ModelError(f"Cannot read {what}: {error.strerror or error}. Check the path.") from error
    except (ModelError, ValueError, RecursionError) as error:
        raise ModelError(f"{what} is damaged or no safetensors file: {_reason(error)}. Copy it again.") from error


# ── words ───────────────────────────────────────────────────────────────────────────────────────────


def pretraining(record: WeightRecord) -> str:
    """Return what a network was pretrained on, in words: 'dogs (100 pictures of 12 classes, accuracy 93.1%)'."""
    kind = "classes" if record.task == "single-label" else "labels"
    facts = [f"{record.train_images} pictures of {len(record.labels)} {kind}"]
    headline = _HEADLINE[record.task]
    if headline in record.metrics:
        value = record.metrics[headline]
        facts.append(f"{headline} {value:.3f}" if record.task == "regression" else f"{headline} {value:.1%}")
    return f"{one_line(record.dataset)} ({', '.join(facts)})"


def one_line(text: str) -> str:
    """Return a text of a record in one line of bounded length, for a sentence."""
    text = " ".join(text.split())
    return text if len(text) <= _LONGEST_SAID else f"{text[:_LONGEST_SAID]}…"


def _reason(error: Exception) -> str:
    return one_line(str(error)) or type(error).__name__


# ── plugins that carry one ──────────────────────────────────────────────────────────────────────────


def carried(backbone: Backbone) -> Path | None:
    """Return the file that a backbone of ``backbone_of`` carries, whether it is there or not; None for any other."""
    if backbone.build != f"{_ROOM}:build" or backbone.weights is None:
        return None
    return place_of(backbone.weights)


def place_of(weights: Weights) -> Path:
    """Return where the file of carried weights is, or should be."""
    return Path(url2pathname(urlparse(weights.url).path))


def backbone_of(path: Path, *, name: str, sha256: str) -> Backbone:
    """Return the backbone ``name`` of a plugin that carries a file with a record; for its hooks, and light.

    ``sha256`` is the whole file's, as the plugin states it: the weights are held against it when they are loaded.
    Raises ``ModelError`` as ``read_record`` does, and for a file without a record.
    """
    record = read_record(path)
    if record is None:
        raise ModelError(f"{path} has no weight record. Carry a file that 'finetune pretrain' wrote.")
    weights = Weights(
        name=record.name,
        url=path.absolute().as_uri(),
        sha256=sha256,
        licence=record.licence,
        source=f"a pretraining on {pretraining(record)}, source {one_line(record.source)}",
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
