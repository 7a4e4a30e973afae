"""What the labels of a table are taken for, and how each that does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.types import Dataset

SWITCHED = "image,cat,dog\na.jpg,1,0\nb.jpg,0,1\nc.jpg,1,1\nd.jpg,0,0\n"
DIVIDED = "image,labels\na.jpg,cat|dog\nb.jpg,dog\nc.jpg,\n"
MEASURED = "image,x,y\na.jpg,1.5,-2\nb.jpg,.5,1e3\n"


# ── single labels ───────────────────────────────────────────────────────────────────────────────────


def test_one_column_of_words_is_single_labels(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table("image,label\na.jpg,dog\nb.jpg,cat\n"))

    assert (dataset.task, dataset.labels, dataset.notes) == ("single-label", ("cat", "dog"), ())


def test_labels_are_stripped_and_composed(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = table("image,label\na.jpg, Ka\u0308fer \nb.jpg,K\u00e4fer\nc.jpg,cat\n")

    assert loaded(path).labels == ("K\u00e4fer", "cat")


def test_labels_that_differ_only_in_case_are_noted(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = table("image,label\na.jpg,Great Dane\nb.jpg,great dane\n")

    assert loaded(path).notes == (
        "The classes 'Great Dane' and 'great dane' differ only in case or spaces; are they one class?",
    )


def test_whole_numbers_are_labels_and_that_is_said(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table("image,label\na.jpg,10\nb.jpg,9\nc.jpg,010\n"))

    assert (dataset.task, dataset.labels) == ("single-label", ("010", "10", "9"))
    assert dataset.notes == ("The numbers in the column 'label' count as labels; for amounts say --task regression.",)


def test_decimal_numbers_may_be_values_or_labels_and_are_not_guessed(
    table: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    path = table("image,label\na.jpg,1\nb.jpg,2.0\n")

    assert refusal(path, status=2) == (
        "line 3 has '2.0' in the column 'label': a value or a label? Say --task regression or --task single-label."
    )
    assert loaded(path, task="single-label").labels == ("1", "2.0")
    assert loaded(path, task="regression").labels == ("label",)


def test_labels_with_strokes_are_not_guessed(
    table: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    path = table(DIVIDED)

    assert refusal(path, status=2) == (
        "line 2 has 'cat|dog' in the column 'labels': one label or several? Say --task single-label or "
        "--label-separator '|'."
    )
    assert loaded(path, separator="|").task == "multi-label"


@pytest.mark.parametrize("label", ['"c\nat"', '"c\rat"', "c\x07at", "c\u0085at"])
def test_a_label_with_a_control_character_is_refused(
    table: Callable[..., Path], refusal: Callable[..., str], label: str
) -> None:
    told = refusal(table(f"image,label\na.jpg,dog\nb.jpg,{label}\n"))

    assert told == (
        f"photos.csv, line 3: the label {label.strip(chr(34))!r} has a line break or control character. Remove it."
    )


def test_empty_labels_are_named_and_counted(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    assert refusal(table("image,label\na.jpg,cat\nb.jpg,\nc.jpg,  \nd.jpg,\n")) == (
        "photos.csv, line 3: its label is empty. Fill it in, or remove the row. "
        "More of it: 2 without a label or value (lines 4, 5)."
    )


def test_one_label_is_not_enough(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    assert refusal(table("image,label\na.jpg,cat\nb.jpg,cat\n")) == (
        "photos.csv holds one label, 'cat'; at least two are needed. See --label-col and --task."
    )


# ── several labels ──────────────────────────────────────────────────────────────────────────────────


def test_a_separator_makes_several_labels(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table("image,labels\na.jpg, dog | cat |dog|\nb.jpg,dog\nc.jpg,\n"), separator="|")

    assert (dataset.task, dataset.labels) == ("multi-label", ("cat", "dog"))
    assert [example.labels for example in dataset.examples] == [("dog", "cat"), ("dog",), ()]
    assert dataset.notes == ("No label applies to 1 of 3 pictures.",)


@pytest.mark.parametrize("words", [("1", "0"), ("true", "false"), ("TRUE", "False"), ("yes", "no"), ("1", "no")])
def test_several_columns_of_yes_and_no_are_several_labels(
    table: Callable[..., Path], loaded: Callable[..., Dataset], words: tuple[str, str]
) -> None:
    text = SWITCHED.replace("1", words[0]).replace("0", words[1])

    dataset = loaded(table(text), labels=("dog", "cat"))

    assert (dataset.task, dataset.labels) == ("multi-label", ("dog", "cat"))
    assert [example.labels for example in dataset.examples] == [("cat",), ("dog",), ("dog", "cat"), ()]


def test_a_column_that_is_empty_for_a_picture_is_unknown_and_not_no(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = table(SWITCHED.replace("b.jpg,0,1", "b.jpg,,1"))

    assert refusal(path, labels=("cat", "dog")) == (
        "photos.csv, line 3: the column 'cat' is empty. Fill it in, or remove the row."
    )


def test_a_label_that_never_applies_is_named(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = table("image,cat,dog,fox\na.jpg,1,0,0\nb.jpg,0,1,0\n")

    assert refusal(path, labels=("cat", "dog", "fox")) == (
        "photos.csv: the label 'fox' applies to no picture. Leave its column out."
    )


def test_where_several_labels_are_asked_for_the_first_cell_that_is_none_is_named(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    assert refusal(table(MEASURED), task="multi-label", labels=("x", "y")) == (
        "photos.csv, line 2: '1.5' in the column 'x' is neither 0 nor 1. Write 0 or 1, true or false, yes or no. "
        "More of it: 1 with neither yes nor no (line 3)."
    )


def test_one_of_several_labels_is_enough_and_none_is_not(
    table: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    assert loaded(table("image,labels\na.jpg,cat\nb.jpg,\n"), separator="|").labels == ("cat",)
    assert refusal(table("image,labels\na.jpg,\nb.jpg,|\n"), separator="|") == (
        "photos.csv holds no labels; at least one is needed. See --label-col and --task."
    )


# ── values ──────────────────────────────────────────────────────────────────────────────────────────


def test_several_columns_of_numbers_are_values(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table(MEASURED), labels=("y", "x"))

    assert (dataset.task, dataset.labels) == ("regression", ("y", "x"))
    assert [example.values for example in dataset.examples] == [(-2.0, 1.5), (1000.0, 0.5)]


def test_yes_and_no_are_values_where_that_is_said(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table(SWITCHED), labels=("cat", "dog"), task="regression")

    assert [example.values for example in dataset.examples] == [(1, 0), (0, 1), (1, 1), (0, 0)]


@pytest.mark.parametrize("stray", ["2", "0.5", "-1", "01"])
def test_one_other_number_does_not_make_values_of_labels(
    table: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str], stray: str
) -> None:
    path = table(SWITCHED.replace("c.jpg,1,1", f"c.jpg,{stray},1"))

    assert refusal(path, status=2, labels=("cat", "dog")) == (
        f"line 4 has '{stray}' in the column 'cat', while 'dog' holds only 0 and 1: values or labels? Say --task "
        "regression, or correct the cell to 0 or 1."
    )
    assert loaded(path, labels=("cat", "dog"), task="regression").task == "regression"


def test_numbers_are_values_where_no_column_is_of_0_and_1_alone(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    path = table("image,x,y\na.jpg,1,0\nb.jpg,2,1\nc.jpg,0,3\n")

    assert loaded(path, labels=("x", "y")).task == "regression"


@pytest.mark.parametrize(
    "value", ["nan", "NaN", "inf", "-Infinity", "1e999", "1e39", "1,5", "1_000", "٣", "0x1", "five"]
)
def test_a_value_that_is_no_finite_number_is_refused(
    table: Callable[..., Path], refusal: Callable[..., str], value: str
) -> None:
    path = table(f'image,label\na.jpg,1\nb.jpg,"{value}"\nc.jpg,\nd.jpg,"{value}"\n')

    assert refusal(path, task="regression") == (
        f"photos.csv, line 3: '{value}' in the column 'label' is no finite number. Write numbers as 3.25 or 1e-3, or "
        "choose another --label-col. More of it: 1 without a label or value (line 4), 1 without a finite number "
        "(line 5)."
    )


def test_columns_that_are_neither_are_refused_with_the_first_of_each(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    assert refusal(table("image,x,y\na.jpg,1,0.5\nb.jpg,1,dark\n"), labels=("x", "y")) == (
        "line 3 has 'dark' in the column 'y', which is no number, and line 2 has '0.5' in the column 'y', which is "
        "none of 0, 1, true, false, yes and no. Several label columns hold either; choose others with --label-col."
    )


# ── options that do not go together ─────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (
            {"task": "single-label", "labels": ("x", "y")},
            "--task single-label takes one column, and --label-col names 2; name one.",
        ),
        (
            {"task": "multi-label", "labels": ("x",)},
            "--task multi-label needs --label-separator, for the labels in the column 'x', or a --label-col for each "
            "label.",
        ),
        (
            {"task": "regression", "labels": ("x",), "separator": "|"},
            "--label-separator divides the labels in one column, and --task regression has none; leave out one.",
        ),
        (
            {"labels": ("x", "y"), "separator": "|"},
            "--label-separator divides the labels in one column, and several --label-col has none; leave out one.",
        ),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    table: Callable[..., Path], refusal: Callable[..., str], said: dict[str, Any], text: str
) -> None:
    assert refusal(table(MEASURED), status=2, **said) == text
