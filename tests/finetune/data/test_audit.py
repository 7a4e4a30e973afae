from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from finetune.builtin.folder import load
from finetune.data.audit import Audit, audit, class_counts
from finetune.errors import DataError
from finetune.reporting import SILENT, SilentReporter
from finetune.types import Dataset, DatasetRequest, Example, Task
from finetune_export.image import Limits

ALL = 1.0


def dataset(root: Path) -> Dataset:
    return load(DatasetRequest(source="local", data=root, cache=root, reporter=SILENT))


def audited(root: Path, max_unreadable: float = ALL) -> Audit:
    return audit(dataset(root), max_unreadable, SILENT)


def refusal(root: Path, max_unreadable: float = ALL) -> str:
    with pytest.raises(DataError) as caught:
        audited(root, max_unreadable)
    assert caught.value.exit_code == 3
    return str(caught.value)


def reasons(found: Audit) -> dict[str, str]:
    return {refused.example.path.name: refused.reason for refused in found.refused}


# ── what can be read ────────────────────────────────────────────────────────────────────────────────


def test_every_whole_picture_is_checked_in_the_order_of_the_data_set(pictures: Path) -> None:
    found = audited(pictures)

    assert tuple(checked.example for checked in found.checked) == dataset(pictures).examples
    assert found.refused == ()


def test_whole_pictures_need_no_notes(pictures: Path) -> None:
    assert audited(pictures).notes() == []


def test_the_pictures_are_left_as_they_were(pictures: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    (pictures / "cat" / "cut.jpg").write_bytes((pictures / "cat" / "000.jpg").read_bytes()[:300])
    before = tree(pictures)

    audited(pictures)

    assert tree(pictures) == before


def test_progress_counts_every_picture(pictures: Path) -> None:
    told: list[object] = []
    reporter = SilentReporter()
    reporter.begin = lambda _, total=None, unit="": told.append(total)  # type: ignore[method-assign]
    reporter.advance = lambda steps=1: told.append(steps)  # type: ignore[method-assign,assignment]
    reporter.end = lambda: told.append("end")  # type: ignore[method-assign]

    audit(dataset(pictures), ALL, reporter)

    assert told == [8, *[1] * 8, "end"]


# ── what cannot be read ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello", "not a picture in a known format"),
        (b"<!doctype html><h1>404</h1>", "not a picture in a known format"),
        (b"%PDF-1.7", "not a picture in a known format"),
        (b"\xff\xd8\xff\xe0" + b"\0" * 50, "the picture is cut off or damaged"),
    ],
    ids=["empty", "text", "HTML", "PDF", "broken JPEG"],
)
def test_a_file_that_is_no_picture_is_left_out_with_the_reason(pictures: Path, content: bytes, reason: str) -> None:
    (pictures / "cat" / "bad.jpg").write_bytes(content)

    found = audited(pictures)

    assert reasons(found)["bad.jpg"].startswith(reason)
    assert len(found.checked) == 8


def test_a_jpeg_that_was_cut_off_is_left_out(pictures: Path, picture: Callable[..., Image.Image]) -> None:
    path = pictures / "cat" / "cut.jpg"
    picture(size=(200, 200)).save(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert reasons(audited(pictures))["cut.jpg"].startswith("the picture is cut off or damaged")


def test_a_png_with_a_flipped_byte_is_left_out(pictures: Path) -> None:
    path = pictures / "cat" / "001.png"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)

    assert list(reasons(audited(pictures))) == ["001.png"]


def test_a_dangling_link_is_left_out(pictures: Path) -> None:
    (pictures / "cat" / "gone.jpg").symlink_to(pictures / "nowhere.jpg")

    assert reasons(audited(pictures)) == {"gone.jpg": "the file cannot be read (No such file or directory)"}


@pytest.mark.timeout(30)
def test_a_named_pipe_is_left_out_and_does_not_hang(pictures: Path) -> None:
    os.mkfifo(pictures / "cat" / "pipe.jpg")

    assert reasons(audited(pictures)) == {"pipe.jpg": "not a regular file; a picture has to be one"}


def test_a_picture_that_is_gone_is_left_out(pictures: Path) -> None:
    given = dataset(pictures)
    (pictures / "dog" / "000.jpg").unlink()

    assert reasons(audit(given, ALL, SILENT)) == {"000.jpg": "the file cannot be read (No such file or directory)"}


def test_a_picture_above_the_limits_is_left_out(pictures: Path, picture: Callable[..., Image.Image]) -> None:
    picture(size=(50, 50)).save(pictures / "cat" / "large.png")

    found = audit(dataset(pictures), ALL, SILENT, Limits(max_pixels=2_000))

    assert reasons(found) == {"large.png": "50 x 50 pixels; at most 2000 are allowed altogether"}


def test_what_is_left_out_is_named_to_the_user(pictures: Path) -> None:
    bad = pictures / "cat" / "bad.jpg"
    bad.write_bytes(b"")

    assert audited(pictures).notes() == [f"Left out {bad}: the file is empty"]


def test_after_ten_names_the_rest_is_counted(pictures: Path) -> None:
    for i in range(13):
        (pictures / "cat" / f"bad{i:02}.jpg").write_bytes(b"")

    notes = audited(pictures).notes()

    assert len(notes) == 11
    assert notes[-1] == "Left out 3 more that cannot be read."


# ── too much to be an accident ──────────────────────────────────────────────────────────────────────


@pytest.fixture
def one_in_twenty(picture_folder: Callable[..., Path]) -> Path:
    root = picture_folder(count=10)
    (root / "cat" / "000.jpg").write_bytes(b"")
    return root


def test_five_percent_unreadable_pictures_are_tolerated(one_in_twenty: Path) -> None:
    assert len(audited(one_in_twenty, 0.05).refused) == 1


def test_more_than_five_percent_unreadable_pictures_are_not(one_in_twenty: Path) -> None:
    (one_in_twenty / "dog" / "003.png").write_bytes(b"hello")

    assert refusal(one_in_twenty, 0.05) == (
        f"2 of 20 pictures cannot be read, more than 5%; first {one_in_twenty / 'cat' / '000.jpg'}: "
        "the file is empty. Remove or repair them, or allow more with --max-unreadable."
    )


def test_the_tolerated_share_is_an_option(one_in_twenty: Path) -> None:
    (one_in_twenty / "dog" / "003.png").write_bytes(b"hello")

    assert len(audited(one_in_twenty, 0.1).refused) == 2


def test_a_share_of_nothing_tolerates_nothing(one_in_twenty: Path) -> None:
    assert "1 of 20 pictures cannot be read, more than 0%" in refusal(one_in_twenty, 0)


def test_the_share_is_compared_without_rounding_errors(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(count=50)
    for path in sorted((root / "cat").iterdir())[:29]:  # 0.29 * 100 is less than 29 in floating point
        path.write_bytes(b"")

    assert len(audited(root, 0.29).refused) == 29


def test_a_small_share_is_told_exactly(one_in_twenty: Path) -> None:
    assert "more than 0.5%" in refusal(one_in_twenty, 0.005)


def test_a_class_without_a_readable_picture_is_refused_whatever_the_share(pictures: Path) -> None:
    for path in (pictures / "cat").iterdir():
        path.write_bytes(b"")

    assert refusal(pictures) == (
        f"The class 'cat' has no readable picture: {pictures / 'cat' / '000.jpg'}: the file is empty. "
        "Add readable pictures (JPEG, PNG, WebP, BMP, GIF), or remove the class."
    )


def test_a_listed_class_without_any_picture_is_refused(pictures: Path) -> None:
    given = dataset(pictures)
    with pytest.raises(DataError, match=r"^The class 'fox' has no pictures\. Add some, or remove the class\.$"):
        audit(Dataset(**{**vars(given), "labels": (*given.labels, "fox")}), ALL, SILENT)


def test_a_label_that_the_data_set_does_not_list_is_refused(pictures: Path) -> None:
    given = dataset(pictures)
    with pytest.raises(DataError, match="has the label 'dog', which the data set 'pictures' does not list"):
        audit(Dataset(**{**vars(given), "labels": ("cat",)}), ALL, SILENT)


# ── notes ───────────────────────────────────────────────────────────────────────────────────────────


def test_findings_of_one_kind_make_one_note(pictures: Path, picture: Callable[..., Image.Image]) -> None:
    for i in (3, 4, 5):
        picture(seed=i, size=(i, 20)).save(pictures / "cat" / f"tiny{i}.png")

    assert audited(pictures).notes() == [
        f"3 picture(s) have a side of less than 32 pixels, first {pictures}/cat/tiny3.png: 3 x 20 pixels."
    ]


def test_findings_of_two_kinds_make_two_notes(pictures: Path, picture: Callable[..., Image.Image]) -> None:
    picture(size=(5, 5)).save(pictures / "cat" / "tiny.png")
    picture(seed=9).save(pictures / "dog" / "name.jpg", "PNG")

    assert audited(pictures).notes() == [
        f"1 picture(s) have a side of less than 32 pixels, first {pictures}/cat/tiny.png: 5 x 5 pixels.",
        f"1 picture(s) are named as another format than they are, first {pictures}/dog/name.jpg: it is PNG.",
    ]


def test_one_picture_under_two_labels_is_noted(pictures: Path) -> None:
    shutil.copy(pictures / "cat" / "000.jpg", pictures / "dog" / "copy.jpg")

    assert audited(pictures).notes() == [
        f"1 picture(s) have another label or value than an equal one, first {pictures}/cat/000.jpg = "
        f"{pictures}/dog/copy.jpg."
    ]


def test_one_picture_twice_under_one_label_is_noted(pictures: Path) -> None:
    shutil.copy(pictures / "cat" / "000.jpg", pictures / "cat" / "copy.jpg")

    assert audited(pictures).notes() == [
        f"1 picture(s) are there more than once, first {pictures}/cat/000.jpg = {pictures}/cat/copy.jpg."
    ]


def test_labels_of_very_different_frequency_are_noted(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(count=11)
    for path in sorted((root / "dog").iterdir())[1:]:
        path.unlink()

    assert audited(root).notes() == [
        "'cat' has 11 pictures and 'dog' 1: judge the labels one by one, and consider --imbalance."
    ]


def test_that_a_picture_is_turned_upright_is_no_note(pictures: Path, picture: Callable[..., Image.Image]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(seed=9).save(pictures / "cat" / "turned.jpg", exif=exif)

    found = audited(pictures)

    assert [finding.kind for finding in found.findings] == ["turned"]
    assert found.notes() == []


# ── the fingerprint ─────────────────────────────────────────────────────────────────────────────────


def test_the_fingerprint_is_a_sha256(pictures: Path) -> None:
    assert len(bytes.fromhex(audited(pictures).fingerprint)) == 32


def test_moving_and_renaming_keeps_the_fingerprint(pictures: Path, tmp_path: Path) -> None:
    before = audited(pictures).fingerprint
    moved = pictures.rename(tmp_path / "elsewhere")
    (moved / "cat" / "000.jpg").rename(moved / "cat" / "zzz.jpg")

    assert audited(moved).fingerprint == before


def test_another_label_is_another_fingerprint(pictures: Path) -> None:
    before = audited(pictures).fingerprint
    (pictures / "cat").rename(pictures / "lynx")

    assert audited(pictures).fingerprint != before


def test_another_part_is_another_fingerprint(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(parts=("train", "valid"))
    before = audited(root).fingerprint
    (root / "train" / "cat" / "000.jpg").rename(root / "valid" / "cat" / "new.jpg")

    assert audited(root).fingerprint != before


def test_another_content_is_another_fingerprint(pictures: Path, picture: Callable[..., Image.Image]) -> None:
    before = audited(pictures).fingerprint
    picture(seed=99).save(pictures / "cat" / "000.jpg")

    assert audited(pictures).fingerprint != before


def test_a_copy_more_is_another_fingerprint(pictures: Path) -> None:
    before = audited(pictures).fingerprint
    shutil.copy(pictures / "cat" / "000.jpg", pictures / "cat" / "copy.jpg")

    assert audited(pictures).fingerprint != before


def test_what_is_left_out_is_not_in_the_fingerprint(pictures: Path) -> None:
    before = audited(pictures).fingerprint
    (pictures / "cat" / "bad.jpg").write_bytes(b"")

    assert audited(pictures).fingerprint == before


def test_classes_are_counted() -> None:
    examples = tuple(Example(path=Path(str(i)), label=label) for i, label in enumerate(("b", "a", "b")))

    assert class_counts(examples) == {"b": 2, "a": 1}


# ── several labels, and values ──────────────────────────────────────────────────────────────────────


def of_task(pictures: Path, task: Task, *shown: object) -> Dataset:
    field = {"multi-label": "labels", "regression": "values"}[task]
    paths = sorted(pictures.rglob("*.*"))
    examples = tuple(Example(path=path, **{field: what}) for path, what in zip(paths, shown, strict=False))
    return Dataset(name="set", examples=examples, labels=("x", "y"), source="", licence="", task=task)


def test_a_picture_of_several_labels_counts_for_each_and_one_of_none_for_none(pictures: Path) -> None:
    found = audit(of_task(pictures, "multi-label", ("x", "y"), ("x",), ()), ALL, SILENT)

    assert (len(found.checked), found.class_counts()) == (3, {"x": 2, "y": 1})


def test_one_of_several_labels_without_a_readable_picture_is_refused(pictures: Path) -> None:
    first = min(pictures.rglob("*.*"))
    first.write_bytes(b"")
    with pytest.raises(DataError, match=f"The class 'y' has no readable picture: {first}: the file is empty"):
        audit(of_task(pictures, "multi-label", ("x", "y"), ("x",)), ALL, SILENT)


def test_values_have_no_classes_that_could_be_empty(pictures: Path) -> None:
    found = audit(of_task(pictures, "regression", (1.0, 2.0), (3.0, 4.0)), ALL, SILENT)

    assert (found.class_counts(), found.notes()) == ({}, [])


def test_other_values_are_another_fingerprint(pictures: Path) -> None:
    one, other = (audit(of_task(pictures, "regression", (1.0, value)), ALL, SILENT).fingerprint for value in (2.0, 3.0))
    assert one != other


@pytest.mark.parametrize(("values", "shown"), [((1.0,), "1.0"), ((1.0, float("nan")), "1.0, nan"), ((), "none")])
def test_values_that_are_missing_or_no_numbers_are_refused(
    pictures: Path, values: tuple[float, ...], shown: str
) -> None:
    with pytest.raises(DataError, match=f"has the values {shown}; the data set 'set' needs 2 finite number"):
        audit(of_task(pictures, "regression", values), ALL, SILENT)


def test_values_of_nothing_that_can_be_read_are_refused(pictures: Path) -> None:
    given = of_task(pictures, "regression", (1.0, 2.0))
    given.examples[0].path.write_bytes(b"")
    with pytest.raises(DataError, match=r"The data set 'set' has no readable picture\. Check --data\."):
        audit(given, ALL, SILENT)
