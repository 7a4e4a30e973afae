"""What an audit finds in real files, one kind after the other."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from finetune.data.audit import inspect
from finetune.data.findings import KINDS, Finding, count, find, first, imbalance
from finetune.data.reading import Checked, Refused
from finetune.reporting import SILENT
from finetune.types import Dataset, Example, Part


def found(*examples: Example, task: str = "single-label") -> dict[str, list[list[str]]]:
    labels = {label for e in examples for label in (e.labels or (e.label,))} - {""} or {"x"}
    data = Dataset(name="d", examples=examples, labels=tuple(labels), source="", licence="", task=task)  # type: ignore[arg-type]
    kinds: dict[str, list[list[str]]] = {}
    for finding in inspect(data, SILENT).findings:
        kinds.setdefault(finding.kind, []).append([e.path.name for e in finding.pictures])
    return kinds


@pytest.fixture
def scene(tmp_path: Path, picture: Callable[..., Image.Image]) -> Callable[..., Path]:
    """Save one picture under a name, in a size of its own."""

    def saved(name: str, side: int = 64, seed: int = 1, **options: object) -> Path:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        picture(seed, seed, size=(8, 8)).resize((side, side)).save(path, **options)
        return path

    return saved


def test_equal_pictures_of_one_label_are_duplicates(scene: Callable[..., Path]) -> None:
    paths = [scene(name) for name in ("1.png", "2.png", "3.png")]

    assert found(*(Example(path=path, label="x") for path in paths)) == {"duplicate": [["1.png", "2.png", "3.png"]]}


def test_equal_pictures_in_two_parts_are_told_apart_from_others(scene: Callable[..., Path]) -> None:
    parts: tuple[Part, ...] = ("train", "test")
    examples = [Example(path=scene(f"{part}.png"), label="x", part=part) for part in parts]

    assert found(*examples) == {"duplicate-across-parts": [["train.png", "test.png"]]}


@pytest.mark.parametrize(
    ("task", "field", "one", "other"),
    [
        ("single-label", "label", "x", "y"),
        ("multi-label", "labels", ("x", "y"), ("x",)),
        ("regression", "values", (1.0,), (1.5,)),
    ],
)
def test_equal_pictures_that_show_different_things_contradict_each_other(
    scene: Callable[..., Path], task: str, field: str, one: object, other: object
) -> None:
    examples = [Example(path=scene(f"{i}.png"), **{field: what}) for i, what in enumerate((one, other))]  # type: ignore[arg-type]

    assert found(*examples, task=task) == {"conflict": [["0.png", "1.png"]]}


def test_several_labels_in_another_order_are_no_contradiction(scene: Callable[..., Path]) -> None:
    examples = [Example(path=scene(f"{i}.png"), labels=labels) for i, labels in enumerate((("x", "y"), ("y", "x")))]

    assert found(*examples, task="multi-label") == {"duplicate": [["0.png", "1.png"]]}


@pytest.mark.parametrize(
    ("task", "shown", "kind"),
    [
        ("single-label", [{"label": "x"}, {"label": "x"}], "near-duplicate"),
        ("single-label", [{"label": "x"}, {"label": "y"}], "near-conflict"),
        ("regression", [{"values": (1.0,)}, {"values": (2.0,)}], "near-duplicate"),
        (
            "single-label",
            [{"label": "x", "part": "train"}, {"label": "x", "part": "valid"}],
            "near-duplicate-across-parts",
        ),
    ],
)
def test_pictures_that_look_alike_are_found(
    scene: Callable[..., Path], task: str, shown: list[dict[str, object]], kind: str
) -> None:
    paths = scene("1.png"), scene("2.jpg", 100, quality=50)
    examples = [Example(path=path, **what) for path, what in zip(paths, shown, strict=True)]  # type: ignore[arg-type]

    assert found(*examples, task=task) == {kind: [["1.png", "2.jpg"]]}


def test_a_copy_of_a_look_alike_is_named_as_a_copy_only(scene: Callable[..., Path], tmp_path: Path) -> None:
    paths = [scene("1.png"), scene("2.jpg", 100), tmp_path / "3.png"]
    shutil.copy(paths[0], paths[2])

    assert found(*(Example(path=path, label="x") for path in paths)) == {
        "duplicate": [["1.png", "3.png"]],
        "near-duplicate": [["1.png", "2.jpg"]],
    }


def test_files_that_one_folder_could_not_hold_elsewhere_are_found(scene: Callable[..., Path]) -> None:
    examples = [
        Example(path=scene(name, seed=i), label="x") for i, name in enumerate(("a.png", "A.PNG", "b/a.png", "c.png"))
    ]

    assert found(*examples) == {"same-name": [["a.png", "A.PNG"]]}


def test_odd_files_are_found(scene: Callable[..., Path], tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    frames = [Image.new("RGB", (40, 40), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "film.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "empty.png").write_bytes(b"")
    Image.new("L", (5001, 5000)).save(tmp_path / "huge.jpg")
    paths = [scene("tiny.png", 31), scene("turned.jpg", 64, 2, exif=exif), scene("name.png", 64, 3, format="BMP")]
    paths += [tmp_path / name for name in ("film.gif", "empty.png", "huge.jpg")]

    assert found(*(Example(path=path, label="x") for path in paths)) == {
        "unreadable": [["empty.png"]],
        "tiny": [["tiny.png"]],
        "huge": [["huge.jpg"]],
        "wrong-name": [["name.png"]],
        "animated": [["film.gif"]],
        "turned": [["turned.jpg"]],
    }


def test_findings_come_in_the_order_of_their_weight() -> None:
    checked = [
        Checked(example=Example(path=Path(f"{i}"), label="x"), sha256=f"{i // 2}", notes=("tiny: 1 x 1",))
        for i in range(4)
    ]
    refused = [Refused(example=Example(path=Path("r"), label="x"), reason="broken")]

    kinds = [finding.kind for finding in find(checked, refused, "single-label")]

    assert kinds == ["unreadable", "duplicate", "duplicate", "tiny", "tiny", "tiny", "tiny"]
    assert set(kinds) <= set(KINDS)


def test_of_a_family_all_but_the_first_count_and_in_a_conflict_those_that_differ() -> None:
    family = tuple(Example(path=Path(f"{i}"), label=label) for i, label in enumerate("aaab"))

    assert count([Finding(kind="duplicate", pictures=family)]) == 3
    assert count([Finding(kind="conflict", pictures=family)]) == 1
    assert count([Finding(kind="tiny", pictures=family[:1])] * 2) == 2


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([{"label": "x"}, {"label": "y"}], "listed with other labels or values"),
        ([{"values": (1.0,)}, {"values": (2.0,)}], "listed with other labels or values"),
        ([{"label": "x", "part": "train"}, {"label": "x", "part": "valid"}], "listed in several parts"),
        ([{"label": "x", "group": "1"}, {"label": "x", "group": "2"}], "listed twice"),
    ],
)
def test_a_file_is_not_said_to_equal_itself(rows: list[dict[str, Any]], told: str) -> None:
    checked = [Checked(example=Example(path=Path("a.png"), **row), sha256="0") for row in rows]

    assert first(find(checked, [], "single-label")) == f"a.png, {told}"


def test_the_imbalance_is_of_the_most_frequent_and_the_rarest() -> None:
    assert (imbalance({"a": 30, "b": 3, "c": 9}), imbalance({})) == (10.0, 1.0)
