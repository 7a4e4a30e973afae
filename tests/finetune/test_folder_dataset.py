from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.builtin.folder import load
from finetune.errors import DataError
from finetune.reporting import SILENT
from finetune.types import Dataset, DatasetRequest

HINT = "Give --data a folder with one subfolder of pictures per class."


def loaded(root: Path) -> Dataset:
    return load(DatasetRequest(source="local", data=root, cache=root, reporter=SILENT))


def refusal(root: Path) -> str:
    with pytest.raises(DataError) as caught:
        loaded(root)
    assert caught.value.exit_code == 3
    return str(caught.value)


def names(dataset: Dataset, root: Path) -> list[str]:
    return [str(example.path.relative_to(root)) for example in dataset.examples]


def parts(dataset: Dataset) -> set[tuple[str | None, str]]:
    return {(example.part, example.path.parent.parent.name) for example in dataset.examples}


# ── layouts ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_folder_per_class_makes_examples_without_a_part(pictures: Path) -> None:
    dataset = loaded(pictures)

    assert {(example.label, example.part) for example in dataset.examples} == {("cat", None), ("dog", None)}
    assert len(dataset.examples) == 8


def test_examples_come_in_the_order_of_their_paths(pictures: Path) -> None:
    assert names(loaded(pictures), pictures) == sorted(names(loaded(pictures), pictures))


def test_labels_are_sorted(picture_folder: Callable[..., Path]) -> None:
    assert loaded(picture_folder(("b", "a", "C"), count=1)).labels == ("C", "a", "b")


def test_the_data_set_is_called_like_its_folder_and_does_not_tell_where_that_lies(pictures: Path) -> None:
    assert (loaded(pictures).name, loaded(pictures).source) == ("pictures", "a local folder")


def test_a_clean_folder_has_no_notes_and_nothing_ignored(pictures: Path) -> None:
    assert (loaded(pictures).notes, loaded(pictures).ignored) == ((), ())


@pytest.mark.parametrize("name", ["valid", "val", "validation", "Valid", "VAL"])
def test_a_validation_folder_keeps_its_split(picture_folder: Callable[..., Path], name: str) -> None:
    dataset = loaded(picture_folder(parts=("train", name)))

    assert parts(dataset) == {("train", "train"), ("valid", name)}


def test_train_in_capitals_is_the_train_folder_and_no_class(picture_folder: Callable[..., Path]) -> None:
    assert loaded(picture_folder(parts=("Train", "Test"))).labels == ("cat", "dog")


def test_train_alone_is_left_to_be_split(picture_folder: Callable[..., Path]) -> None:
    assert parts(loaded(picture_folder(parts=("train",)))) == {(None, "train")}


def test_a_test_folder_is_the_test_part(picture_folder: Callable[..., Path]) -> None:
    dataset = loaded(picture_folder(parts=("train", "val", "Test")))

    assert parts(dataset) == {("train", "train"), ("valid", "val"), ("test", "Test")}
    assert dataset.notes == ()


def test_train_and_test_without_validation_keep_their_parts(picture_folder: Callable[..., Path]) -> None:
    assert parts(loaded(picture_folder(parts=("train", "test")))) == {("train", "train"), ("test", "test")}


def test_a_test_folder_without_classes_is_left_alone_and_that_is_said(
    picture_folder: Callable[..., Path], picture: Callable[..., object]
) -> None:
    root = picture_folder(parts=("train",))
    (root / "test").mkdir()
    picture().save(root / "test" / "1.png")  # type: ignore[attr-defined]

    assert parts(loaded(root)) == {(None, "train")}
    assert loaded(root).notes == (
        f"{root / 'test'} is left alone: a run reads the class folders in train, valid and test.",
    )


def test_other_folders_beside_the_parts_are_left_alone_and_that_is_said(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(parts=("train", "valid", "extra", "more"))

    said = f"{root / 'extra'} and 1 more beside it are left alone"
    assert loaded(root).notes == (f"{said}: a run reads the class folders in train, valid and test.",)


def test_a_class_of_the_test_folder_alone_is_left_to_the_split_to_refuse(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(parts=("train", "test"))
    (root / "test" / "dog").rename(root / "test" / "fox")

    assert loaded(root).labels == ("cat", "dog", "fox")


def test_of_two_validation_folders_the_second_is_left_alone_and_that_is_said(
    picture_folder: Callable[..., Path],
) -> None:
    root = picture_folder(parts=("train", "val", "valid"))

    assert parts(loaded(root)) == {("train", "train"), ("valid", "valid")}
    assert loaded(root).notes[0].startswith(f"{root / 'val'} is left alone")


def test_a_class_may_be_called_train(picture_folder: Callable[..., Path]) -> None:
    assert loaded(picture_folder(("bus", "car", "train"))).labels == ("bus", "car", "train")


def test_subfolders_of_a_class_belong_to_it(pictures: Path, picture: Callable[..., object]) -> None:
    deep = pictures / "cat" / "2024" / "march"
    deep.mkdir(parents=True)
    picture(0, seed=99).save(deep / "tom.png")  # type: ignore[attr-defined]

    assert {e.label for e in loaded(pictures).examples if e.path.name == "tom.png"} == {"cat"}


def test_a_relative_path_becomes_absolute(pictures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pictures.parent)

    assert all(example.path.is_absolute() for example in loaded(Path("pictures")).examples)


def test_a_symbolic_link_to_the_folder_will_do(pictures: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(pictures)

    assert loaded(tmp_path / "link").examples == loaded(pictures).examples


def test_links_to_folders_in_a_class_are_followed(
    pictures: Path, tmp_path: Path, picture: Callable[..., object]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    picture(0, seed=99).save(tmp_path / "elsewhere" / "tom.png")  # type: ignore[attr-defined]
    (pictures / "cat" / "more").symlink_to(tmp_path / "elsewhere")

    assert "cat/more/tom.png" in names(loaded(pictures), pictures)


def test_links_that_lead_in_a_circle_are_followed_once(pictures: Path) -> None:
    before = names(loaded(pictures), pictures)
    (pictures / "cat" / "again").symlink_to(pictures / "cat")
    (pictures / "cat" / "self").symlink_to(pictures / "cat" / "self")

    assert names(loaded(pictures), pictures) == before


def test_a_folder_that_two_links_of_a_class_lead_to_is_read_once(
    pictures: Path, tmp_path: Path, picture: Callable[..., object]
) -> None:
    (tmp_path / "elsewhere").mkdir()
    picture(0, seed=99).save(tmp_path / "elsewhere" / "tom.png")  # type: ignore[attr-defined]
    for name in ("a", "b"):
        (pictures / "cat" / name).symlink_to(tmp_path / "elsewhere")

    assert [name for name in names(loaded(pictures), pictures) if name.endswith("tom.png")] == ["cat/a/tom.png"]


def test_nothing_is_written_into_the_folder(pictures: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    before = tree(pictures)

    loaded(pictures)

    assert tree(pictures) == before


# ── what lies among the pictures ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", [".DS_Store", "Thumbs.db", "desktop.ini", "._000.jpg"])
def test_what_a_desktop_leaves_behind_is_nobodys_business(pictures: Path, name: str) -> None:
    (pictures / "cat" / name).write_bytes(b"clutter")

    dataset = loaded(pictures)

    assert (len(dataset.examples), dataset.ignored) == (8, ())


@pytest.mark.parametrize("name", [".cache", "__MACOSX"])
def test_hidden_folders_are_neither_classes_nor_read(pictures: Path, name: str) -> None:
    for folder in (pictures / name, pictures / "cat" / name):
        folder.mkdir()
        (folder / "000.jpg").write_bytes((pictures / "cat" / "000.jpg").read_bytes())

    dataset = loaded(pictures)

    assert (len(dataset.examples), dataset.labels) == (8, ("cat", "dog"))


def test_files_that_are_no_pictures_by_name_are_listed_as_ignored(pictures: Path) -> None:
    notes, video = pictures / "cat" / "notes.txt", pictures / "dog" / "clip.mp4"
    notes.write_text("a")
    video.write_bytes(b"b")

    assert loaded(pictures).ignored == (notes, video)


@pytest.mark.parametrize("name", ["A.JPG", "b.jpeg", "c.JPe", "d.jfif", "e.WebP", "f.bmp", "g.GIF"])
def test_a_picture_is_known_by_its_ending_in_any_case(pictures: Path, name: str) -> None:
    (pictures / "cat" / name).write_bytes(b"")

    assert name in {example.path.name for example in loaded(pictures).examples}


def test_pictures_outside_any_class_folder_are_noted(pictures: Path) -> None:
    for name in ("b.png", "a.jpg", "readme.txt", ".hidden.jpg"):
        (pictures / name).write_bytes(b"")

    assert loaded(pictures).notes == (f"2 picture(s) directly in {pictures} belong to no class, first a.jpg.",)


# ── names ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["Schäferhund", "柴犬", "كلب", "две собаки", " dog ", "🐕", "CON", "a'b\"c"])
def test_a_class_may_have_any_name(picture_folder: Callable[..., Path], name: str) -> None:
    assert name in loaded(picture_folder(("cat", name), count=1)).labels


def test_decomposed_names_become_composed(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(("cat", unicodedata.normalize("NFD", "Käfer")), count=1)

    assert loaded(root).labels == ("Käfer", "cat")


def test_the_paths_of_decomposed_names_stay_as_they_are_on_disk(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(("cat", unicodedata.normalize("NFD", "Käfer")), count=1)

    assert all(example.path.is_file() for example in loaded(root).examples)


def test_class_names_that_differ_only_in_case_or_spaces_are_noted(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(("Great Dane", "great dane", "poodle"), count=1)

    assert loaded(root).notes == (
        "The classes 'Great Dane' and 'great dane' differ only in case or spaces; are they one class?",
    )


def test_a_class_name_with_a_line_break_is_refused(picture_folder: Callable[..., Path]) -> None:
    assert refusal(picture_folder(("cat", "d\nog"), count=1)) == (
        "The class name 'd\\nog' has a line break or control character; rename it."
    )


def test_a_file_name_that_is_no_text_is_refused(pictures: Path) -> None:
    bad = os.fsencode(pictures / "cat") + b"/k\xe4fer.jpg"
    with open(bad, "wb"):  # noqa: PTH123 - a name in bytes
        pass

    assert refusal(pictures) == f"The name {pictures}/cat/k\\xe4fer.jpg is not valid UTF-8; rename it."


# ── nothing to train on ─────────────────────────────────────────────────────────────────────────────


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    assert refusal(tmp_path / "no") == f"The folder {tmp_path / 'no'} does not exist. {HINT}"


def test_a_name_that_is_too_long_for_any_folder_does_not_exist(tmp_path: Path) -> None:
    assert "does not exist" in refusal(tmp_path / ("n" * 300))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "cat.jpg"
    file.write_bytes(b"")

    assert refusal(file) == f"{file} is not a folder. {HINT}"


def test_an_empty_folder_has_no_classes(tmp_path: Path) -> None:
    assert refusal(tmp_path) == f"{tmp_path} holds no class folders with pictures; at least two are needed. {HINT}"


def test_one_class_is_not_enough(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(("cat",))

    assert refusal(root) == f"{root} holds one class, 'cat'; at least two are needed. {HINT}"


def test_pictures_without_class_folders_are_not_enough(tmp_path: Path, picture: Callable[..., object]) -> None:
    picture().save(tmp_path / "cat.png")  # type: ignore[attr-defined]

    assert "holds no class folders with pictures" in refusal(tmp_path)


def test_a_class_folder_without_pictures_is_named(pictures: Path) -> None:
    (pictures / "fox").mkdir()

    assert refusal(pictures) == (
        f"The class folder {pictures / 'fox'} holds no pictures. Add some, or remove the folder."
    )


def test_a_class_folder_with_other_files_only_holds_no_pictures(pictures: Path) -> None:
    (pictures / "fox").mkdir()
    (pictures / "fox" / "notes.txt").write_text("soon")

    assert "fox holds no pictures" in refusal(pictures)


def test_parts_are_not_taken_for_classes(picture_folder: Callable[..., Path]) -> None:
    root = picture_folder(("test", "valid"))

    assert refusal(root) == (
        f"{root} holds test and valid, which are parts and no classes; "
        "give it a train folder with one subfolder of pictures per class."
    )


def test_a_train_folder_with_loose_pictures_is_not_taken_for_a_class(picture_folder: Callable[..., Path]) -> None:
    assert "holds train and valid, which are parts" in refusal(picture_folder(("train", "valid")))


def test_a_subfolder_that_cannot_be_opened_is_named_and_not_left_out(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, scandir = pictures / "cat" / "locked", os.scandir
    locked.mkdir()

    def guarded(path: str) -> object:
        if str(path) == str(locked):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)  # root may open everything, so chmod would prove nothing

    assert refusal(pictures) == f"{locked} cannot be read: Permission denied. Check its permissions."
