"""What the columns of a set are taken for, and how each that does not fit is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.types import Dataset

IMAGE = {"_type": "Image"}
CLASS = {"_type": "ClassLabel", "names": ["fox", " cat ", "dog"]}


def value(dtype: str) -> dict[str, str]:
    return {"_type": "Value", "dtype": dtype}


@pytest.fixture
def column(saved: Callable[..., Path], jpeg: Callable[[int], bytes]) -> Callable[..., Path]:
    """Save a set with pictures and these columns: name → (feature or None, cells)."""

    def written(**columns: tuple[Any, list[Any]]) -> Path:
        count = len(next(iter(columns.values()))[1])
        rows = [
            {"image": {"bytes": jpeg(i), "path": None}, **{name: cells[i] for name, (_, cells) in columns.items()}}
            for i in range(count)
        ]
        features = {"image": IMAGE, **{name: feature for name, (feature, _) in columns.items() if feature}}
        return saved({None: rows}, features)

    return written


# ── single labels ───────────────────────────────────────────────────────────────────────────────────


def test_classes_keep_the_order_of_the_set_and_those_without_pictures_are_left_out(
    column: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(column(label=(CLASS, [2, 1, 2])))

    assert (dataset.task, dataset.labels) == ("single-label", ("cat", "dog"))
    assert [example.label for example in dataset.examples] == ["dog", "cat", "dog"]
    assert dataset.notes == ("1 label(s) that the set lists apply to no picture and are left out: 'fox'.",)


def test_pictures_without_a_label_are_left_out_and_that_is_said(
    column: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(column(label=(CLASS, [0, -1, 1, None, 2])))

    assert [example.label for example in dataset.examples] == ["fox", "cat", "dog"]
    assert dataset.notes == (
        "Left out 2 picture(s) that the set does not label, first row 2 of data-00000-of-00001.arrow.",
    )


def test_a_set_without_any_label_is_refused(column: Callable[..., Path], refusal: Callable[..., str]) -> None:
    assert refusal(column(label=(CLASS, [-1, -1]))) == "No picture of the set has a label. See --label-col."


def test_a_class_that_the_set_does_not_list_is_refused(
    column: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    assert "row 2 has the class 3, and the set lists 3. Correct the set" in refusal(column(label=(CLASS, [0, 3])))


def test_text_is_stripped_and_composed(column: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = column(label=(value("string"), [" Ka\u0308fer", "K\u00e4fer", "cat", ""]))

    assert loaded(path).labels == ("K\u00e4fer", "cat")
    assert "Left out 1 picture(s)" in loaded(path).notes[0]


def test_text_with_a_line_break_is_refused(column: Callable[..., Path], refusal: Callable[..., str]) -> None:
    assert "row 1 has the label 'a\\nb' with a line break" in refusal(column(label=(value("string"), ["a\nb", "c"])))


def test_whole_numbers_and_truth_values_are_labels(column: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = column(label=(value("int64"), [7, 8]), sharp=(value("bool"), [True, False]))

    assert loaded(path).labels == ("7", "8")
    assert loaded(path, labels=("sharp",)).labels == ("false", "true")


# ── several labels, and values ──────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "feature",
    [
        {"_type": "Sequence", "feature": CLASS, "length": -1},
        {"_type": "List", "feature": CLASS},
        [CLASS],
    ],
)
def test_lists_of_classes_are_several_labels(
    column: Callable[..., Path], loaded: Callable[..., Dataset], feature: Any
) -> None:
    dataset = loaded(column(labels=(feature, [[2, 0], [], [0], [1, 1]])))

    assert (dataset.task, dataset.labels) == ("multi-label", ("fox", "cat", "dog"))
    assert [example.labels for example in dataset.examples] == [("dog", "fox"), (), ("fox",), ("cat",)]


def test_columns_of_truth_values_are_several_labels(
    column: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    path = column(wet=(value("bool"), [True, False, True]), dark=(value("bool"), [False, False, True]))

    dataset = loaded(path, labels=("wet", "dark"))

    assert (dataset.task, dataset.labels) == ("multi-label", ("wet", "dark"))
    assert [example.labels for example in dataset.examples] == [("wet",), (), ("wet", "dark")]


def test_numbers_are_values(column: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = column(age=(value("float32"), [0.5, 2.0]), size=(value("int32"), [3, 4]))

    assert loaded(path, labels=("age",)).task == "regression"
    dataset = loaded(path, labels=("size", "age"))
    assert (dataset.task, dataset.labels) == ("regression", ("size", "age"))
    assert [example.values for example in dataset.examples] == [(3.0, 0.5), (4.0, 2.0)]


def test_whole_numbers_are_values_where_that_is_said(
    column: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(column(age=(value("int64"), [3, 4])), labels=("age",), task="regression")

    assert [example.values for example in dataset.examples] == [(3.0,), (4.0,)]


@pytest.mark.parametrize("number", [float("nan"), float("inf"), 1e39])
def test_a_value_that_is_no_finite_number_is_refused(
    column: Callable[..., Path], refusal: Callable[..., str], number: float
) -> None:
    told = refusal(column(age=(value("float64"), [1.0, number])), labels=("age",))

    assert f"row 2 has the value {number}, which is no finite number. Correct the set" in told


# ── which columns ───────────────────────────────────────────────────────────────────────────────────


def test_without_the_librarys_description_the_types_decide(
    parquet: Callable[..., Path], loaded: Callable[..., Dataset], jpeg: Callable[[int], bytes]
) -> None:
    rows = [{"photo": jpeg(i), "labels": names, "n": i} for i, names in enumerate([["a", "b"], ["b"], []])]

    dataset = loaded(parquet({"train.parquet": rows}, features=None))

    assert (dataset.task, dataset.labels) == ("multi-label", ("a", "b"))


def test_a_group_is_read_where_it_is_named(column: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = column(label=(CLASS, [0, 1, 2]), animal=(value("string"), ["tom", None, "rex"]))

    assert [example.group for example in loaded(path, group="animal").examples] == ["tom", None, "rex"]


def test_the_only_column_of_classes_is_the_label_whatever_its_name(
    column: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    assert loaded(column(kind=(CLASS, [0, 1]), n=(value("int64"), [1, 2]))).labels == ("fox", "cat")


def test_two_columns_of_classes_are_refused_until_one_is_named(
    column: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    path = column(fine=(CLASS, [0, 1]), coarse=(CLASS, [1, 2]))

    assert refusal(path) == (
        "The set has 2 columns of classes. Its columns are image (picture), fine (class), coarse (class). "
        "Say which with --label-col."
    )
    assert loaded(path, labels=("coarse",)).labels == ("cat", "dog")


def test_a_set_without_pictures_is_refused(parquet: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = parquet({"train.parquet": [{"text": "a", "label": 0}]}, features=None)

    assert refusal(path) == (
        "The set has no column of pictures. Its columns are text (text), label (whole number). "
        "Say which with --image-col."
    )


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"labels": ("lable",)}, "Unknown column of the set 'lable'. Did you mean 'label'? Known: image, label."),
        (
            {"image": "label"},
            "The column 'label' holds class, and no pictures. Its columns are image (picture), label (class).",
        ),
        (
            {"labels": ("image",)},
            "No task is possible with the column(s) 'image' (picture); give another --label-col.",
        ),
        (
            {"task": "regression"},
            "--task regression is not possible with the column(s) 'label' (class); give --task single-label.",
        ),
        (
            {"separator": "|"},
            "--label-separator is for tables of paths; a set of the hub says it itself. Leave it out.",
        ),
        ({"part": "x"}, "--split-col is for tables of paths; a set of the hub says it itself. Leave it out."),
        (
            {"skip_missing": True},
            "--skip-missing is for tables of paths; a set of the hub says it itself. Leave it out.",
        ),
    ],
)
def test_options_that_do_not_fit_are_refused(
    column: Callable[..., Path], refusal: Callable[..., str], said: dict[str, Any], text: str
) -> None:
    assert refusal(column(label=(CLASS, [0, 1])), status=2, **said) == text
