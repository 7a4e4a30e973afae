"""The section of faults in the data: labels that are likely errors, and what the audit found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from finetune.data.findings import FAMILIES, KINDS, MOST_PICTURES
from finetune.report.sections.data_faults import MOST_ERRORS, MOST_FAMILIES, MOST_TOGETHER, UNSHOWN, data_faults
from finetune.types import LabelError, LabelErrors, RunRecords, Table

from .drawn_run import captions, drawn, galleries, paragraphs, pictures, records_of

HOSTILE = "<b>甲"
SURE = {"given_probability": 0.02, "likely_probability": 0.961}


@pytest.fixture
def rows(tmp_path: Path) -> list[dict[str, str]]:
    return [*drawn(tmp_path, ["a", HOSTILE], "train"), *drawn(tmp_path, ["a"], "valid")]


def records(rows: list[dict[str, str]], *findings: dict[str, Any], **others: Any) -> RunRecords:
    return records_of(rows, ("a", HOSTILE), [[0.5, 0.5]], [0], data={"findings": list(findings)}, **others)


def finding(kind: str, *rows: dict[str, str], detail: str = "") -> dict[str, Any]:
    shown = [{"path": row["path"], "shows": row["label"], "part": None, "group": None} for row in rows]
    return {"kind": kind, "detail": detail, "pictures": shown}


def error(row: dict[str, str]) -> LabelError:
    facts = {"path": row["path"], "part": row["part"], "given": row["label"], "likely": HOSTILE}
    return LabelError(**facts, **SURE)


def tables(found: RunRecords) -> list[Table]:
    return [block for block in data_faults(found) if isinstance(block, Table)]


# ── labels ──────────────────────────────────────────────────────────────────────────────────────────


def test_a_likely_label_error_is_shown_with_both_labels_and_how_it_was_found(rows: list[dict[str, str]]) -> None:
    errors = LabelErrors(
        pictures=3, doubted=1, method="Each picture was judged without itself.", found=(error(rows[0]),)
    )

    how, then = paragraphs(blocks := list(data_faults(records(rows, label_errors=errors))))

    assert how == (
        "Among 3 pictures 1 was listed as likely labelled wrong, by confident learning (Northcutt, Jiang and Chuang "
        "2021). Each picture was judged without itself."
    )
    (picture,) = pictures(blocks)
    assert picture.image
    assert picture.lines == ("given a, 2.0%", f"likely {HOSTILE}, 96.1%", "training · train/0.png")
    assert then.endswith("train again: finetune run --config '/runs/a run/config.toml'")


def test_that_no_label_is_likely_wrong_is_said(rows: list[dict[str, str]]) -> None:
    errors = LabelErrors(pictures=12_345, doubted=0, method="By folds.", found=())
    assert paragraphs(data_faults(records(rows, label_errors=errors))) == [
        "No likely label error was found among 12,345 pictures, by confident learning (Northcutt, Jiang and Chuang "
        "2021). By folds."
    ]


def test_of_many_label_errors_the_likeliest_are_shown_and_all_are_counted(rows: list[dict[str, str]]) -> None:
    errors = LabelErrors(pictures=5000, doubted=1300, method="By folds.", found=(error(rows[0]),) * 100)
    blocks = list(data_faults(records(rows, label_errors=errors)))
    assert paragraphs(blocks)[0].startswith("Among 5,000 pictures 1,300 were listed as likely labelled wrong")
    assert captions(blocks) == [f"The {MOST_ERRORS} likeliest of 1,300 label errors, the likeliest first"]
    assert len(pictures(blocks)) == MOST_ERRORS


def test_where_nothing_was_looked_for_and_nothing_found_there_is_no_section(rows: list[dict[str, str]]) -> None:
    assert list(data_faults(records(rows))) == []


# ── the audit ───────────────────────────────────────────────────────────────────────────────────────


def test_near_duplicates_come_first_side_by_side_with_the_part_that_they_are_in(rows: list[dict[str, str]]) -> None:
    found = records(rows, finding("duplicate", rows[0], rows[1]), finding("near-duplicate", rows[1], rows[2]))

    first, second = galleries(data_faults(found))

    assert first.caption == "near-duplicate"
    assert [picture.lines for picture in first.pictures] == [
        (f"shows {HOSTILE}", "training · train/1.png"),
        ("shows a", "validation · valid/0.png"),
    ]
    assert second.caption == "duplicate"
    assert first.compact
    assert second.compact
    (table,) = tables(found)
    assert table.rows == (
        ("duplicate", "1", KINDS["duplicate"]),
        ("near-duplicate", "1", KINDS["near-duplicate"]),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_finding_is_counted_and_shown_unless_there_is_nothing_to_see(
    rows: list[dict[str, str]], kind: str
) -> None:
    about = rows[:2] if kind in FAMILIES else rows[:1]
    found = records(rows, finding(kind, *about, detail="3 x 4 pixels"))

    assert [row[0] for row in tables(found)[0].rows] == [kind]
    shown = pictures(data_faults(found))
    assert len(shown) == (0 if kind in UNSHOWN else len(about))
    assert all(picture.lines[0] == "3 x 4 pixels" for picture in shown)


def test_a_picture_that_never_could_be_read_is_not_said_to_be_missing(rows: list[dict[str, str]]) -> None:
    blocks = list(data_faults(records(rows, finding("unreadable", rows[0], detail="the file is empty"))))
    assert [picture.image for picture in pictures(blocks)] == [None]
    assert not any("cannot be shown" in text for text in paragraphs(blocks))


def test_a_file_that_is_listed_twice_is_shown_once(rows: list[dict[str, str]]) -> None:
    (picture,) = pictures(data_faults(records(rows, finding("conflict", rows[0], {**rows[0], "label": HOSTILE}))))
    assert picture.lines == ("listed with other labels or values", f"shows a / {HOSTILE}", "train/0.png")


def test_large_and_many_families_are_cut_and_it_says_so(rows: list[dict[str, str]]) -> None:
    found = records(rows, *[finding("near-duplicate", *[rows[0], rows[1]] * 5)] * 20)
    shown = galleries(data_faults(found))
    assert [len(gallery.pictures) for gallery in shown] == [MOST_TOGETHER] * MOST_FAMILIES
    assert shown[-1].caption.endswith(f" {MOST_FAMILIES} of 20, and 6 more pictures of this family")


def test_the_next_step_is_a_command_and_only_where_it_helps(rows: list[dict[str, str]], tmp_path: Path) -> None:
    mended = paragraphs(data_faults(records(rows, finding("duplicate", rows[0], rows[1]))))
    assert [text.split("picture: ")[1] for text in mended] == [
        f"finetune audit --config '/runs/a run/config.toml' --fix {tmp_path / 'cleaned.csv'}"
    ]
    (kept,) = paragraphs(data_faults(records(rows, finding("near-duplicate-across-parts", rows[0], rows[2]))))
    assert "--group-col" in kept
    assert "--group-pattern" in kept
    assert paragraphs(data_faults(records(rows, finding("near-duplicate", rows[0], rows[1])))) == []


def test_where_the_run_wrote_down_only_the_first_findings_the_count_says_so(rows: list[dict[str, str]]) -> None:
    found = records(rows, *[finding("tiny", rows[0])] * MOST_PICTURES)
    assert tables(found)[0].rows[0][1] == f"{MOST_PICTURES} or more"
    assert captions(data_faults(found))[0].startswith(f"tiny: {MOST_PICTURES} or more picture(s) ")


def test_several_labels_are_said_as_people_say_them(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["a|b", ""], "train")
    wrong = LabelError(path=rows[0]["path"], part="train", given="a|b", likely="", **SURE)
    errors = LabelErrors(pictures=2, doubted=1, method="By folds.", found=(wrong,))
    data = {"findings": [finding("near-duplicate", *rows)]}
    several = {"task": "multi-label", "label_errors": errors, "data": data}
    blocks = list(data_faults(records_of(rows, ("a", "b"), np.zeros((0, 2)), np.zeros((0, 2)), **several)))
    assert pictures(blocks)[0].lines[:2] == ("given a, b, 2.0%", "likely no label, 96.1%")
    assert [picture.lines[0] for picture in pictures(blocks)[1:]] == ["shows a, b", "shows no label"]


def test_findings_of_values_say_the_values(tmp_path: Path) -> None:
    rows = drawn(tmp_path, ["1.5", "2.5"], "train")
    data = {"findings": [finding("near-duplicate", *rows)]}
    found = records_of(rows, ("age",), np.zeros((0, 1)), np.zeros((0, 1)), task="regression", data=data)
    assert [picture.lines[0] for picture in pictures(data_faults(found))] == ["shows 1.5", "shows 2.5"]
