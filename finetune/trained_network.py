"""The trained network of a run's folder, put together again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from finetune import run_folder
from finetune.config import RunConfig, read_file, resolve
from finetune.errors import ConfigError, ModelError
from finetune.networks.network import Network, assemble, build_backbone, keep_up_to
from finetune.networks.weights import load_network
from finetune.plugins import load_plugins
from finetune_export import Contract

NEEDED = (run_folder.STATUS, run_folder.CONFIG, run_folder.WEIGHTS)
"""What of a run's folder its network is made of, and by which a model is known to be of it."""


def run_of(model: Path, run: Path | None, needed: Sequence[str] = NEEDED) -> Path | None:
    """Return the folder of the run that a model is of: ``run``, or the one it is in; None where that is no run's.

    ``needed`` are the names of the files that such a folder has. Raises ``ConfigError`` for a ``run`` without them.
    """
    folder = run or model.resolve().parent
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing and run:
        raise ConfigError(
            f"--run {run} is no run folder: it has no {missing[0]}. Give the folder that the model was made in."
        )
    return None if missing else folder


def refuse_foreign_model(model: Path, contract: Contract, folder: Path) -> None:
    """Raise ``ModelError`` unless the model with this contract was made by the run whose folder this is."""
    owner = json.loads((folder / run_folder.STATUS).read_text(encoding="utf-8"))["id"]
    if contract.run_id != owner:
        raise ModelError(
            f"{model} was made by the run {contract.run_id}, and {folder} holds the run {owner}. "
            "Give --run the folder that the model was made in."
        )


def config_of(folder: Path) -> RunConfig:
    """Return the options that decided the run in a folder."""
    return resolve(read_file(folder / run_folder.CONFIG))


def trained_network(model: Path, contract: Contract, folder: Path) -> Network:
    """Return the network that a run trained and ``model`` was made of, in eval mode: images (N, 3, S, S) to logits.

    Raises ``ConfigError`` where its backbone is of a plugin that is not at hand, ``ModelError`` where its weights are
    damaged or of another network.
    """
    config, size = config_of(folder), contract.preprocessing.image_size_px
    _refuse_missing_plugin(model, contract, config.backbone)
    backbone = load_plugins().find_backbone(config.backbone)
    kept = keep_up_to(build_backbone(backbone, size), config.layer)
    network = assemble(kept, len(contract.labels), size, config.head)
    load_network(network, folder / run_folder.WEIGHTS)
    return network.eval()


def _refuse_missing_plugin(model: Path, contract: Contract, backbone: str) -> None:
    backbones = load_plugins().backbones
    for plugin in contract.plugins:
        if f"backbone {backbone}" in plugin.used_for and backbone not in backbones:
            raise ConfigError(
                f"{model} was trained with the backbone '{backbone}' of {plugin.distribution} "
                f"{plugin.version}, which is not at hand; install that, and see 'finetune plugins'."
            )
