"""What the user asked for, resolved; light, so that what is wrong is refused before torch is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from finetune.config import (
    FIELDS,
    FROM_SCRATCH,
    OF_PICTURES,
    PRETRAINING,
    WORDS_FOR_WEIGHTS,
    PretrainOptions,
    RunConfig,
    RunOptions,
    flag,
    read_file,
    resolve,
)
from finetune.errors import ConfigError
from finetune.given_weights import architecture_behind, with_record
from finetune.names import unknown_name
from finetune.plugins import OWN_DISTRIBUTION, Plugins, load_plugins
from finetune.types import Backbone, DatasetSpec, Metric, Source, Weights
from finetune.weight_record import carried_record


@dataclass(frozen=True, kw_only=True)
class Intent:
    """What the user asked for, resolved: the options, and the registered things they name.

    ``defaults`` are the options as they are where nobody says anything.
    """

    config: RunConfig
    plugins: Plugins
    spec: DatasetSpec
    source: Source
    backbone: Backbone
    defaults: RunConfig = field(default_factory=RunConfig)

    @property
    def metrics(self) -> dict[str, Metric]:
        """The metrics that the run measures: finetune's own, and those of plugins that were asked for."""
        asked = (*self.config.metric, self.config.monitor)
        owners = {name: self.plugins.owner("metric", name).distribution for name in self.plugins.metrics}
        ours = (name for name, owner in owners.items() if owner == OWN_DISTRIBUTION)
        return {name: self.plugins.metrics[name] for name in dict.fromkeys((*ours, *filter(None, asked)))}


def discover(
    options: Mapping[str, Any],
    config_file: Path | None = None,
    *,
    below: Mapping[str, Any] = MappingProxyType({}),
    fixed: Mapping[str, Any] = MappingProxyType({}),
) -> Intent:
    """Resolve what was said into an intent: defaults < the source's recipe < the recipe asked for < file < options.

    ``below`` are other defaults, and ``fixed`` lies above all; where that names a strategy, a recipe that was written
    for another one counts for what it says of the pictures alone. Raises ``ConfigError`` for an unknown name or value,
    ``PluginError`` when a plugin that is needed is broken.
    """
    said = {**(read_file(Path(config_file)) if config_file else {}), **options, **fixed}
    asked = resolve(cast(RunOptions, said))
    if asked.plugin is None and asked.data is None:
        raise ConfigError("Nothing to train on; give --plugin NAME or --data DIR. See 'finetune list datasets'.")
    _refuse_contradictions(asked)
    plugins = load_plugins()
    spec = plugins.find_dataset(asked.plugin or _builtin_for(asked.data))
    recipe = _recipe(spec, asked)
    source = _source(spec, resolve(recipe, cast(RunOptions, said)))
    recipes = (_counting(source.recipe, fixed), _counting(recipe, fixed))
    config = resolve(cast(RunOptions, below), *recipes, cast(RunOptions, said))
    _refuse_unused_columns(config, spec, source)
    for target in config.target:
        plugins.find_target(target)
    for name in config.callback:
        plugins.find_callback(name)
    _refuse_unknown_metrics(config, plugins)
    config, backbone = with_record(config, said, plugins)
    _refuse_unused_weights(config)
    if config.weights == "pretrained" and config.strategy != "scratch":
        published_weights(backbone)
    defaults = resolve(cast(RunOptions, below))
    return Intent(config=config, plugins=plugins, spec=spec, source=source, backbone=backbone, defaults=defaults)


def discover_pretraining(options: Mapping[str, Any], config_file: Path | None = None) -> Intent:
    """Resolve what was said of a training from scratch; a file may have all options of a run.

    Of them, those in ``FROM_SCRATCH`` are as they are there. Raises as ``discover`` does.
    """
    refuse_options_of_a_run(options)
    return _of_architecture(discover(options, config_file, below=PRETRAINING, fixed=FROM_SCRATCH))


def refuse_options_of_a_run(options: Mapping[str, Any]) -> None:
    """Raise ``ConfigError`` for an option that a run has, and a training from scratch has not."""
    strange = [name for name in options if name in FIELDS and name not in PretrainOptions.__annotations__]
    if strange:
        raise ConfigError(
            f"{flag(strange[0])} is for networks that have learned before, and a pretraining starts from random "
            "weights; leave it out, or use 'finetune run'."
        )


def _of_architecture(intent: Intent) -> Intent:
    """Return the intent with the network itself, where the backbone is one that a plugin pretrained."""
    config, record = intent.config, carried_record(intent.backbone)
    architecture = architecture_behind(intent.backbone, intent.plugins)
    if record is None or architecture is None:
        return intent
    sizes = (config.image_size or record.image_size_px, config.crop_fraction or record.crop_fraction)
    config = replace(config, backbone=architecture.name, image_size=sizes[0], crop_fraction=sizes[1])
    return replace(intent, config=config, backbone=architecture)


def _counting(recipe: RunOptions, fixed: Mapping[str, Any]) -> RunOptions:
    """Return what counts of a recipe: epochs and rates of one way to train mean nothing to another."""
    if "strategy" not in fixed or recipe.get("strategy") == fixed["strategy"]:
        return recipe
    return cast(RunOptions, {name: value for name, value in recipe.items() if name in OF_PICTURES})


TABLE_SUFFIXES = (".csv", ".tsv", ".parquet", ".pq")
"""What ``--data`` ends with, in lower case, where it is a table and no folder."""
COLUMN_OPTIONS = ("image_col", "label_col", "label_separator", "split_col", "group_col", "skip_missing")


def _builtin_for(data: Path | None) -> str:
    return "table" if data and data.suffix.lower() in TABLE_SUFFIXES and not data.is_dir() else "folder"


def _refuse_unused_columns(config: RunConfig, spec: DatasetSpec, source: Source) -> None:
    said = [flag(name) for name in COLUMN_OPTIONS if getattr(config, name)]
    if said and not source.has_columns:
        raise ConfigError(
            f"{said[0]} is for tables, and the source '{source.name}' of '{spec.name}' is none; leave it out, or give "
            "--data a .csv, .tsv or .parquet file."
        )


def _refuse_unused_weights(config: RunConfig) -> None:
    """Refuse a file of weights that would be left unused, whoever asked for random ones."""
    if config.strategy == "scratch" and config.weights not in WORDS_FOR_WEIGHTS:
        raise ConfigError(
            f"--strategy scratch starts from random weights, and --weights {config.weights} is a file; leave out one."
        )


def _refuse_contradictions(asked: RunConfig) -> None:
    if asked.fold is not None and (asked.folds is None or asked.fold > asked.folds):
        raise ConfigError(f"--fold {asked.fold} is not allowed; give --folds, and a number from 1 to it.")
    if asked.folds is not None and asked.split is not None:
        raise ConfigError("--folds divides the pictures itself, and --split says how; leave out one.")
    if asked.group_col is not None and asked.group_pattern is not None:
        raise ConfigError("--group-col and --group-pattern both say what the groups are; leave out one.")


def _refuse_unknown_metrics(config: RunConfig, plugins: Plugins) -> None:
    for option, name in (("--monitor", config.monitor), *(("--metric", name) for name in config.metric)):
        if name is not None and name not in plugins.metrics:
            more = "See 'finetune list metrics' and 'finetune plugins'."
            raise ConfigError(unknown_name(option, name, plugins.metrics, more))


def published_weights(backbone: Backbone) -> Weights:
    """Return the record of a backbone's pretrained weights; raise ``ConfigError`` where it has none."""
    if backbone.weights is None:
        raise ConfigError(
            f"The backbone '{backbone.name}' has no pretrained weights; give --weights FILE or --weights none."
        )
    return backbone.weights


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
        form = "FILE" if any(source.has_columns for source in spec.sources) else "DIR"
        raise ConfigError(f"The data set '{spec.name}' needs --data {form}.")
    fitting = [source for source in spec.sources if source.accepts_data or asked.data is None]
    chosen = sources[asked.source] if asked.source else next(iter(fitting), spec.sources[0])
    if asked.name is not None and not chosen.accepts_name:
        raise ConfigError(f"The source '{chosen.name}' of '{spec.name}' takes no --name; leave it out.")
    if asked.data is not None and not chosen.accepts_data:
        raise ConfigError(f"The source '{chosen.name}' of '{spec.name}' takes no --data; leave out one of the two.")
    return chosen
