"""Weights into a network: the published ones, a file's, or none; and a run's own, out and back in.

Nothing here falls back in silence: every tensor of the body must be there, in the right shape, and every tensor of
the file must have a place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor

from finetune.errors import ConfigError, ModelError
from finetune.given_weights import architecture_of
from finetune.intent import published_weights
from finetune.networks.network import (
    HEAD_PREFIX,
    BackboneModel,
    Network,
    build_backbone,
    check_image_size,
    named_tensors,
    original_keys,
)
from finetune.networks.published import obtain
from finetune.networks.weight_files import SUFFIXES, read_state, stated_licence
from finetune.plugins import load_plugins
from finetune.reporting import SILENT
from finetune.run_folder import sha256_of
from finetune.types import Backbone, Reporter, WeightRecord, Weights
from finetune.weight_record import carried, check_record, one_line, pretraining, read_record, reason_of


@dataclass(frozen=True, kw_only=True)
class WeightsUsed:
    """Which weights a run starts from; ``note`` is the sentence that says so to the user.

    ``sha256`` is of the file that was read, in full; empty where there was none.
    """

    name: str
    licence: str
    sha256: str
    note: str


def load_weights(model: BackboneModel, backbone: Backbone, weights: str, reporter: Reporter = SILENT) -> WeightsUsed:
    """Fill the body with ``weights``, in place: 'pretrained', 'none', or the path of a weight file.

    The published network's own head and a former run's ``head.*`` are known, and left out. Raises ``ConfigError``
    for something else or a file that is not there, ``ModelError`` for a file that is damaged or does not fit, and
    what ``obtain`` raises where pretrained weights can be neither found nor downloaded.
    """
    if weights == "none":
        return WeightsUsed(name="none", licence="", sha256="", note=f"{backbone.name} starts from random weights.")
    if weights == "pretrained":
        return _load_pretrained(model, backbone, reporter)
    return _load_file(model, backbone, Path(weights))


def _load_pretrained(model: BackboneModel, backbone: Backbone, reporter: Reporter) -> WeightsUsed:
    published = published_weights(backbone)
    path, sha256 = obtain(backbone, published, reporter)
    _fill_body(model, backbone, read_state(path), str(path))
    return _published(backbone, published, sha256)


def _load_file(model: BackboneModel, backbone: Backbone, path: Path) -> WeightsUsed:
    if path.suffix not in SUFFIXES:
        raise ConfigError(
            f"--weights {path} is not allowed; give 'pretrained', 'none', or a file that ends in {', '.join(SUFFIXES)}."
        )
    if not path.is_file():
        raise ConfigError(f"--weights {path}: there is no such file. Check the path, or give 'pretrained' or 'none'.")
    sha256, record = sha256_of(path), read_record(path) if path.suffix == ".safetensors" else None
    is_published = backbone.weights and backbone.weights.sha256 and sha256.startswith(backbone.weights.sha256)
    if record:
        _refuse_another(record, backbone, path)
        check_record(path, record)
    _fill_body(model, backbone, read_state(path), str(path), _ANOTHER if record else _OTHERWISE)
    if backbone.weights and is_published:
        return _published(backbone, backbone.weights, sha256)
    return _recorded(backbone, record, path, sha256) if record else _unrecorded(backbone, path, sha256)


def _refuse_another(record: WeightRecord, backbone: Backbone, path: Path) -> None:
    if record.architecture != backbone.name:
        raise ModelError(
            f"The weights in {path} are of the backbone '{one_line(record.architecture)}', and '{backbone.name}' was "
            f"asked for. Give --backbone {one_line(record.architecture)}, or other --weights."
        )


def _recorded(backbone: Backbone, record: WeightRecord, path: Path, sha256: str) -> WeightsUsed:
    note = (
        f"{backbone.name} starts from {path}: pretrained on {pretraining(record)}, licence {one_line(record.licence)}."
    )
    return WeightsUsed(name=record.name, licence=record.licence, sha256=sha256, note=note)


def _unrecorded(backbone: Backbone, path: Path, sha256: str) -> WeightsUsed:
    licence = stated_licence(path)
    note = f"{backbone.name} starts from {path} (licence: {licence})."
    return WeightsUsed(name=path.name, licence=licence, sha256=sha256, note=note)


def _published(backbone: Backbone, weights: Weights, sha256: str) -> WeightsUsed:
    note = f"{backbone.name} starts from the weights {weights.name} of {weights.source} (licence: {weights.licence})."
    if not weights.sha256:
        note += f" Their hash is the one that {urlparse(weights.url).hostname} stated itself."
    return WeightsUsed(name=weights.name, licence=weights.licence, sha256=sha256, note=note)


# ── records ─────────────────────────────────────────────────────────────────────────────────────────

_OF_THE_ARCHITECTURE = ("parameters", "family", "min_image_size_px", "image_size_multiple_px")
_AGAIN = "Copy it again, or pretrain it anew."
_ANOTHER = f"Its record names another network. {_AGAIN}"


def check_architecture(path: Path, record: WeightRecord) -> None:
    """Raise ``ModelError`` unless a record is right about its architecture: as it is registered, the tensors fit it.

    Raises ``PluginError`` where the plugin that offers it is broken.
    """
    backbone = architecture_of(record, load_plugins(), path)
    if carried(backbone):
        raise ModelError(
            f"The weight record of {path} says that its architecture is '{backbone.name}', which is weights with a "
            f"record itself. {_AGAIN}"
        )
    for name in _OF_THE_ARCHITECTURE:
        said, right = getattr(record, name), getattr(backbone, name)
        if said != right:
            raise ModelError(
                f"The weight record of {path} says {name}={_shown(said)} of '{backbone.name}', which has "
                f"{_shown(right)}. {_AGAIN}"
            )
    try:
        check_image_size(backbone, record.image_size_px)
    except ConfigError as error:
        said = f"The weight record of {path} says image_size_px={record.image_size_px}"
        raise ModelError(f"{said}: {error} {_AGAIN}") from error
    model = build_backbone(backbone, record.image_size_px)
    _fill_body(model, backbone, read_state(path), str(path), _ANOTHER)


def _shown(fact: object) -> str:
    return repr(one_line(fact)) if isinstance(fact, str) else str(fact)


# ── a run's own weights ─────────────────────────────────────────────────────────────────────────────


def load_network(network: Network, path: Path) -> None:
    """Fill body and head from a file that ``serialised`` or ``record_bytes`` made, in place, every tensor and no other.

    Raises ``ModelError`` for a file that is missing, damaged, or of another network.
    """
    if not path.is_file():
        raise ModelError(f"{path}: there is no such file. Give the folder of a finished run.")
    tensors, state = named_tensors(network), read_state(path)
    problems = _misfits(tensors, state, [key for key in state if key not in tensors])
    if problems:
        raise ModelError(f"{path} does not fit this network: {problems}. Give the file of the run that trained it.")
    _copy(tensors, state)


# ── fitting ─────────────────────────────────────────────────────────────────────────────────────────


_OTHERWISE = "Choose the backbone that they were made for."


def _fill_body(
    model: BackboneModel, backbone: Backbone, state: dict[str, Tensor], source: str, remedy: str = _OTHERWISE
) -> None:
    own = model.model.state_dict()
    keys = set(original_keys(model).values())
    body = {key: tensor for key, tensor in own.items() if key in keys}
    try:
        state = model.adapt_weights(dict(state))
    except (KeyError, ValueError, RuntimeError) as error:
        problems = f"they cannot be adapted ({reason_of(error)})"
    else:
        problems = _misfits(body, state, [key for key in state if key not in own and not key.startswith(HEAD_PREFIX)])
    if problems:
        raise ModelError(f"The weights in {source} do not fit the backbone '{backbone.name}': {problems}. {remedy}")
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
