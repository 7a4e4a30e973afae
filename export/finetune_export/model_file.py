"""An ONNX file as bytes, without the onnx package: its metadata, and the hash of everything else.

A file is a ``ModelProto`` message. Its metadata are the entries of field 14, each a key and a value. The graph hash
is the sha256 over the file with those entries left out, in file order: it stays the same when metadata are added, and
changes with any other byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_export import wire
from finetune_export.errors import ModelError
from finetune_export.message import Reader

MAX_BYTES = 2 * 2**30  # what protobuf itself can read
_GRAPH, _METADATA = 7, 14  # ModelProto
_KEY, _VALUE = 1, 2  # StringStringEntryProto

_PICTURE = "a picture; the model comes first, and pictures after it"
_PLACES = ("model.onnx", "finetune.onnx")  # where export targets put it in their folders
_VERSION = re.compile("[1-9][0-9]*")  # what Triton takes for one

_FOREIGN = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file itself with `git lfs pull`",
    b"PK\x03\x04": "a zip archive, perhaps a PyTorch checkpoint; export it to ONNX first",
    b"\x80": "a Python pickle, perhaps a PyTorch checkpoint; export it to ONNX first",
    b"<": "a web page, perhaps of a download that failed; get the model file again",
    b"{": "JSON; the model is the .onnx file",
    **dict.fromkeys((b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"II*\0", b"MM\0*"), _PICTURE),
}


@dataclass(frozen=True)
class ModelFile:
    """A model file read into memory: its bytes, its metadata, and the sha256 of everything but the metadata."""

    data: bytes
    graph_sha256: str
    metadata: Mapping[str, str]

    def text(self, key: str) -> str:
        """Return one metadata entry; raise ``ModelError`` if the file has none of that key."""
        if key not in self.metadata:
            raise ModelError(f"metadata key {key!r} is missing; only models that finetune exported can be run")
        return self.metadata[key]


def locate(path: str | Path) -> Path:
    """Return the path of a model file, looked up inside where ``path`` is a folder that an export target wrote.

    In a Triton repository it is the latest version, which is the one that Triton serves. Raises ``ModelError`` for a
    folder that does not hold exactly one model.
    """
    path = Path(path)
    if not os.path.isdir(path):  # noqa: PTH112 - a path that may not be looked at is refused when it is read
        return path
    found = [path / name for name in _PLACES if (path / name).is_file()] + _latest_versions(path)
    if len(found) != 1:
        raise ModelError(f"{path}: a folder with {len(found)} models; give the .onnx file itself")
    return found[0]


def read(source: str | Path | bytes) -> ModelFile:
    """Return a model file from its path or its bytes; raise ``ModelError`` if it is not a whole ONNX file."""
    data = source if isinstance(source, bytes) else _read_bytes(source)
    _refuse_foreign(data)
    digest, has_graph = hashlib.sha256(), False
    metadata: dict[str, str] = {}
    reader = Reader()
    for field in reader.fields(memoryview(data)):
        if field.number == _METADATA:
            key, value = _entry(field.value, reader)
            if key in metadata:
                raise ModelError(f"metadata key {key!r} occurs twice; get the model file again")
            metadata[key] = value
        else:
            digest.update(field.raw)
            has_graph |= field.number == _GRAPH
    if not has_graph:
        raise ModelError("not an ONNX file (it has no graph); get the model file again")
    return ModelFile(data, digest.hexdigest(), metadata)


def with_metadata(data: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a model file with exactly these metadata; its graph hash stays the same."""
    graph = [field.raw for field in wire.fields(memoryview(data)) if field.number != _METADATA]
    entries = (
        wire.encode_field(_KEY, key.encode()) + wire.encode_field(_VALUE, value.encode())
        for key, value in metadata.items()
    )
    return b"".join((*graph, *(wire.encode_field(_METADATA, entry) for entry in entries)))


def _latest_versions(repository: Path) -> list[Path]:
    """Return the file of the highest version of each model in a Triton repository, ``model/version/model.onnx``."""
    files = [file for file in repository.glob("*/*/model.onnx") if _VERSION.fullmatch(file.parent.name)]
    files.sort(key=lambda file: int(file.parent.name))
    return list({file.parents[1]: file for file in files if file.is_file()}.values())  # of each model, the last


def _read_bytes(path: str | Path) -> bytes:
    try:
        status = Path(path).stat()
        if not stat.S_ISREG(status.st_mode):  # before it is opened: a pipe would wait for its writer for ever
            raise ModelError("not a regular file; a model is one .onnx file")
        if status.st_size > MAX_BYTES:
            raise ModelError(f"{status.st_size} bytes; at most {MAX_BYTES} are allowed")
        with Path(path).open("rb") as file:
            return file.read(status.st_size)  # not to its end: it may be growing, or endless in spite of its size
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        cause = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ModelError(f"the model file cannot be read ({cause}); check its path and permissions") from exc


def _refuse_foreign(data: bytes) -> None:
    if not data:
        raise ModelError("the file is empty; get the model file again")
    start = data[:64].lstrip()
    for prefix, looks_like in _FOREIGN.items():
        if start.startswith(prefix):
            raise ModelError(f"not an ONNX file; it looks like {looks_like}")


def _entry(message: int | memoryview, reader: Reader) -> tuple[str, str]:
    """Return the key and value of one metadata entry, which holds nothing else."""
    parts = () if isinstance(message, int) else tuple(reader.fields(message))
    texts = {part.number: bytes(part.value) for part in parts if not isinstance(part.value, int)}
    if len(texts) != len(parts) or _KEY not in texts or not texts.keys() <= {_KEY, _VALUE}:
        raise ModelError("a metadata entry is damaged; get the model file again")
    try:
        return texts[_KEY].decode(), texts.get(_VALUE, b"").decode()
    except UnicodeDecodeError as exc:
        raise ModelError("a metadata entry is not UTF-8 text; get the model file again") from exc
