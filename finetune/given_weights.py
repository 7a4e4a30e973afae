"""What a weight record decides of a run: the backbone, and how pictures are prepared for it; light, and before torch.

A record is given by ``--weights FILE`` or by ``--backbone FILE``; the latter with ``--weights none`` means the same
network with random weights. What is said is never overruled, only refused; recipes and defaults give way.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from finetune.config import WORDS_FOR_WEIGHTS, RunConfig, RunOptions, is_file_of_weights, resolve
from finetune.errors import ConfigError, ModelError
from finetune.plugins import OWN_DISTRIBUTION, Plugins
from finetune.types import Backbone, WeightRecord
from finetune.weight_record import carried, carried_record, one_line, read_record


@dataclass(frozen=True)
class _Given:
    """A record, the option that it was given by, and the path that was said."""

    record: WeightRecord
    option: str
    path: str

    def __str__(self) -> str:
        return f"{self.option} {self.path}"


def with_record(config: RunConfig, said: Mapping[str, Any], plugins: Plugins) -> tuple[RunConfig, Backbone]:
    """Return the options with what a given record decides of them, and the backbone, with the record's preprocessing.

    Both are as they were asked for where no record is given. ``said`` is what somebody said himself. Raises
    ``ConfigError`` for what contradicts the record; ``ModelError`` for a file that is damaged, or of an architecture
    that nobody offers.
    """
    given = _given(config, said)
    if given is None:
        return config, plugins.find_backbone(config.backbone)
    _refuse_another_backbone(given, said.get("backbone"))
    architecture = architecture_of(given.record, plugins, given.path)
    if given.option == "--backbone" and said.get("weights") == "none":
        # In words of the options: a run's own configuration then says all of it, and needs the file no more.
        decided = {"backbone": architecture.name, "weights": "none", **_sizes(said, given.record)}
        return resolve(cast(RunOptions, {**vars(config), **decided})), architecture
    _refuse_scratch(given, config)
    decided = {"backbone": architecture.name, "weights": given.path, **_sizes(said)}
    return replace(config, **decided), prepared_as(architecture, given.record)


def architecture_of(record: WeightRecord, plugins: Plugins, path: Path | str) -> Backbone:
    """Return the registered backbone that the record in a file is of.

    Raises ``ModelError`` with who offered it where nobody does here: a near name would be another network. Raises
    ``PluginError`` where the plugin of that name is broken.
    """
    try:
        return plugins.find_backbone(record.architecture)
    except ConfigError as error:
        whose = one_line(record.offered_by)
        install = "a newer finetune" if whose == OWN_DISTRIBUTION else f"{whose} where you trust it, or a newer one"
        raise ModelError(
            f"The weight record of {path} says that its architecture is '{one_line(record.architecture)}' of "
            f"{whose}, and nobody offers that here. Install {install}; see 'finetune plugins'.{plugins.aside()}"
        ) from error


def architecture_behind(backbone: Backbone, plugins: Plugins) -> Backbone | None:
    """Return the registered backbone whose network one with carried weights is; None for any other backbone.

    Raises as ``carried_record`` does for the file, and as ``architecture_of`` does.
    """
    record, path = carried_record(backbone), carried(backbone)
    return architecture_of(record, plugins, path) if record and path else None


def prepared_as(backbone: Backbone, record: WeightRecord) -> Backbone:
    """Return the backbone with the preprocessing that the weights of a record were trained with."""
    return replace(
        backbone,
        image_size_px=record.image_size_px,
        crop_fraction=record.crop_fraction,
        mean=record.mean,
        std=record.std,
    )


def _sizes(said: Mapping[str, Any], record: WeightRecord | None = None) -> dict[str, Any]:
    """Return the options on the size of pictures: as they were said, or else the record's."""
    own = (record.image_size_px, record.crop_fraction) if record else (None, None)
    return {"image_size": said.get("image_size", own[0]), "crop_fraction": said.get("crop_fraction", own[1])}


def _given(config: RunConfig, said: Mapping[str, Any]) -> _Given | None:
    if is_file_of_weights("backbone", config.backbone):
        _refuse_other_weights(config.backbone, said.get("weights", "none"))
        return _Given(_record_for_backbone(Path(config.backbone)), "--backbone", config.backbone)
    path = Path(config.weights)
    if config.weights in WORDS_FOR_WEIGHTS or path.suffix != ".safetensors" or not path.is_file():
        return None
    record = read_record(path)
    return _Given(record, "--weights", config.weights) if record else None


def _record_for_backbone(path: Path) -> WeightRecord:
    if not path.is_file():
        raise ConfigError(
            f"--backbone {path}: there is no such file. Check the path, or give a name; see 'finetune list backbones'."
        )
    record = read_record(path)
    if record is None:
        raise ConfigError(
            f"--backbone {path} has no weight record that would say which network it is of; give --backbone NAME "
            f"--weights {path}."
        )
    return record


def _refuse_other_weights(backbone: str, weights: str | Path) -> None:
    if str(weights) not in WORDS_FOR_WEIGHTS and Path(weights).absolute() != Path(backbone).absolute():
        raise ConfigError(
            f"--backbone {backbone} brings its own weights, and --weights {weights} is another file; leave out one."
        )


def _refuse_scratch(given: _Given, config: RunConfig) -> None:
    if config.strategy == "scratch":
        otherwise = "leave out --weights" if given.option == "--weights" else "say --weights none"
        raise ConfigError(
            f"--strategy scratch starts from random weights, and {given} brings its own; give another --strategy, or "
            f"{otherwise}."
        )


def _refuse_another_backbone(given: _Given, backbone: str | Path | None) -> None:
    """Refuse a backbone that was said, and is not the record's; a recipe's was not said."""
    name = given.record.architecture
    if backbone is not None and not is_file_of_weights("backbone", backbone) and backbone != name:
        raise ConfigError(
            f"--backbone {backbone} is not what {given} holds, which is '{one_line(name)}'; leave out "
            f"--backbone, or give the weights of a {backbone}."
        )
