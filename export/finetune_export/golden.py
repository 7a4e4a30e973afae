"""Golden pairs: test pictures with the answers the model gave when it was exported, carried in its metadata.

They are whole files, so any copy of the model can check itself on any machine, from decoding to answers. Two
rules decide:

- The preprocessed pixels must be the same, bit for bit. Only JPEG is excused, since its standard lets decoders round
  differently: there, other pixels are reported and the answer decides.
- No answer may differ by more than the tolerance, which depends on the network's arithmetic; that of a value is
  measured in units of its scale, without what float32 cannot express. Labels are not compared on their own: beyond the
  tolerance they cannot change, and within it, a tie on a generated picture would refuse a sound model.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from finetune_export import image, strict_json
from finetune_export.contract import GOLDEN_KEY, Contract, Precision, Preprocessing
from finetune_export.errors import ImageError, ModelError
from finetune_export.golden_pictures import pictures
from finetune_export.verify import differences

__all__ = ["MAX_DIFFERENCE", "Golden", "check", "dump", "make", "parse", "pictures"]

MAX_DIFFERENCE: Mapping[Precision, float] = MappingProxyType({"fp32": 1e-3, "fp16": 0.05, "int8": 0.1})
"""By how much an answer may differ from the one at export: processors round short numbers differently."""

_JPEG_START = b"\xff\xd8"

Network = Callable[[image.Pixels], NDArray[np.float32]]
"""From pixels, uint8 (N, H, W, 3), to answers, float32 (N, K)."""


@dataclass(frozen=True, kw_only=True)
class Golden:
    """One test picture with its expected ``answers``, one for each label, in their order.

    ``pixels_sha256`` is of the preprocessed uint8 (H, W, 3) array.
    """

    name: str
    file: bytes
    pixels_sha256: str
    answers: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class _Pairs:
    pairs: tuple[Golden, ...]


def make(preprocessing: Preprocessing, network: Network) -> tuple[Golden, ...]:
    """Return the test pictures with the answers of ``network``, for the model file that it becomes."""
    files = pictures()
    pixels = [image.read_pixels(file, preprocessing) for file in files.values()]
    answers = network(np.stack(pixels)).tolist()
    return tuple(
        Golden(name=name, file=file, pixels_sha256=_sha256(array), answers=tuple(answer))
        for (name, file), array, answer in zip(files.items(), pixels, answers, strict=True)
    )


def check(pairs: Sequence[Golden], contract: Contract, network: Network) -> tuple[str, ...]:
    """Ask ``network`` for every golden answer; return notes on JPEG decoding, or raise ``ModelError`` on a mismatch."""
    notes: list[str] = []
    for pair in pairs:  # one at a time: a batch would take more memory than a service that answers single pictures
        pixels = _read(pair, contract.preprocessing)
        notes += _compare_pixels(pair, pixels)
        _compare_answers(pair, network(pixels[None])[0], contract)
    return tuple(notes)


def dump(pairs: Sequence[Golden]) -> str:
    """Return golden pairs as sealed JSON, files in base64."""
    items = [{**vars(pair), "file": base64.b64encode(pair.file).decode()} for pair in pairs]
    return strict_json.seal({"pairs": items})


def parse(text: str) -> tuple[Golden, ...]:
    """Read what ``dump`` wrote; raise ``ModelError`` if it is damaged, was changed, or holds no pair."""
    payload = strict_json.parse(text, GOLDEN_KEY)
    read: _Pairs = strict_json.build(_Pairs, payload, GOLDEN_KEY)
    strict_json.check_seal(text, GOLDEN_KEY)
    if not read.pairs:
        raise ModelError(f"{GOLDEN_KEY}: no golden pairs; export the model again")
    return read.pairs


def _read(pair: Golden, preprocessing: Preprocessing) -> image.Pixels:
    try:
        return image.read_pixels(pair.file, preprocessing)
    except ImageError as exc:
        raise ModelError(f"golden picture {pair.name}: {exc.reason}") from exc


def _compare_pixels(pair: Golden, pixels: image.Pixels) -> tuple[str, ...]:
    if _sha256(pixels) == pair.pixels_sha256:
        return ()
    if not pair.file.startswith(_JPEG_START):
        raise ModelError(f"golden picture {pair.name}: its pixels differ from those at export; check Pillow's version")
    return (f"golden picture {pair.name}: JPEG decodes to other pixels on this machine than at export",)


def _compare_answers(pair: Golden, answers: NDArray[np.float32], contract: Contract) -> None:
    if len(answers) != len(pair.answers):
        raise ModelError(f"golden picture {pair.name}: {len(answers)} answers, {len(pair.answers)} at export")
    allowed = MAX_DIFFERENCE[contract.precision]
    difference = float(differences(answers.astype(np.float64), np.array(pair.answers), contract).max())
    if not difference <= allowed:  # so that NaN is refused
        what, unit = ("a value", " of its scale") if contract.task == "regression" else ("a probability", "")
        raise ModelError(
            f"golden picture {pair.name}: {what} differs by {difference:.2g}{unit} from the one at export, "
            f"{allowed} is allowed; get the model file again, or another onnxruntime"
        )


def _sha256(pixels: image.Pixels) -> str:
    return hashlib.sha256(pixels.tobytes()).hexdigest()
