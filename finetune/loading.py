"""From an intent to the pictures at hand; light, so that looking at pictures needs no torch."""

from __future__ import annotations

from pathlib import Path

from platformdirs import user_cache_path

from finetune.config import RunConfig
from finetune.errors import DataError, PluginError
from finetune.intent import Intent
from finetune.plugins import blaming, load_function
from finetune.types import Columns, Dataset, DatasetRequest, Reporter


def load_dataset(intent: Intent, reporter: Reporter) -> Dataset:
    """Return the data set, made or fetched into a cache folder of its own where it is not at hand.

    Raises ``DataError`` for pictures that cannot be trained on, ``PluginError`` for a plugin that is broken.
    """
    spec = intent.spec
    what = f"The data set '{spec.name}'"
    load = load_function(spec.load, what)
    request = DatasetRequest(
        source=intent.source.name,
        data=intent.config.data,
        cache=user_cache_path("finetune") / "datasets" / spec.name,
        reporter=reporter,
        name=intent.config.name,
        columns=columns_of(intent.config),
    )
    with blaming(what):
        dataset = load(request)
    if not isinstance(dataset, Dataset):
        raise PluginError(f"{what} is broken: {spec.load} returned {type(dataset).__name__} instead of Dataset.")
    check_dataset(dataset)
    return dataset


def columns_of(config: RunConfig) -> Columns:
    """Return where a table has what, as the options say it."""
    return Columns(
        task=None if config.task == "auto" else config.task,
        image=config.image_col,
        labels=config.label_col,
        separator=config.label_separator,
        part=config.split_col,
        group=config.group_col,
        skip_missing=config.skip_missing,
    )


def check_dataset(dataset: Dataset) -> None:
    """Refuse now what a data set could only be blamed for after training.

    Raises ``PluginError`` for repeated labels or paths that are none, ``DataError`` where there is nothing to tell
    apart: fewer than two classes, or no label or value at all.
    """
    what = f"The data set '{dataset.name}'"
    if len(set(dataset.labels)) < len(dataset.labels):
        raise PluginError(f"{what} is broken: its labels are not unique: {', '.join(dataset.labels)}.")
    if not all(isinstance(example.path, Path) for example in dataset.examples):
        raise PluginError(f"{what} is broken: the path of an example is not a pathlib.Path.")
    classes = dataset.task == "single-label"
    if len(dataset.labels) < (2 if classes else 1) or not dataset.examples:
        kind, least = ("class(es)", "at least two classes are") if classes else ("label(s)", "at least one is")
        raise DataError(
            f"{what} holds {len(dataset.examples)} pictures of {len(dataset.labels)} {kind}; {least} needed. "
            "Check --data."
        )
    if dataset.task == "multi-label" and (divided := [label for label in dataset.labels if "|" in label]):
        raise DataError(f"{what} has the label '{divided[0]}', and '|' separates labels in tables. Rename it.")
