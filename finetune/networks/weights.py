"""Weights into a network: the published ones, a file's, or none; and a run's own, out and back in.

Nothing here falls back in silence: every tensor of the body must be there, in the right shape, and every tensor of
the file must have a place. Pickles are read with ``weights_only``, so that no file can run code.
"""

from __future__ import annotations

import http.client
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor

from finetune.errors import ConfigError, ModelError, PluginError, ResourceError
from finetune.intent import published_weights
from finetune.networks.network import (
    HEAD_PREFIX,
    BackboneModel,
    Network,
    named_tensors,
    original_keys,
    state_to_save,
)
from finetune.plugins import blaming, load_function
from finetune.run_folder import sha256_of
from finetune.types import Backbone, Weights

SUFFIXES = (".safetensors", ".pth", ".pt")
_WRAPPERS = ("state_dict", "model")
_UNKNOWN_LICENCE = "unknown"


@dataclass(frozen=True, kw_only=True)
class WeightsUsed:
    """Which weights a run starts from; ``note`` is the sentence that says so to the user.

    ``sha256`` is of the file that was read, in full; empty where there was none.
    """

    name: str
    licence: str
    sha256: str
    note: str


def load_weights(model: BackboneModel, backbone: Backbone, weights: str) -> WeightsUsed:
    """Fill the body with ``weights``, in place: 'pretrained', 'none', or the path of a weight file.

    The published network's own head and a former run's ``head.*`` are known, and left out. Raises ``ConfigError``
    for something else or a file that is not there, ``ModelError`` for a file that is damaged or does not fit, and
    ``ResourceError`` where pretrained weights can be neither found nor downloaded.
    """
    if weights == "none":
        return WeightsUsed(name="none", licence="", sha256="", note=f"{backbone.name} starts from random weights.")
    if weights == "pretrained":
        return _load_pretrained(model, backbone)
    return _load_file(model, backbone, Path(weights))


def _load_pretrained(model: BackboneModel, backbone: Backbone) -> WeightsUsed:
    published = published_weights(backbone)
    obtain = _fetched if published.fetch else _downloaded
    path = obtain(backbone, published)
    sha256 = sha256_of(path)
    if not sha256.startswith(published.sha256):
        raise ModelError(
            f"{path} is not what {published.url} publishes: its SHA-256 begins {sha256[:16]}, not "
            f"{published.sha256}. Delete it, and the next run downloads it again."
        )
    _fill_body(model, backbone, _read(path), str(path))
    return _published(backbone, published, sha256)


def _load_file(model: BackboneModel, backbone: Backbone, path: Path) -> WeightsUsed:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"--weights {path} is not allowed; give 'pretrained', 'none', or a file that ends in {', '.join(SUFFIXES)}."
        )
    if not path.is_file():
        raise ConfigError(f"--weights {path}: there is no such file. Check the path, or give 'pretrained' or 'none'.")
    state, sha256 = _read(path), sha256_of(path)
    _fill_body(model, backbone, state, str(path))
    if backbone.weights and backbone.weights.sha256 and sha256.startswith(backbone.weights.sha256):
        return _published(backbone, backbone.weights, sha256)
    licence = _stated_licence(path)
    return WeightsUsed(
        name=path.name, licence=licence, sha256=sha256, note=f"{backbone.name} starts from {path} (licence: {licence})."
    )


def _published(backbone: Backbone, weights: Weights, sha256: str) -> WeightsUsed:
    note = f"{backbone.name} starts from the weights {weights.name} of {weights.source} (licence: {weights.licence})."
    if not weights.sha256:
        note += f" Their hash is the one that {urlparse(weights.url).hostname} stated itself."
    return WeightsUsed(name=weights.name, licence=weights.licence, sha256=sha256, note=note)


def is_at_hand(backbone: Backbone) -> bool:
    """Whether the backbone's pretrained weights are on this machine already."""
    weights = backbone.weights
    if weights is None:
        return False
    if not weights.find:
        return place_of(weights).is_file()
    return _called(weights.find, backbone, weights) is not None


# ── a run's own weights ─────────────────────────────────────────────────────────────────────────────


def serialised(network: Network, *, licence: str) -> bytes:
    """Return body and head as the content of a ``.safetensors`` file.

    The same weights are the same bytes. ``licence`` is of the weights that the run started from, and travels along.
    ``load_network`` reads the file back whole, and ``load_weights`` reads its body for another run.
    """
    return _in_order(save(state_to_save(network), metadata={"format": "pt", "licence": licence}))


def _in_order(content: bytes) -> bytes:
    """Return a ``.safetensors`` file with its metadata sorted: the library writes them in an order of chance."""
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    ordered = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
    return content[:8] + ordered + content[8 + size :]


def load_network(network: Network, path: Path) -> None:
    """Fill body and head from a file that ``serialised`` made, in place, every tensor and no other.

    Raises ``ModelError`` for a file that is missing, damaged, or of another network.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file. Give the folder of a finished run.")
    tensors, state = named_tensors(network), _read(path)
    problems = _misfits(tensors, state, [key for key in state if key not in tensors])
    if problems:
        raise ModelError(f"{path} does not fit this network: {problems}. Give the file of the run that trained it.")
    _copy(tensors, state)


# ── fitting ─────────────────────────────────────────────────────────────────────────────────────────


def _fill_body(model: BackboneModel, backbone: Backbone, state: dict[str, Tensor], source: str) -> None:
    own = model.model.state_dict()
    keys = set(original_keys(model).values())
    body = {key: tensor for key, tensor in own.items() if key in keys}
    try:
        state = model.adapt_weights(dict(state))
    except (KeyError, ValueError, RuntimeError) as error:
        problems = f"they cannot be adapted ({_one_line(error)})"
    else:
        problems = _misfits(body, state, [key for key in state if key not in own and not key.startswith(HEAD_PREFIX)])
    if problems:
        raise ModelError(
            f"The weights in {source} do not fit the backbone '{backbone.name}': {problems}. "
            "Choose the backbone that they were made for."
        )
    _copy(body, state)


def _misfits(wanted: Mapping[str, Tensor], state: Mapping[str, Tensor], unknown: Sequence[str]) -> str:
    """Return how the state differs from what is wanted, '' if it fits: a count and the first example of each kind."""
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    misshaped = [key for key in wanted if key in state and not _same_form(wanted[key], state[key])]
    said = []
    if missing:
        said.append(f"missing keys: {len(missing)}, first '{missing[0]}'")
    if unknown:
        said.append(f"unknown keys: {len(unknown)}, first '{unknown[0]}'")
    if misshaped:
        key = misshaped[0]
        said.append(f"other shapes or types: {len(misshaped)}, first '{key}': {_forms(state[key], wanted[key])}")
    return "; ".join(said)


def _same_form(wanted: Tensor, given: Tensor) -> bool:
    return wanted.shape == given.shape and wanted.is_floating_point() == given.is_floating_point()


def _forms(given: Tensor, wanted: Tensor) -> str:
    def form(tensor: Tensor) -> str:
        return f"{str(tensor.dtype).removeprefix('torch.')} {tuple(tensor.shape)}"

    return f"{form(given)} instead of {form(wanted)}"


def _copy(tensors: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
    with torch.no_grad():
        for key, tensor in tensors.items():
            if key in state:
                tensor.copy_(state[key])


# ── files ───────────────────────────────────────────────────────────────────────────────────────────


def _downloaded(backbone: Backbone, weights: Weights) -> Path:
    """Return the weight file in torch.hub's cache, downloaded if it is not there.

    Follows ``torch.hub.load_state_dict_from_url``: same cache, same file name. That one believes a file that is in
    the cache already; here the caller checks its hash every time.
    """
    path = place_of(weights)
    if path.is_file():
        return path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(weights.url, str(path), weights.sha256, progress=sys.stderr.isatty())
    except (OSError, RuntimeError, ValueError, http.client.HTTPException) as error:
        raise ResourceError(
            f"Cannot download the pretrained weights of '{backbone.name}' from {weights.url} ({_one_line(error)}). "
            f"Put a copy at {path}, or give --weights FILE or --weights none."
        ) from error
    return path


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


def place_of(weights: Weights) -> Path:
    """Return where the file of published weights is, or will be, in torch.hub's cache."""
    return Path(torch.hub.get_dir()) / "checkpoints" / Path(urlparse(weights.url).path).name


def _read(path: Path) -> dict[str, Tensor]:
    """Return the file's state dict on the CPU: plain, without wrapper and without a common ``module.`` prefix."""
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_pickle(path)
    for wrapper in _WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(wrapper), Mapping):
            content = content[wrapper]
    if not isinstance(content, Mapping) or not content or not all(isinstance(v, Tensor) for v in content.values()):
        raise ModelError(
            f"{path} holds no state dict: expected tensors by name, plain or under 'state_dict' or 'model'. "
            "Save model.state_dict(), best as .safetensors."
        )
    prefix = "module." if all(str(key).startswith("module.") for key in content) else ""
    return {str(key).removeprefix(prefix): tensor for key, tensor in content.items()}


def _read_safetensors(path: Path) -> object:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} is damaged or no safetensors file: {_one_line(error)}. Copy it again.") from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another's making fails in ways that no list foresees
        raise ModelError(
            f"{path} is not a file of plain weights: it is damaged, or holds Python objects, which are never loaded. "
            "Save model.state_dict(), best as .safetensors."
        ) from error


def _stated_licence(path: Path) -> str:
    """Return the licence that ``serialised`` put into the file, or 'unknown'."""
    if path.suffix != ".safetensors":
        return _UNKNOWN_LICENCE
    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {}).get("licence", _UNKNOWN_LICENCE))


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
