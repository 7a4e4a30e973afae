"""From an intent to the pictures at hand; light, so that looking at pictures needs no torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from numbers import Real
from pathlib import Path
from typing import Any, get_args

from platformdirs import user_cache_path

from finetune.config import RunConfig
from finetune.errors import DataError, PluginError
from finetune.intent import Intent
from finetune.plugins import blaming, load_function
from finetune.types import Columns, Dataset, DatasetRequest, Example, Part, Reporter, Task


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

    Raises ``PluginError`` for what is not of its declared type and for repeated labels, ``DataError`` where there is
    nothing to tell apart: fewer than two classes, or no label or value at all.
    """
    what = f"The data set '{dataset.name}'"
    for problem in _malformed(dataset):
        raise PluginError(f"{what} is broken: {problem}.")
    classes = dataset.task == "single-label"
    if len(dataset.labels) < (2 if classes else 1) or not dataset.examples:
        kind, least = ("class(es)", "at least two classes are") if classes else ("label(s)", "at least one is")
        raise DataError(
            f"{what} holds {len(dataset.examples)} pictures of {len(dataset.labels)} {kind}; {least} needed. "
            "Check --data."
        )
    if dataset.task == "multi-label" and (divided := [label for label in dataset.labels if "|" in label]):
        raise DataError(f"{what} has the label '{divided[0]}', and '|' separates labels in tables. Rename it.")


def _malformed(dataset: Dataset) -> Iterator[str]:
    """Yield what is not as ``finetune.types`` declares it."""
    examples: Sequence[Any] = dataset.examples
    labels: Sequence[Any] = dataset.labels
    for name in ("examples", "labels", "notes"):
        if not isinstance(value := getattr(dataset, name), tuple):
            yield f"its {name} is {type(value).__name__} instead of a tuple"
    if dataset.task not in get_args(Task):
        yield f"its task is {dataset.task!r}, and not one of {', '.join(get_args(Task))}"
    if strange := [label for label in labels if not isinstance(label, str)]:
        yield f"its label {strange[0]!r} is not a str"
    if len(set(dataset.labels)) < len(dataset.labels):
        yield f"its labels are not unique: {', '.join(dataset.labels)}"
    for number, example in enumerate(examples):
        if not isinstance(example, Example):
            yield f"examples[{number}] is {type(example).__name__} instead of Example"
        for name, is_right, expected in _expected(example, dataset):
            if not is_right:
                yield f"examples[{number}].{name} is {getattr(example, name)!r}, and not {expected}"


def _expected(example: Any, dataset: Dataset) -> Iterator[tuple[str, bool, str]]:
    """Yield of each field of an example whether it is as declared, and how that is."""
    parts = get_args(Part)
    yield "path", isinstance(example.path, Path), "a pathlib.Path"
    yield "part", example.part is None or example.part in parts, f"None, {', '.join(parts)}"
    yield "group", example.group is None or isinstance(example.group, str), "None or a str"
    if dataset.task == "single-label":
        yield "label", isinstance(example.label, str), "a str"
    elif dataset.task == "multi-label":
        yield "labels", all(isinstance(label, str) for label in example.labels), "a tuple of str"
    else:
        count = len(dataset.labels)
        are_numbers = all(isinstance(value, Real) for value in example.values)
        yield "values", are_numbers and len(example.values) == count, f"{count} number(s), one for each label"
