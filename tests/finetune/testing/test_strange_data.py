"""What a data set returns that is not as it is declared, and what is drawn without a seed, is told in plain words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.reporting import SILENT
from finetune.testing import Case, Finding, checks_of
from finetune.testing.load_once import described
from finetune.types import Dataset, DatasetRequest, Example

from .broken.loads import COPY, DRAWN

Held = Callable[[str, str], Finding]
BROKEN = "The data set 'pets' is broken: "
PET = Example(path=Path("1.png"), label="cat")
PETS = Dataset(name="pets", examples=(PET,), labels=("cat", "dog"), source="drawn", licence="CC0-1.0")
REQUEST = DatasetRequest(source="drawn", data=None, cache=Path("cache"), reporter=SILENT)


def with_example(**changes: Any) -> Dataset:
    return replace(PETS, examples=(replace(PET, **changes),))


def changed(**changes: Any) -> Dataset:
    return replace(PETS, **changes)


STRANGE = {
    "a path that is a str": (with_example(path="1.png"), f"{BROKEN}examples[0].path is '1.png', and not a pathlib"),
    "a part of another name": (with_example(part="validation"), f"{BROKEN}examples[0].part is 'validation', and not"),
    "a tuple": (changed(examples=(("1.png", "cat"),)), f"{BROKEN}examples[0] is tuple instead of Example"),
    "a label that is a number": (changed(labels=(1, 2)), f"{BROKEN}its label 1 is not a str"),
    "no values": (changed(task="regression"), f"{BROKEN}examples[0].values is (), and not 2 number(s)"),
    "a label twice": (changed(labels=("cat", "cat")), f"{BROKEN}its labels are not unique: cat, cat"),
    "what is no text": (changed(licence=b"CC0"), "that licence is b'CC0', which cannot become JSON"),
    "a generator": (changed(examples=iter((PET,))), "that examples is tuple_iterator instead of a tuple"),
    "a list of labels": (changed(labels=["cat", "dog"]), "that labels is list instead of a tuple"),
}


@pytest.mark.parametrize("name", STRANGE, ids=lambda name: name.replace(" ", "-"))
def test_what_is_not_as_declared_is_told_before_it_becomes_json(name: str) -> None:
    dataset, expected = STRANGE[name]
    assert described(dataset, REQUEST)["text"].startswith(expected)


def test_numbers_of_numpy_are_numbers() -> None:
    values = (np.float32(0.5), np.int64(2))
    (row,) = described(replace(with_example(values=values), task="regression"), REQUEST)["dataset"]["examples"]
    assert row["values"] == [0.5, 2.0]


def test_what_is_not_as_declared_is_what_loading_breaks(install: Callable[..., Path], held: Held) -> None:
    install({"data.py": ("path=path", "path=str(path)")})
    assert f"expected a Dataset; found {BROKEN}examples[0].path is '" in held(COPY, "loads").message


def test_a_load_that_ends_the_process_is_told_with_its_last_words(install: Callable[..., Path], held: Held) -> None:
    ends = "    import os, sys; sys.stderr.write('no pets today\\n'); sys.stderr.flush(); os._exit(1)\n"
    install({"data.py": ("    labels = LABELS\n", ends)})
    assert "found that it ended with status 1: no pets today. Read:" in held(COPY, "loads").message


def test_a_function_that_cannot_be_imported_is_told_in_the_same_words(install: Callable[..., Path], held: Held) -> None:
    install({"data.py": ("LABELS = (", "import no_such_library\n\nLABELS = (")})

    (first, second) = (held("plugin 'pets'", "functions-can-be-called"), held(DRAWN, "loads"))
    needs = held(COPY, "asks-for-what-it-needs")

    cause = "cannot be loaded from 'finetune_pets_"
    assert f"found that the data set 'pets' {cause}" in first.message
    assert "ModuleNotFoundError: No module named 'no_such_library'" in first.message
    assert first.message.partition("; found ")[2].partition(" Read:")[0] in second.message
    assert (needs.verdict, needs.message) == ("not checked", "it could not be loaded; see the rule 'loads'")


def test_what_is_drawn_without_a_seed_is_found_as_that_and_not_as_half_of_it(
    install: Callable[..., Path], case: Case
) -> None:
    install({"data.py": ("default_rng([kind, number])", "default_rng()")})
    rules = {check.rule.name: check for check in checks_of(case) if check.subject == DRAWN}

    drawn, survives = rules["is-the-same-elsewhere"].run(), rules["survives-an-interruption"].run()

    assert "found another one in an empty cache: something is drawn without a seed. Read:" in drawn.message
    assert (survives.verdict, survives.message) == ("not checked", "see the rule 'is-the-same-elsewhere'")


def test_what_is_drawn_with_a_seed_is_not_drawn_once_more(install: Callable[..., Path], case: Case) -> None:
    install()
    checks = [check for check in checks_of(case) if check.subject == DRAWN]
    (rule,) = (check for check in checks if check.rule.name == "is-the-same-elsewhere")

    assert rule.run().verdict == "ok"
    assert sorted(path.name for path in rule.thing.folder.iterdir()) == ["killed at file 2", "scratch", "whole"]
