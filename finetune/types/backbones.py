"""Backbones: the record of a network and of its published weights."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A set of pretrained weights: where it is, whose it is, and how to know that it arrived whole.

    ``sha256`` is the hash in hexadecimal, or its first digits where the publisher states only those. Weights that are
    not simply a file behind ``url`` name two functions, ``"package.module:function"``: ``fetch``, ``(Weights) ->
    Path``, which downloads the file unless it is there, and checks it; and ``find``, ``(Weights) -> Path | None``,
    which says where on this machine it is, without a network. Only with them may ``sha256`` be '': then the publisher
    states the hash when the file is fetched.
    """

    name: str
    url: str
    sha256: str
    licence: str
    source: str
    fetch: str = ""
    find: str = ""


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A registered backbone; ``build`` names a ``(Backbone, image_size_px) -> BackboneModel`` function.

    ``mean`` and ``std`` are per channel, RGB, on pixels scaled to 0..1, so that both lie there, and ``std`` is over 0.
    ``crop_fraction`` is the share of the shorter side that the centre crop keeps. ``parameters`` counts the whole
    published network, its own head included.
    """

    name: str
    family: str
    summary: str
    build: str
    parameters: int
    image_size_px: int = 224
    min_image_size_px: int = 32
    image_size_multiple_px: int = 1
    crop_fraction: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    weights: Weights | None = None
