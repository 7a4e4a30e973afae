"""Files of weights: read whatever wrote them, and written so that the same weights are the same bytes.

Pickles are read with ``weights_only``, so that no file can run code.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save
from torch import Tensor, nn

from finetune.errors import ModelError
from finetune.networks.network import HEAD_PREFIX, Network, state_to_save
from finetune.types import WeightRecord
from finetune.weight_record import METADATA_KEY, check_content, from_text, reason_of, record_sha256, to_text

SUFFIXES = (".safetensors", ".pth", ".pt")
UNKNOWN_LICENCE = "unknown"
_WRAPPERS = ("state_dict", "model")


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the file's state dict on the CPU: plain, without wrapper and without a common ``module.`` prefix.

    Raises ``ModelError`` for a file that is damaged or holds something else.
    """
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
        raise ModelError(f"{path} is damaged or no safetensors file: {reason_of(error)}. Copy it again.") from error


def _read_pickle(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a file of another's making fails in ways that no list foresees
        if path.is_file() and _begins_as_safetensors(path):
            raise ModelError(f"{path} is a safetensors file, and has to end in .safetensors. Rename it.") from error
        raise ModelError(
            f"{path} is not a file of plain weights: it is damaged, or holds Python objects, which are never loaded. "
            "Save model.state_dict(), best as .safetensors."
        ) from error


def _begins_as_safetensors(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(9)[8:] == b"{"  # after the length of the header, in eight bytes


def stated_licence(path: Path) -> str:
    """Return the licence that ``serialised`` put into the file, or 'unknown'."""
    if path.suffix != ".safetensors":
        return UNKNOWN_LICENCE
    with safe_open(path, framework="pt") as file:
        return str((file.metadata() or {}).get("licence", UNKNOWN_LICENCE))


# ── writing ─────────────────────────────────────────────────────────────────────────────────────────


def serialised(network: Network, *, licence: str) -> bytes:
    """Return body and head as the content of a ``.safetensors`` file.

    The same weights are the same bytes. ``licence`` is of the weights that the run started from, and travels along.
    ``load_network`` reads the file back whole, and ``load_weights`` reads its body for another run.
    """
    return _with_metadata(save(state_to_save(network)), {"format": "pt", "licence": licence})


def record_bytes(network: Network, record: WeightRecord) -> bytes:
    """Return body and head as the content of a ``.safetensors`` file with a record, whose ``sha256`` is filled in.

    Parameters are in float16, and buffers, such as a batch norm's statistics, as they are. The same weights and record
    are the same bytes. Raises ``ModelError`` for a parameter that does not fit into half precision, and for a record
    that could not be read back: one whose labels are not as many as the head's outputs, or with a metric that is NaN.
    """
    halved = {key: _in_half(key, parameter).cpu().contiguous() for key, parameter in _parameters(network)}
    content = save({**state_to_save(network), **halved})
    what = f"the weights '{record.name}'"
    as_read = from_text(to_text(replace(record, sha256="0" * 64)), what)  # which may have 1.0 where a 1 was given
    complete = replace(as_read, sha256=record_sha256(content, as_read))
    check_content(content, complete, what)
    return _with_metadata(content, {"format": "pt", "licence": record.licence, METADATA_KEY: to_text(complete)})


def in_half_precision(network: Network) -> None:
    """Round the network's parameters to what ``record_bytes`` writes of them, in place, and as float32.

    Raises ``ModelError`` as that does, with the network as it was.
    """
    rounded = [(parameter, _in_half(key, parameter)) for key, parameter in _parameters(network)]
    with torch.no_grad():
        for parameter, half in rounded:
            parameter.copy_(half)


def _parameters(network: Network) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield the network's parameters under the keys of its file, where ``state_to_save`` has the buffers as well."""
    for key, parameter in network.body.named_parameters(remove_duplicate=False):
        yield network.original_keys[key], parameter
    for key, parameter in network.head.named_parameters(remove_duplicate=False):
        yield HEAD_PREFIX + key, parameter


def _in_half(key: str, parameter: Tensor) -> Tensor:
    half = parameter.detach().to(torch.float16)
    if not half.isfinite().all():
        raise ModelError(
            f"The parameter '{key}' does not fit into half precision: it reaches {parameter.abs().max().item():.3g}, "
            f"and {torch.finfo(torch.float16).max:.0f} is the largest number there. Train with a lower --lr."
        )
    return half


def _with_metadata(content: bytes, metadata: Mapping[str, str]) -> bytes:
    """Return a ``.safetensors`` file with these metadata, sorted: the library writes them in an order of chance."""
    end = 8 + int.from_bytes(content[:8], "little")
    header = {"__metadata__": dict(sorted(metadata.items())), **json.loads(content[8:end])}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-(-len(text) // 8) * 8)  # so that the tensors begin at a multiple of eight
    return len(text).to_bytes(8, "little") + text + content[end:]
