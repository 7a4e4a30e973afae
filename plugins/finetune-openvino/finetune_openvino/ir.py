"""OpenVINO's intermediate representation (IR) as two files that describe themselves, without the openvino package.

``model.xml`` holds the graph, ``model.bin`` the weights. In the XML, below the network's ``rt_info``, stands one
element with the contract and the golden pairs, as they are in the metadata of an ONNX file:

    <finetune><contract value="…" /><golden value="…" /></finetune>

OpenVINO reads them as ``get_rt_info(["finetune", "contract"])``. The graph hash is the sha256 over the XML without that
element, followed by the weights: it stays the same when the element changes, and changes with any other byte.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from xml.sax import saxutils

from finetune_export.contract import Contract
from finetune_export.errors import ModelError
from finetune_export.model_file import MAX_BYTES

MODEL = "model.xml"
WEIGHTS = "model.bin"
CONTRACT = "contract.json"
"""The contract once more, for whom XML is too much; where it is there, it has to be the same."""

ELEMENT = "finetune"
KEYS = ("contract", "golden")
_ELEMENT = re.compile(b"<finetune>.*?</finetune>", re.DOTALL)
_TEXTS = re.compile(rb'<finetune><contract value="([^"]*)" /><golden value="([^"]*)" /></finetune>')
_AGAIN = "get the folder again"


@dataclass(frozen=True)
class IR:
    """A model that was read and is whole: the bytes of both files, the contract, and the golden pairs as JSON."""

    xml: bytes
    weights: bytes
    contract: Contract
    golden: str


def locate(path: str | Path) -> Path:
    """Return the path of a model's XML file, which is ``model.xml`` where ``path`` is a folder."""
    path = Path(path)
    return path / MODEL if os.path.isdir(path) else path  # noqa: PTH112 - what may not be looked at is refused when read


def read(path: Path) -> IR:
    """Return a model from the path of its XML file; the weights, and perhaps the contract, lie beside it.

    Raises ``ModelError`` if a file is missing or damaged, or the files do not belong to each other.
    """
    xml, weights = _read_bytes(path), _read_bytes(path.with_suffix(".bin"))
    contract_text, golden = _texts(xml)
    contract = Contract.from_json(contract_text)
    if contract.graph_sha256 != graph_sha256(xml, weights):
        raise ModelError(
            f"the graph or its weights in {path.with_suffix('.bin').name} are not those that were exported "
            f"(their sha256 differs); {_AGAIN}"
        )
    _check_copy(path.with_name(CONTRACT), contract_text)
    return IR(xml, weights, contract, golden)


def with_texts(xml: bytes, contract: str, golden: str) -> bytes:
    """Return an XML file that has the element already, with these texts in it; its graph hash stays the same."""
    values = [saxutils.escape(text, {'"': "&quot;"}).encode() for text in (contract, golden)]
    element = b'<finetune><contract value="%b" /><golden value="%b" /></finetune>' % tuple(values)
    return _ELEMENT.sub(lambda _: element, xml)


def graph_sha256(xml: bytes, weights: bytes) -> str:
    """Return the sha256 of both files without the element, in hexadecimal."""
    digest = hashlib.sha256(_ELEMENT.sub(b"", xml))
    digest.update(weights)
    return digest.hexdigest()


def _texts(xml: bytes) -> tuple[str, str]:
    found, elements = _TEXTS.findall(xml), _ELEMENT.findall(xml)
    if len(found) != 1 or len(elements) != 1:  # another element would be outside of the hash
        count = max(len(found), len(elements))
        raise ModelError(f"{count} contracts; only models that finetune exported, which have one, can be run")
    try:
        contract, golden = (saxutils.unescape(value.decode(), {"&quot;": '"'}) for value in found[0])
    except UnicodeDecodeError as exc:
        raise ModelError(f"its contract is not UTF-8 text; {_AGAIN}") from exc
    return contract, golden


def _check_copy(path: Path, contract: str) -> None:
    if path.exists() and _read_bytes(path) != contract.encode():
        raise ModelError(f"{path.name} beside it is the contract of another model, or damaged; {_AGAIN}")


def _read_bytes(path: Path) -> bytes:
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):  # before it is opened: a pipe would wait for its writer for ever
            raise ModelError(f"{path.name} is not a regular file; {_AGAIN}")
        if status.st_size > MAX_BYTES:
            raise ModelError(f"{path.name} has {status.st_size} bytes; at most {MAX_BYTES} are allowed")
        with path.open("rb") as file:
            return file.read(status.st_size)  # not to its end: it may be growing, or endless in spite of its size
    except (OSError, ValueError) as exc:  # ValueError: a NUL in the path
        cause = exc.strerror if isinstance(exc, OSError) and exc.strerror else str(exc)
        raise ModelError(
            f"{path.name} cannot be read ({cause}); give the folder that the target 'openvino' wrote"
        ) from exc
