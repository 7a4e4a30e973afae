"""Which column of a table is taken for what, by its name or because the user says so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest

from finetune.builtin.table.columns import GROUP_NAME, IMAGE_NAMES, LABEL_NAMES, PART_NAME
from finetune.config import RunOptions
from finetune.types import Dataset


@pytest.mark.parametrize("name", ["image", "path", "file", "filename", "image_path", "Image", "FILENAME"])
@pytest.mark.parametrize("label", ["label", "labels", "Label"])
def test_columns_are_known_by_their_usual_names(
    table: Callable[..., Path], loaded: Callable[..., Dataset], name: str, label: str
) -> None:
    assert loaded(table(f"{label},x,{name}\ncat,1,a.jpg\ndog,2,b.jpg\n")).labels == ("cat", "dog")


def test_of_two_usual_names_the_first_is_taken_and_that_is_said(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    path = table("path,image,label\nc.jpg,a.jpg,cat\nd.jpg,b.jpg,dog\n")

    assert [example.path.name for example in loaded(path).examples] == ["a.jpg", "b.jpg"]
    assert loaded(path).notes == ("The column 'image' holds the pictures' paths; 'path' would with --image-col.",)
    assert loaded(path, image="path").notes == ()


def test_columns_of_other_names_are_taken_where_that_is_said(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(table("photo,kind\na.jpg,cat\nb.jpg,dog\n"), image="photo", labels=("kind",))

    assert [example.label for example in dataset.examples] == ["cat", "dog"]


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("image_col", f"{', '.join(IMAGE_NAMES[:-1])} or {IMAGE_NAMES[-1]}"),
        ("label_col", " or ".join(LABEL_NAMES)),
        ("split_col", f"a column named {PART_NAME}"),
        ("group_col", f"a column named {GROUP_NAME}"),
    ],
)
def test_the_help_names_the_columns_that_are_looked_for(option: str, default: str) -> None:
    (_, parameter) = get_args(get_type_hints(RunOptions, include_extras=True)[option])

    assert parameter.help.endswith(f" [default: {default}]")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "photo,label\n",
            "photos.csv has no column called image, path, file, filename or image_path; its columns are photo, label. "
            "Say with --image-col which holds the pictures' paths.",
        ),
        (
            "image,kind\n",
            "photos.csv has no column called label or labels; its columns are image, kind. Say with --label-col which "
            "holds the labels.",
        ),
    ],
)
def test_a_table_without_a_usual_name_is_refused_with_its_columns(
    table: Callable[..., Path], refusal: Callable[..., str], text: str, told: str
) -> None:
    assert refusal(table(text)) == told


@pytest.mark.parametrize(
    "said", [{"image": "lable"}, {"labels": ("label", "lable")}, {"part": "lable"}, {"group": "lable"}]
)
def test_a_column_that_is_not_there_is_refused_with_the_nearest(
    table: Callable[..., Path], refusal: Callable[..., str], said: dict[str, Any]
) -> None:
    assert refusal(table("image,label\n"), status=2, **said) == (
        "Unknown column of photos.csv 'lable'. Did you mean 'label'? Known: image, label."
    )


@pytest.mark.parametrize(
    "said", [{"labels": ("image",), "image": "image"}, {"labels": ("x", "x")}, {"part": "x", "group": "x"}]
)
def test_a_column_is_not_taken_for_two_things(
    table: Callable[..., Path], refusal: Callable[..., str], said: dict[str, Any]
) -> None:
    assert refusal(table("image,label,x\n"), status=2, **said).endswith(
        "is named for two things; give each a column of its own."
    )


def test_a_column_that_is_said_to_be_something_else_is_not_taken_for_its_name(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(table("image,split,group\na.jpg,clean,x\nb.jpg,torn,y\n"), labels=("split",), part=None)

    assert dataset.labels == ("clean", "torn")
    assert [example.part for example in dataset.examples] == [None, None]


# ── parts and groups ────────────────────────────────────────────────────────────────────────────────

PARTS = "image,label,{}\na.jpg,cat,train\nb.jpg,dog,TRAIN\nc.jpg,cat,{}\nd.jpg,dog,test\n"


@pytest.mark.parametrize("word", ["valid", "val", "validation", " Valid "])
def test_a_column_called_split_says_the_part_and_that_is_said(
    table: Callable[..., Path], loaded: Callable[..., Dataset], word: str
) -> None:
    dataset = loaded(table(PARTS.format("split", word)))

    assert [example.part for example in dataset.examples] == ["train", "train", "valid", "test"]
    assert dataset.notes == ("The column 'split' says which part a picture belongs to.",)


def test_a_column_called_part_says_so_only_where_it_is_named(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    path = table(PARTS.format("part", "val"))

    assert {example.part for example in loaded(path).examples} == {None}
    assert [example.part for example in loaded(path, part="part").examples] == ["train", "train", "valid", "test"]


def test_an_unknown_part_is_refused_and_not_passed_over(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    assert refusal(table(PARTS.format("split", "tset"))) == (
        "photos.csv, line 4: 'tset' is no part. Write train, valid or test, or rename the column."
    )


def test_a_picture_may_be_left_to_be_divided(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table("image,label,split\na.jpg,cat,\nb.jpg,dog, \nc.jpg,cat,test\n"))

    assert [example.part for example in dataset.examples] == [None, None, "test"]


def test_a_column_called_group_says_what_stays_together_and_that_is_said(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    dataset = loaded(table("image,label,group\na.jpg,cat,tom\nb.jpg,dog, rex \nc.jpg,dog,\n"))

    assert [example.group for example in dataset.examples] == ["tom", "rex", None]
    assert dataset.notes == (
        "The column 'group' says which pictures stay together.",
        "The column 'group' is empty for 1 of 3 pictures; each of them counts as a group of its own.",
    )


def test_another_column_says_so_where_it_is_named(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(table("image,label,animal\na.jpg,cat,tom\nb.jpg,dog,rex\n"), group="animal")

    assert ([example.group for example in dataset.examples], dataset.notes) == (["tom", "rex"], ())
