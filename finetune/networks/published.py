"""Published weights on this machine: a mirror's, those in torch.hub's cache, or downloaded into it, and always checked.

Whatever lies where such a file is looked for is believed only with the hash that its publisher states.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlparse

import torch

from finetune.download import Archive, fetch, reading, writing_to
from finetune.errors import ConfigError, DataError, ModelError, PluginError, ResourceError
from finetune.plugins import blaming, load_function
from finetune.run_folder import sha256_of
from finetune.types import Backbone, Reporter, Weights

MIRROR = "FINETUNE_WEIGHTS_DIR"
"""The variable that names a folder with weight files under their published names; empty is as if it were not set."""
ATTEMPTS = 4
"""So many connections a download may take within one command, as long as each brings something."""
_BYTES_PER_PARAMETER = 8  # the widest float that weights are published in
_BYTES_BESIDE = 64 << 20  # statistics, names, and what else a publisher packs into the file


def obtain(backbone: Backbone, weights: Weights, reporter: Reporter) -> tuple[Path, str]:
    """Return where the file of published weights is, and its SHA-256 in hexadecimal; download it if it is nowhere.

    Looks into the mirror, then into torch.hub's cache, under the name that torchvision gives the file, too. Raises
    ``ConfigError`` for a mirror that is no folder, ``ModelError`` for a file with another hash, ``ResourceError``
    where network or disk fail, and what the function of a plugin raises that fetches them itself.
    """
    path = _file(backbone, weights, reporter)
    with _naming(backbone), reading(path):
        sha256 = sha256_of(path)
    if not sha256.startswith(weights.sha256):
        raise ModelError(
            f"{path} is not what {weights.url} publishes: its SHA-256 begins {sha256[:16]}, not {weights.sha256}. "
            f"{_instead_of(path)}"
        )
    return path, sha256


def _file(backbone: Backbone, weights: Weights, reporter: Reporter) -> Path:
    if weights.fetch:
        return _fetched(backbone, weights)
    return _find(weights) or _downloaded(backbone, weights, reporter)


def is_at_hand(backbone: Backbone) -> bool:
    """Whether the backbone's pretrained weights are on this machine already; raise ``ConfigError`` as ``obtain``."""
    weights = backbone.weights
    if weights is None:
        return False
    return (_called(weights.find, backbone, weights) if weights.find else _find(weights)) is not None


def place_of(weights: Weights) -> Path:
    """Return where the file of published weights is, or will be, in torch.hub's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / _name_of(weights)


# ── where they may be ───────────────────────────────────────────────────────────────────────────────


def _find(weights: Weights) -> Path | None:
    mirror = _mirror()
    places = [*([mirror / _name_of(weights)] if mirror else []), place_of(weights)]
    return next((place for place in places if place.is_file()), None)


def _mirror() -> Path | None:
    given = os.environ.get(MIRROR)
    if given and not os.access(f"{given}/", os.X_OK):  # with the slash, a file is none either
        raise ConfigError(f"{MIRROR} '{given}' is no folder that can be read; name one with weight files, or unset it.")
    return Path(given) if given else None


def _name_of(weights: Weights) -> str:
    return Path(urlparse(weights.url).path).name


def _instead_of(path: Path) -> str:
    """Return the next step where a file is not the published one: a mirror is its owner's, a cache can be refilled."""
    if path.parent == _mirror():
        return f"Put the published file there, or unset {MIRROR}."
    return "Delete it, and the next run downloads it again."


# ── downloading ─────────────────────────────────────────────────────────────────────────────────────


def _downloaded(backbone: Backbone, weights: Weights, reporter: Reporter) -> Path:
    path = place_of(weights)
    otherwise = f"put a copy at {path} or into the folder that {MIRROR} names, or give --weights FILE or --weights none"
    most = backbone.parameters * _BYTES_PER_PARAMETER + _BYTES_BESIDE
    file = Archive(path.name, size=0, sha256=weights.sha256, unpacked=None, otherwise=otherwise, most=most)
    with _naming(backbone), writing_to(path.parent):
        fetch(weights.url, path, file, reporter, ATTEMPTS)
        size = path.stat().st_size
    as_published = f"its SHA-256 begins {weights.sha256}, as published"
    reporter.note(f"Downloaded {weights.url} ({size / 1e6:.1f} MB) to {path.parent}; {as_published}.")
    return path


@contextlib.contextmanager
def _naming(backbone: Backbone) -> Iterator[None]:
    """Put the backbone in front of what is wrong; of other bytes than the published ones, the model is refused."""
    try:
        yield
    except ResourceError as error:
        raise ResourceError(f"Pretrained weights of '{backbone.name}': {error}") from error
    except DataError as error:
        raise ModelError(f"Pretrained weights of '{backbone.name}': {error}") from error


# ── a plugin's own functions ────────────────────────────────────────────────────────────────────────


def _fetched(backbone: Backbone, weights: Weights) -> Path:
    """Return the weight file that the plugin's own function downloads and checks."""
    path = _called(weights.fetch, backbone, weights)
    if not isinstance(path, Path) or not path.is_file():
        raise PluginError(
            f"The backbone '{backbone.name}' is broken: {weights.fetch} returned {path!r} instead of the path of a "
            "file. Report it to the plugin's author."
        )
    return path


def _called(reference: str, backbone: Backbone, weights: Weights) -> object:
    what = f"What fetches the weights of the backbone '{backbone.name}'"
    function = load_function(reference, what)
    with blaming(what):
        return function(weights)
