"""What the user asked for, resolved; light, so that what is wrong is refused before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from finetune.config import WORDS_FOR_WEIGHTS, RunConfig, RunOptions, read_file, resolve
from finetune.errors import ConfigError
from finetune.names import unknown_name
from finetune.plugins import Plugins, load_plugins
from finetune.types import Backbone, DatasetSpec, Source


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What the user asked for, resolved: the options, and the registered things they name."""

    config: RunConfig
    plugins: Plugins
    spec: DatasetSpec
    source: Source
    backbone: Backbone


def discover(options: Mapping[str, Any], config_file: Path | None = None) -> Intent:
    """Resolve what was said into an intent: defaults < the source's recipe < the recipe asked for < file < options.

    Raises ``ConfigError`` for an unknown name or value, ``PluginError`` when a plugin that is needed is broken.
    """
    said = {**(read_file(Path(config_file)) if config_file else {}), **options}
    asked = resolve(cast(RunOptions, said))
    if asked.plugin is None and asked.data is None:
        raise ConfigError("Nothing to train on; give --plugin NAME or --data DIR. See 'finetune list datasets'.")
    _refuse_contradictions(asked)
    plugins = load_plugins()
    spec = plugins.find_dataset(asked.plugin or "folder")
    recipe = _recipe(spec, asked)
    source = _source(spec, resolve(recipe, cast(RunOptions, said)))
    config = resolve(source.recipe, recipe, cast(RunOptions, said))
    for target in config.target:
        plugins.find_target(target)
    return Intent(
        config=config, plugins=plugins, spec=spec, source=source, backbone=plugins.find_backbone(config.backbone)
    )


def _refuse_contradictions(asked: RunConfig) -> None:
    if asked.strategy == "scratch" and asked.weights not in WORDS_FOR_WEIGHTS:
        raise ConfigError(
            f"--strategy scratch starts from random weights, and --weights {asked.weights} is a file; leave out one."
        )


def _recipe(spec: DatasetSpec, asked: RunConfig) -> RunOptions:
    recipes = {recipe.name: recipe.options for recipe in spec.recipes}
    if asked.recipe is None:
        return RunOptions()
    if asked.recipe not in recipes:
        raise ConfigError(unknown_name(f"recipe of '{spec.name}'", asked.recipe, recipes))
    return recipes[asked.recipe]


def _source(spec: DatasetSpec, asked: RunConfig) -> Source:
    sources = {source.name: source for source in spec.sources}
    if asked.source is not None and asked.source not in sources:
        raise ConfigError(unknown_name(f"source of '{spec.name}'", asked.source, sources))
    if spec.needs_data and asked.data is None:
        raise ConfigError(f"The data set '{spec.name}' needs --data DIR.")
    fitting = [source for source in spec.sources if source.accepts_data or asked.data is None]
    chosen = sources[asked.source] if asked.source else next(iter(fitting), spec.sources[0])
    if asked.data is not None and not chosen.accepts_data:
        raise ConfigError(f"The source '{chosen.name}' of '{spec.name}' takes no --data; leave out one of the two.")
    return chosen
