"""What a backbone that brings its weights promises: a whole record behind them, which says what it says itself."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import fields
from functools import partial
from pathlib import Path
from urllib.parse import urlparse

from finetune.errors import FinetuneError, ModelError
from finetune.networks.weights import load_weights
from finetune.plugins import load_function
from finetune.run_folder import sha256_of
from finetune.testing.backbone_subject import SEED, BackboneSubject
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.types import Backbone, WeightRecord, Weights
from finetune.weight_record import backbone_of, check_record, read_record

_OF_ITS_OWN = ("name", "summary", "build", "weights", "sha256", "url", "fetch", "find")
"""What a plugin may say otherwise than what its record would be offered as."""


def brings_its_weights(backbone: Backbone) -> bool:
    """Whether the weights are a file that comes with the plugin, and nothing that is downloaded."""
    return isinstance(backbone.weights, Weights) and urlparse(backbone.weights.url).scheme == "file"


def _carries_a_whole_record(subject: BackboneSubject) -> None:
    weights, path = _weights(subject.backbone), _path(subject.backbone)
    if path is None:
        raise Broken(f"no file at {weights.url}")
    if (sha256 := sha256_of(path)) != weights.sha256:
        raise Broken(f"{path.name} with the SHA-256 {sha256[:16]}… instead of {weights.sha256[:16]}…")
    try:
        record = read_record(path)
        if record is not None:
            check_record(path, record)
    except ModelError as error:
        raise Broken(str(error).replace(f"{path.parent}/", "").rstrip(".")) from error
    if record is None:
        raise Broken(f"{path.name}, which has none")


def _says_what_its_record_says(subject: BackboneSubject) -> None:
    backbone, weights = subject.backbone, _weights(subject.backbone)
    path, _ = _recorded(backbone)
    recorded = backbone_of(path, name=backbone.name, sha256=weights.sha256)
    said, meant = dict(_facts(backbone)), dict(_facts(recorded))
    for name, value in said.items():
        if value != meant[name]:
            raise Broken(f"{name}={value!r} where its record has {meant[name]!r}")


def _facts(backbone: Backbone) -> Iterator[tuple[str, object]]:
    for thing in (backbone, _weights(backbone)):
        yield from ((f.name, getattr(thing, f.name)) for f in fields(thing) if f.name not in _OF_ITS_OWN)


def _fits_its_architecture(subject: BackboneSubject) -> None:
    _recorded(subject.backbone)
    again = subject.build_again(SEED)
    try:
        load_weights(again, subject.backbone, "pretrained")
    except ModelError as error:
        raise Broken(str(error).rstrip(".")) from error


def _recorded(backbone: Backbone) -> tuple[Path, WeightRecord]:
    path = _path(backbone)
    try:
        record = read_record(path) if path else None
    except ModelError:
        record = None
    if path is None or record is None:
        raise NotChecked("no record can be read; see the rule 'carries-a-whole-record'")
    return path, record


def _path(backbone: Backbone) -> Path | None:
    """Return the weights' file as the plugin's own function finds it; what it raises has a rule of its own."""
    weights = _weights(backbone)
    try:
        found = load_function(weights.find, f"The weights of '{backbone.name}'")(weights)
    except FinetuneError:
        return None
    return found if isinstance(found, Path) and found.is_file() else None


def _weights(backbone: Backbone) -> Weights:
    assert backbone.weights is not None, "these rules are for those that bring theirs"
    return backbone.weights


_rule = partial(Rule, kind="backbone", read="finetune.types.WeightRecord")

RULES = (
    _rule(
        name="carries-a-whole-record",
        expects="the weights that it brings to be a whole weight record with the stated sha256",
        hold=_carries_a_whole_record,
    ),
    _rule(
        name="says-what-its-record-says",
        expects="the sizes, normalisation, parameters, licence and source of its record",
        hold=_says_what_its_record_says,
    ),
    _rule(
        name="fits-its-architecture",
        expects="weights for every tensor of the network that its record names, and for no other",
        hold=_fits_its_architecture,
    ),
)
"""What a backbone that brings its weights is held against besides."""
