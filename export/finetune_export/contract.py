"""The contract that every exported model carries: what it expects, what it answers, where it comes from.

It is JSON under the ONNX metadata key ``finetune.contract``. Reading is strict: a newer schema, an unknown or
missing key, or a value this runtime does not implement is refused, because a guess here is a wrong answer later.
The JSON ends with its own sha256, so that labels or preprocessing edited in the metadata alone are noticed; to change
a contract, read it, ``dataclasses.replace`` what has to change, and write it again.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from finetune_export import __version__, model_file, strict_json
from finetune_export.errors import ModelError, naming
from finetune_export.model_file import ModelFile

CONTRACT_KEY = "finetune.contract"
GOLDEN_KEY = "finetune.golden"
SCHEMA = 1
MAX_IMAGE_SIZE_PX = 4096
DEFAULT_THRESHOLD = 0.5
"""What the probability of one of several labels has to reach where the contract has no threshold for it."""

Precision = Literal["fp32", "fp16", "int8"]
Task = Literal["single-label", "multi-label", "regression"]


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """How a picture becomes pixels, completely; ``finetune_export.image`` is its implementation.

    ``image_size_px`` is the side of the square the network sees. The centre crop is the largest centred square
    scaled by ``crop_fraction`` (0 < f <= 1), cut and resized in one step by Pillow's ``resize(box=…)`` with
    antialiasing. ``mean`` and ``std`` (per channel, on 0..1) are applied *inside* the graph. The other fields
    state rules of which this schema knows exactly one value each.
    """

    image_size_px: int
    crop_fraction: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    resize_filter: Literal["bilinear"] = "bilinear"
    crop: Literal["centre-square"] = "centre-square"
    colour_order: Literal["RGB"] = "RGB"
    layout: Literal["NHWC"] = "NHWC"
    dtype: Literal["uint8"] = "uint8"
    exif_orientation: Literal["applied"] = "applied"
    animation: Literal["first frame"] = "first frame"
    alpha: Literal["over white"] = "over white"
    sixteen_bit: Literal["scaled"] = "scaled"


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """How logits become probabilities: divided by ``temperature`` before softmax or sigmoid, inside the graph."""

    method: Literal["none", "temperature"] = "none"
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """How outputs become values, one of each per label: output × ``scale`` + ``offset``, inside the graph.

    ``scale`` (over 0) is the standard deviation of the training pictures' values, in the values' own units, so it is
    also the measure of a difference between two answers; ``offset`` is their mean.
    """

    offset: tuple[float, ...]
    scale: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class BackboneOrigin:
    """Which network was fine-tuned, from which weights, under which licence; ``sha256`` is the weight file's."""

    name: str
    weights: str
    licence: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetOrigin:
    """What the model was trained on; ``fingerprint`` is the sha256 over every picture's content, part and label."""

    name: str
    source: str
    licence: str
    fingerprint: str
    train_images: int
    valid_images: int


@dataclass(frozen=True, kw_only=True)
class PluginOrigin:
    """A plugin that had a part in the model: its distribution, under which licence, and where it comes from.

    ``origin`` is a URL, "local folder" or "unknown". ``used_for`` names what it was used for, such as "backbone x".
    """

    distribution: str
    version: str
    licence: str
    origin: str
    used_for: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Everything a stranger needs to know about a model file; ``labels`` are in the order of the outputs.

    The ``task`` says what the outputs are: probabilities of labels of which one is right ('single-label', softmax) or
    of which each may be ('multi-label', sigmoid), or values ('regression'), whose names are the labels.

    ``graph_sha256`` is the hash of the file without its metadata, so that a flipped bit is found without a
    second file. ``precision`` is the arithmetic of the network, which decides how closely two machines have to agree.
    ``thresholds`` (0..1) are per label. Where the most probable of single labels stays below its own, the model
    abstains; of several labels, those that reach theirs are given, and one without a threshold has to reach
    ``DEFAULT_THRESHOLD``. ``scaling`` is there for regression, which has neither thresholds nor a calibration, and
    else None. ``plugins`` had a part in it and are not finetune's own.
    """

    labels: tuple[str, ...]
    preprocessing: Preprocessing
    backbone: BackboneOrigin
    dataset: DatasetOrigin
    run_id: str
    metrics: dict[str, float]
    versions: dict[str, str]
    precision: Precision = "fp32"
    graph_sha256: str = ""
    calibration: Calibration = field(default_factory=Calibration)
    thresholds: dict[str, float] = field(default_factory=dict)
    scaling: Scaling | None = None
    task: Task = "single-label"
    plugins: tuple[PluginOrigin, ...] = ()
    schema: int = SCHEMA

    def to_json(self) -> str:
        """Return the contract as sealed JSON, keys in the order of the fields; ``ModelError`` if a value is invalid."""
        _check_values(self)
        return strict_json.seal(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Contract:
        """Read a contract; raise ``ModelError`` naming what is missing, unknown, newer or not implemented."""
        payload = strict_json.parse(text, CONTRACT_KEY)
        _check_schema(payload)
        contract: Contract = strict_json.build(cls, payload, CONTRACT_KEY)
        _check_values(contract)
        strict_json.check_seal(text, CONTRACT_KEY)
        return contract

    def threshold_of(self, label: str) -> float:
        """Return the probability that a label has to reach: its own threshold, or that of its task."""
        return self.thresholds.get(label, DEFAULT_THRESHOLD if self.task == "multi-label" else 0.0)

    @property
    def units(self) -> tuple[float, ...]:
        """What a difference of two answers is measured in, for each label: 1, or for regression the scaling's scale."""
        return self.scaling.scale if self.scaling else (1.0,) * len(self.labels)


def contract_of(file: ModelFile) -> Contract:
    """Return the contract in a model file; raise ``ModelError`` if it was written for another graph."""
    contract = Contract.from_json(file.text(CONTRACT_KEY))
    if contract.graph_sha256 != file.graph_sha256:
        raise ModelError("the graph is not the one that was exported (its sha256 differs); get the model file again")
    return contract


def read_contract(path: str | Path) -> Contract:
    """Return the contract of a model without running it; raise ``ModelError`` if the file is damaged.

    ``path`` is an ``.onnx`` file, or a folder that an export target wrote.
    """
    file = model_file.locate(path)
    with naming(file):
        return contract_of(model_file.read(file))


def _check_schema(payload: dict[str, Any]) -> None:
    """Look at the schema first: a newer one may differ in everything else."""
    schema = payload.get("schema")
    if type(schema) is not int or schema <= SCHEMA:
        return  # missing, wrong or old: told with the other keys
    versions = payload.get("versions")
    writer = versions.get("finetune-export") if isinstance(versions, dict) else None
    needed = f">= {writer}" if isinstance(writer, str) and writer.isprintable() else f"> {__version__}"
    raise ModelError(f"{CONTRACT_KEY}: schema {schema} needs finetune-export {needed}; upgrade it")


def _check_values(contract: Contract) -> None:
    for key, value, allowed in _problems(contract):
        raise ModelError(f"{CONTRACT_KEY}.{key}: {value!r} is not allowed; it has to be {allowed}")


def _problems(contract: Contract) -> Iterator[tuple[str, object, str]]:
    """Yield (key, value, what is allowed) for every value that its type alone does not rule out."""
    labels, pixels = contract.labels, contract.preprocessing
    if contract.schema != SCHEMA:
        yield "schema", contract.schema, f"{SCHEMA}"
    if not labels or "" in labels:
        yield "labels", labels[:3], "one non-empty text for each output"
    if len(set(labels)) < len(labels):
        yield "labels", next(label for i, label in enumerate(labels) if label in labels[:i]), "unique"
    if unknown := [label for label in contract.thresholds if label not in labels]:
        yield "thresholds", unknown[0], "one of the labels"
    if wrong := [value for value in contract.thresholds.values() if not 0 <= value <= 1]:
        yield "thresholds", wrong[0], "between 0 and 1"
    if not 1 <= pixels.image_size_px <= MAX_IMAGE_SIZE_PX:
        yield "preprocessing.image_size_px", pixels.image_size_px, f"1 to {MAX_IMAGE_SIZE_PX}"
    if not 0 < pixels.crop_fraction <= 1:
        yield "preprocessing.crop_fraction", pixels.crop_fraction, "over 0 and at most 1"
    if min(pixels.std) <= 0:
        yield "preprocessing.std", pixels.std, "over 0 for each channel"
    if contract.calibration.temperature <= 0:
        yield "calibration.temperature", contract.calibration.temperature, "over 0"
    yield from (_regression_problems if contract.task == "regression" else _classification_problems)(contract)


def _classification_problems(contract: Contract) -> Iterator[tuple[str, object, str]]:
    if contract.scaling is not None:
        yield "scaling", contract.scaling, f"null for {contract.task}, whose answers are probabilities"


def _regression_problems(contract: Contract) -> Iterator[tuple[str, object, str]]:
    scaling, calibration = contract.scaling, contract.calibration
    if contract.thresholds:
        yield "thresholds", contract.thresholds, "empty for regression, which has no probabilities"
    if calibration != Calibration():
        yield "calibration", calibration, "method 'none' and temperature 1 for regression, which has no probabilities"
    if scaling is None:
        yield "scaling", None, "an offset and a scale for each value of a regression"
        return
    for key, numbers in (("offset", scaling.offset), ("scale", scaling.scale)):
        if len(numbers) != len(contract.labels) or not all(map(isfinite, numbers)):
            yield f"scaling.{key}", numbers, f"a finite number for each of the {len(contract.labels)} values"
    if min(scaling.scale) <= 0:
        yield "scaling.scale", scaling.scale, "over 0 for each value"
