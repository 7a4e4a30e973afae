"""Backbones of plugins that carry weights with a record: built as their architecture, from the plugin's own file."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from finetune.errors import ModelError, PluginError
from finetune.given_weights import architecture_behind
from finetune.networks.network import BackboneModel
from finetune.plugins import load_function, load_plugins
from finetune.run_folder import sha256_of
from finetune.types import Backbone, Weights
from finetune.weight_record import carried, place_of


def build(backbone: Backbone, image_size_px: int) -> BackboneModel:
    """Return the network that the record behind ``backbone.weights`` names, with random weights.

    It is built by whoever registered that architecture. Raises ``ModelError`` for a file that is gone, damaged or of
    an architecture that nobody offers, and ``PluginError`` for one that carries weights with a record itself.
    """
    architecture = architecture_behind(backbone, load_plugins())
    if architecture is None:
        raise PluginError(f"The backbone '{backbone.name}' is broken: there is no weight record behind it.")
    if carried(architecture):  # it would be looked for behind another record, and perhaps behind this one again
        raise PluginError(
            f"The backbone '{backbone.name}' is broken: its weight record says that its architecture is "
            f"'{architecture.name}', which is weights with a record itself. Report it to the plugin's author."
        )
    build_architecture = load_function(architecture.build, f"The backbone '{architecture.name}'")
    return cast(BackboneModel, build_architecture(architecture, image_size_px))


def find(weights: Weights) -> Path | None:
    """Return the plugin's own file; None where it is gone."""
    path = place_of(weights)
    return path if path.is_file() else None


def fetch(weights: Weights) -> Path:
    """Return the plugin's own file; raise ``ModelError`` where it is gone, or not the one that the plugin states."""
    path = find(weights)
    if path is None or not sha256_of(path).startswith(weights.sha256):
        what = "is not what its plugin states" if path else "is gone"
        raise ModelError(f"{place_of(weights)} {what}. Install the plugin again that offers the weights.")
    return path
