"""What a backbone states of itself, held against what can be known: sizes, normalisation, parameters, weights."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator
from functools import partial
from math import isfinite
from pathlib import Path
from unittest import mock
from urllib.parse import urlparse

import torch
from safetensors.torch import save_file

from finetune.errors import ConfigError, FinetuneError, ModelError
from finetune.networks.network import check_image_size
from finetune.networks.published import MIRROR, place_of
from finetune.networks.weights import load_weights
from finetune.plugins import load_function
from finetune.scaffold.licences import UNKNOWN
from finetune.testing.backbone_recorded import brings_its_weights
from finetune.testing.backbone_subject import SEED, BackboneSubject, normalisation_problem, plain_state
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.testing.watching import sheltered
from finetune.types import Weights

ROUNDING = 0.01
"""By what share the parameters that are stated may differ from those that are there."""
SHORTEST_HASH = 8
_HEXADECIMAL = re.compile("[0-9a-f]+")


def _states_its_normalisation(subject: BackboneSubject) -> None:
    """Mean and std are for pixels scaled to 0..1."""
    if problem := normalisation_problem(subject.backbone):
        raise Broken(problem)


def _states_its_sizes(subject: BackboneSubject) -> None:
    """Refuse a default image size that the backbone does not take, and a crop that keeps nothing."""
    backbone = subject.backbone
    for name in ("image_size_px", "min_image_size_px", "image_size_multiple_px"):
        value = getattr(backbone, name)
        if not isinstance(value, int) or value < 1:
            raise Broken(f"{name}={value!r}")
    try:
        check_image_size(backbone, backbone.image_size_px)
    except ConfigError:
        allowed = f"min_image_size_px={backbone.min_image_size_px}"
        multiple = f"image_size_multiple_px={backbone.image_size_multiple_px}"
        raise Broken(f"image_size_px={backbone.image_size_px} with {allowed} and {multiple}") from None
    crop = backbone.crop_fraction
    if not isinstance(crop, int | float) or not isfinite(crop) or not 0 < crop <= 1:
        raise Broken(f"crop_fraction={crop!r}")


def _counts_its_parameters(subject: BackboneSubject) -> None:
    """Count the whole published network, with or without what only its own training used.

    Some networks have a number that depends on the image size; where it differs, the published size decides.
    """
    stated, backbone = subject.backbone.parameters, subject.backbone
    named = dict(subject.model.model.named_parameters())
    counted = [sum(parameter.numel() for parameter in named.values())]
    with contextlib.suppress(NotChecked):  # auxiliary heads answer nothing, and some publishers do not count them
        counted.append(sum(named[name].numel() for name in subject.trace.first if name in named))
    if any(_is_about(stated, count) for count in counted):
        return
    published = subject.build_again(SEED, backbone.image_size_px).model
    count = sum(parameter.numel() for parameter in published.parameters())
    if not _is_about(stated, count):
        raise Broken(f"parameters={stated}, and the network that is built has {count}")


def _is_about(stated: int, counted: int) -> bool:
    return abs(stated - counted) <= ROUNDING * counted


def _states_its_weights(subject: BackboneSubject) -> None:
    """Whose the weights are, under which licence, where they are, and how to know that they arrived whole."""
    weights = _weights(subject)
    for name in ("name", "licence", "source"):
        value = getattr(weights, name)
        if not isinstance(value, str) or value.strip().lower() in UNKNOWN:
            raise Broken(f"{name}={value!r}")
    references = [reference for reference in (weights.fetch, weights.find) if reference]
    if not _is_an_address(weights.url) and not (brings_its_weights(subject.backbone) and references):
        raise Broken(f"url={weights.url!r}")
    for reference in references:
        load_function(reference, f"The weights of '{subject.backbone.name}'")
    is_short = len(weights.sha256) < SHORTEST_HASH or not _HEXADECIMAL.fullmatch(weights.sha256)
    if is_short and not (weights.sha256 == "" and len(references) == 2):
        raise Broken(f"sha256={weights.sha256!r}")


def _is_an_address(url: str) -> bool:
    address = urlparse(url)
    return address.scheme in ("http", "https") and bool(address.netloc)


def _fetches_its_weights(subject: BackboneSubject) -> None:
    """Call both without a network, with empty caches."""
    weights = _weights(subject)
    if not weights.find and not weights.fetch:
        raise NotChecked("its weights are a file behind a url, which finetune itself downloads and checks")
    what = f"The weights of '{subject.backbone.name}'"
    if weights.find:
        with sheltered() as (called, _):
            found = load_function(weights.find, what)(weights)
        if called or not (found is None or (isinstance(found, Path) and found.is_file())):
            raise Broken(f"that find asks for {called[0]}" if called else f"{found!r} from find")
    if weights.fetch:
        with sheltered(), _impatient():
            try:
                fetched = load_function(weights.fetch, what)(weights)
            except FinetuneError:
                return
            if not isinstance(fetched, Path) or not fetched.is_file():
                raise Broken(f"{fetched!r} from fetch")


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Let nobody wait for a network that will not come, nor tell of it: libraries try again and again."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with mock.patch("time.sleep", return_value=None):
            yield
    finally:
        logging.disable(disabled)


def _checks_its_weights(subject: BackboneSubject) -> None:
    """Other weights than the published ones, in a sound file at their place, are refused."""
    weights = _weights(subject)
    if brings_its_weights(subject.backbone):
        raise NotChecked("it brings its weights, which the rule 'carries-a-whole-record' holds against their hash")
    if weights.fetch:
        raise NotChecked("its weights are fetched and checked by a function of its own; test that with a damaged file")
    with sheltered(), mock.patch.dict(os.environ, {MIRROR: ""}):
        place = place_of(weights)
        _write_forgery(subject, place)
        try:
            load_weights(subject.model, subject.backbone, "pretrained")
        except ModelError:
            return
    raise Broken(f"a file with other weights in it, at the place of {place.name}, was taken for the published one")


def _write_forgery(subject: BackboneSubject, place: Path) -> None:
    """Write the network's own random weights: a whole file of the right form, and not the published one."""
    place.parent.mkdir(parents=True, exist_ok=True)
    state = plain_state(subject.model.model)
    if place.suffix == ".safetensors":
        save_file(state, place)
    else:
        torch.save(state, place)


def _weights(subject: BackboneSubject) -> Weights:
    if subject.backbone.weights is None:
        raise NotChecked("it has no published weights")
    return subject.backbone.weights


_rule = partial(Rule, kind="backbone")

RULES = (
    _rule(
        name="states-its-normalisation",
        expects="mean and std to be three numbers each, for pixels scaled to 0..1, and std over 0",
        read="finetune.types.Backbone",
        hold=_states_its_normalisation,
    ),
    _rule(
        name="states-its-sizes",
        expects="an image_size_px that the backbone takes, whole numbers of pixels, and a crop_fraction in (0, 1]",
        read="finetune.types.Backbone",
        hold=_states_its_sizes,
    ),
    _rule(
        name="counts-its-parameters",
        expects="the number of parameters of the whole published network, within 1 %",
        read="finetune.types.Backbone",
        hold=_counts_its_parameters,
    ),
    _rule(
        name="states-its-weights",
        expects="weights with a name, a licence, a source, an http(s) url (or file:// with find and fetch, where it "
        "brings them) and 8 or more digits of a hexadecimal sha256",
        read="finetune.types.Weights",
        hold=_states_its_weights,
    ),
    _rule(
        name="fetches-its-weights",
        expects="find to look on this machine only and return a file or None, and fetch to return a file or, without a "
        "network, to raise a FinetuneError",
        read="finetune.types.Weights",
        hold=_fetches_its_weights,
    ),
    _rule(
        name="checks-its-weights",
        expects="a file whose hash is not the published one to be refused with ModelError",
        read="finetune.types.Weights",
        hold=_checks_its_weights,
    ),
)
