"""Write the table of timm's classifiers anew, from the installed timm: ``python -m finetune_timm.tabulate``.

Facts about weights are read off timm's own records. Which image sizes a network takes is found by trying, on the meta
device, where nothing is computed: the smallest of a few sizes whose forward pass leaves no empty map, and the smallest
number that sizes have to be a multiple of. It takes about ten minutes.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import takewhile
from typing import Any

import timm
import torch
from timm.models import PretrainedCfg, get_pretrained_cfg, model_entrypoint
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_iter

from finetune_timm.building import arguments
from finetune_timm.table import TABLE, Row, channels, line_of

STARTS_PX = (32, 64, 96, 128, 160, 192, 224)
"""The sizes from which on a network may take pictures."""
POWERS = 8
"""How many powers of two, times the side of a patch, are tried as what sizes have to be a multiple of."""
TRIED = 4
"""How many sizes, each a multiple larger than the one before, have to be taken."""
CHANNELS = 3
HEADLESS = ("_enc",)
"""How the names of architectures end that have no head."""


def main() -> None:
    """Write the table into the package."""
    warnings.simplefilter("ignore")
    TABLE.write_text("".join(f"{line}\n" for line in lines()), encoding="utf-8")


def lines() -> Iterator[str]:
    """Yield the lines of the table, and say on stderr which one is being made."""
    sizes = Sizes()
    for name in names():
        sys.stderr.write(f"{name}\n")
        yield line_of(row_of(name, sizes))


def names() -> list[str]:
    """Return what timm has weights for, and the architectures that it has none for, sorted.

    Encoders that answer with their tokens alone, and have no head of any kind, are left out.
    """
    pretrained = timm.list_pretrained()
    known = {name.partition(".")[0] for name in pretrained}
    every = sorted([*pretrained, *(name for name in timm.list_models() if name not in known)])
    return [name for name in every if not name.partition(".")[0].endswith(HEADLESS)]


def row_of(name: str, sizes: Sizes) -> Row:
    """Return the facts about ``architecture.tag``, or about an architecture without weights."""
    facts = get_pretrained_cfg(name)
    assert facts is not None, f"timm lists {name}"
    size = facts.input_size[-1]
    model = on_meta(name, size)
    smallest, multiple = sizes.of(name, model, size, facts.fixed_input_size)
    return Row(
        name=name,
        family=family_of(name),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        image_size_px=size,
        min_image_size_px=smallest,
        multiple_px=multiple,
        crop_fraction=facts.crop_pct,
        mean=channels(facts.mean),
        std=channels(facts.std),
        licence=facts.license or "unknown",
        source=source_of(name, facts),
    )


def family_of(name: str) -> str:
    """Return the name of the module of timm that an architecture is in."""
    return str(model_entrypoint(name.partition(".")[0]).__module__.rpartition(".")[2])


def source_of(name: str, facts: PretrainedCfg) -> str:
    """Return where the weights are: the hub's name for them, 'timm' for timm/name, a URL, or '' if there are none."""
    if "." not in name:
        return ""
    if facts.hf_hub_id:
        return "timm" if facts.hf_hub_id == f"timm/{name}" else str(facts.hf_hub_id)
    return str(facts.url or "")


# ── image sizes ─────────────────────────────────────────────────────────────────────────────────────


class Sizes:
    """The image sizes that networks take, found by trying one of each kind.

    Of one kind are networks in one module of timm whose names begin with the same letters, with patches of one size,
    and, where they are made for an image size, for the same.
    """

    def __init__(self) -> None:
        self._found: dict[tuple[str, str, int, int], tuple[int, int]] = {}

    def of(self, name: str, model: Any, default_px: int, is_fixed: bool) -> tuple[int, int]:
        """Return the smallest size, and the number that sizes have to be a multiple of."""
        letters = "".join(takewhile(str.isalpha, name))
        patch = patch_px(model)
        kind = (family_of(name), letters, patch, default_px if is_fixed else 0)
        if kind not in self._found or not _is_allowed(default_px, *self._found[kind]):
            self._found[kind] = _tried(name, None if is_fixed else model, default_px, patch)
        return self._found[kind]


def _is_allowed(size: int, smallest: int, multiple: int) -> bool:
    return size >= smallest and size % multiple == 0


def _tried(name: str, model: Any, default_px: int, patch: int) -> tuple[int, int]:
    """Return what ``Sizes.of`` does; without a ``model`` it is built anew for each size."""

    @cache
    def is_taken(size: int) -> bool:
        return takes(model or on_meta(name, size), size)

    multiples = [patch * 2**power for power in range(POWERS) if default_px % (patch * 2**power) == 0]
    for multiple in multiples:
        for start in STARTS_PX:
            smallest = -(-start // multiple) * multiple
            if smallest <= default_px and all(is_taken(smallest + number * multiple) for number in range(TRIED)):
                return smallest, multiple
    return default_px, default_px


def patch_px(model: Any) -> int:
    """Return the side of the patches that a network of tokens cuts a picture into; what is over would be lost."""
    patches = getattr(model, "patch_embed", None)
    size = getattr(patches, "patch_size", 1)
    return int(size[0] if isinstance(size, Sequence) else size) if getattr(patches, "strict_img_size", False) else 1


def takes(model: Any, size: int) -> bool:
    """Whether a network, or None, makes features of pictures of a size."""
    if model is None:
        return False
    images = torch.empty(2, CHANNELS, size, size, device="meta")
    try:
        with torch.no_grad():
            features = model.forward_features(images)
            model.forward_head(features)
    except Exception:
        return False
    return all(leaf.numel() for leaf in tree_iter(features) if isinstance(leaf, Tensor))


def on_meta(name: str, size: int) -> Any:
    """Return timm's network for an image size on the meta device; None where it cannot be built."""
    try:
        with torch.device("meta"), _NoInitialisation():
            return timm.create_model(name, **arguments(name, size)).eval()
    except Exception:
        return None


class _NoInitialisation(TorchFunctionMode):
    """Leaves out what only changes numbers in place: there are none on the meta device, and it takes its time."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func.__name__.endswith("_") and not func.__name__.startswith("_") and args and _is_on_meta(args[0]):
            return args[0]
        return func(*args, **(kwargs or {}))


def _is_on_meta(given: object) -> bool:
    """Whether it is a tensor without numbers."""
    return isinstance(given, Tensor) and given.is_meta


if __name__ == "__main__":
    main()
