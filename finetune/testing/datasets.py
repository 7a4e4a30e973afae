"""What data sets promise: the same pictures in the same order everywhere, said truly, and whole or not at all."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune.config import resolve
from finetune.data.audit import class_counts, inspect
from finetune.data.findings import labels_of
from finetune.errors import FinetuneError
from finetune.intent import discover
from finetune.loading import check_dataset
from finetune.plugins import Plugins
from finetune.reporting import SILENT
from finetune.testing.rules import Broken, NotChecked, Rule
from finetune.testing.sources import NOT_LOADED, Loaded, SourceSubject, compare, loaded, only, problem_of
from finetune.types import DatasetSpec

_UNSAID = ("unknown", "none", "n/a", "na", "tbd", "todo", "?", "-")
_PATH = re.compile(r"(?<![\w.:/])/[\w.~-]+/[\w./~-]+|\b[A-Za-z]:\\\w+|file://")
"""A path of this machine in a sentence, and not the path of a web address."""


# ── loading ─────────────────────────────────────────────────────────────────────────────────────────


def _loads(subject: SourceSubject) -> None:
    subject.refuse_untried()
    told = subject.twice
    if told.answer is None:
        raise Broken(f"that {told.ending}{', in ' * bool(told.place)}{told.place}")
    for load in told.answer["loads"]:
        if "dataset" not in load:
            raise Broken(problem_of(load))


def _asks_for_what_it_needs(subject: SourceSubject) -> None:
    """Without what a source needs, the user reads what to give, and not a traceback."""
    if subject.spec.needs_data or not (subject.source.accepts_data or subject.source.accepts_name):
        return  # the host asks for data that is always needed
    told = subject.ask("bare", is_bare=True)
    if told.answer is None:
        raise Broken(f"that {told.ending}")
    (load,) = told.answer["loads"]
    if "unimportable" in load:
        raise NotChecked(NOT_LOADED)
    if "error" in load and not load["is_ours"]:
        raise Broken(problem_of(load))


def _prints_nothing(subject: SourceSubject) -> None:
    if subject.first and (printed := subject.twice.printed):
        raise Broken(f"'{printed}'")


def _leaves_the_process_alone(subject: SourceSubject) -> None:
    for load in (subject.first, subject.again):
        if load.changed:
            raise Broken(f"that it changes {', '.join(load.changed)}")


def _writes_only_into_its_cache(subject: SourceSubject) -> None:
    if subject.first and (outside := subject.twice.answer["outside"]):
        raise Broken(f"that it writes {outside[0]}")
    if subject.touched:
        raise Broken(f"that it changes {subject.touched}")


# ── the same every time ─────────────────────────────────────────────────────────────────────────────


def _is_the_same_again(subject: SourceSubject) -> None:
    compare(subject.first, subject.again, "the second time")


def _is_the_same_elsewhere(subject: SourceSubject) -> None:
    compare(subject.first, subject.elsewhere, "in another process")
    # A load that was killed and gone on with is one more draw; only where that is another one is it drawn once more.
    told = subject.resumed
    resumed = told.answer["loads"][0] if told and told.answer else {}
    if "dataset" in resumed and _differ(subject.first, loaded(resumed)) and _differ(subject.first, subject.anew):
        raise Broken("another one in an empty cache: something is drawn without a seed")


def _differ(first: Loaded, second: Loaded) -> bool:
    try:
        compare(first, second, "")
    except Broken:
        return True
    return False


def _survives_an_interruption(subject: SourceSubject) -> None:
    try:
        _is_the_same_elsewhere(subject)
    except Broken as broken:
        raise NotChecked("see the rule 'is-the-same-elsewhere'") from broken
    if (told := subject.resumed) is None:
        return  # it makes no file, and so no half of anything
    if told.answer is None:
        raise Broken(f"that {told.ending} when it is loaded again")
    compare(subject.first, only(told), "after an interruption")


# ── what there is ───────────────────────────────────────────────────────────────────────────────────


def _names_its_labels(subject: SourceSubject) -> None:
    try:
        check_dataset(subject.first.dataset)
    except FinetuneError as error:
        raise Broken(str(error).rstrip(".")) from error


def _shows_every_label(subject: SourceSubject) -> None:
    dataset = subject.first.dataset
    shown = class_counts(dataset.examples)
    if unlisted := [label for label in shown if label not in dataset.labels]:
        example = next(example for example in dataset.examples if unlisted[0] in labels_of(example))
        raise Broken(f"that {example.path.name} has the label '{unlisted[0]}', which is not listed")
    if dataset.task != "regression" and (bare := [label for label in dataset.labels if label not in shown]):
        raise Broken(f"no picture of '{bare[0]}'")


def _has_pictures_that_decode(subject: SourceSubject) -> None:
    dataset = subject.first.dataset
    if missing := [example for example in dataset.examples if not example.path.is_file()]:
        raise Broken(f"that {missing[0].path.name} is not there")
    audited = inspect(dataset, SILENT)
    refused, allowed = audited.refused, resolve(subject.source.recipe).max_unreadable
    if len(refused) > allowed * len(dataset.examples):
        first = refused[0]
        raise Broken(f"{len(refused)} that do not, the first {first.example.path.name}: {first.reason}")


def _keeps_parts_apart(subject: SourceSubject) -> None:
    seen: dict[str, Mapping[str, Any]] = {}
    for row in subject.first.rows:
        for same in filter(None, (row["place"], row["sha256"])):
            other = seen.setdefault(same, row)
            if other["part"] != row["part"]:
                also = "the same file" if same == row["place"] else f"{row['place']}, which equals it,"
                raise Broken(f"{other['place']} in '{other['part']}' and {also} in '{row['part']}'")


# ── what is said of it ──────────────────────────────────────────────────────────────────────────────


def _states_its_licence(subject: SourceSubject) -> None:
    licence = subject.first.facts["licence"].strip()
    if licence.casefold() in ("", *_UNSAID):
        raise Broken(f"'{licence}'")


def _states_its_source(subject: SourceSubject) -> None:
    source = subject.first.facts["source"].strip()
    if source.casefold() in ("", *_UNSAID):
        raise Broken(f"'{source}'")


def _names_no_path(subject: SourceSubject) -> None:
    facts = subject.first.facts
    for name in ("source", "licence", "notes"):
        for text in [facts[name]] if isinstance(facts[name], str) else facts[name]:
            if found := _PATH.search(text):
                raise Broken(f"{found[0]} in its {name}")


# ── recipes ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class SpecSubject:
    """A data set as it is registered."""

    spec: DatasetSpec
    plugins: Plugins


def _recipes_can_be_run(subject: SpecSubject) -> None:
    for what, said in _recipes(subject.spec):
        try:
            discover(said)
        except FinetuneError as error:
            raise Broken(f"the {what}, of which a run says: {str(error).rstrip('.')}") from error


def _recipes(spec: DatasetSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    data = {"data": Path("data.csv")} if spec.needs_data else {}
    for source in spec.sources:
        yield f"source '{source.name}'", {"plugin": spec.name, "source": source.name, **data}
    for recipe in spec.recipes:
        yield f"recipe '{recipe.name}'", {"plugin": spec.name, "recipe": recipe.name, **data}


_LOAD, _DATASET = "finetune.types.DatasetRequest", "finetune.types.Dataset"
_RULES = (
    ("loads", "a Dataset", _LOAD, _loads),
    (
        "asks-for-what-it-needs",
        "a data set, or one line that says what to give",
        "finetune.errors",
        _asks_for_what_it_needs,
    ),
    (
        "prints-nothing",
        "that loading prints nothing itself",
        "finetune.types.Reporter",
        _prints_nothing,
    ),
    (
        "leaves-the-process-alone",
        "that loading changes nothing around it",
        "finetune.testing.surroundings",
        _leaves_the_process_alone,
    ),
    (
        "writes-only-into-its-cache",
        "that loading writes nowhere but into its cache",
        _LOAD,
        _writes_only_into_its_cache,
    ),
    ("is-the-same-again", "the same data set when it is loaded again", _DATASET, _is_the_same_again),
    ("is-the-same-elsewhere", "the same data set in every process", _DATASET, _is_the_same_elsewhere),
    (
        "survives-an-interruption",
        "the whole data set after a load was killed",
        "finetune.download.whole_folder",
        _survives_an_interruption,
    ),
    ("names-its-labels", "labels, and enough of them", _DATASET, _names_its_labels),
    (
        "shows-every-label",
        "pictures of each label that is listed, and of no other",
        _DATASET,
        _shows_every_label,
    ),
    ("has-pictures-that-decode", "pictures that can be read", _DATASET, _has_pictures_that_decode),
    ("keeps-parts-apart", "each picture in one part", "finetune.types.Example", _keeps_parts_apart),
    ("states-its-licence", "a licence, or a sentence on there being none", _DATASET, _states_its_licence),
    ("states-its-source", "where the pictures come from", _DATASET, _states_its_source),
    (
        "names-no-path",
        "a source, a licence and notes without a path of this machine",
        _DATASET,
        _names_no_path,
    ),
)
RULES = tuple(
    Rule(name=name, kind="dataset", expects=expects, read=read, hold=hold) for name, expects, read, hold in _RULES
)
"""What every source of a data set is held against."""
RECIPE_RULES = (
    Rule(
        name="recipes-can-be-run",
        kind="dataset",
        expects="sources and recipes whose options a run takes",
        read="finetune.types.Recipe",
        hold=_recipes_can_be_run,
    ),
)
"""What a data set as it is registered is held against."""
