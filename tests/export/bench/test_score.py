from __future__ import annotations

import os
import shutil
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from finetune_export.bench.score import Score, labelled_pictures, score
from finetune_export.errors import ImageError, UsageError
from finetune_export.predictor import Prediction, Predictor

LABELS = ("ant", "bee", "cat", "dog", "emu", "fox")


def test_a_picture_has_the_label_of_its_folder_however_deep_it_lies(picture_folder: Callable[..., Path]) -> None:
    folder = picture_folder(("ant", "bee"), count=1)
    deep = folder / "bee" / "2026" / "may"
    deep.mkdir(parents=True)
    (folder / "bee" / "000.jpg").rename(deep / "1.JPG")
    assert labelled_pictures(folder, LABELS) == [
        (str(folder / "ant" / "000.jpg"), "ant"),
        (str(deep / "1.JPG"), "bee"),
    ]


def test_hidden_folders_and_files_that_are_no_pictures_do_not_count(picture_folder: Callable[..., Path]) -> None:
    folder = picture_folder(("ant", ".cache"), count=1)
    (folder / "ant" / "readme.md").write_text("about ants")
    assert [label for _, label in labelled_pictures(folder, LABELS)] == ["ant"]


def test_hidden_pictures_do_not_count_and_linked_folders_are_not_followed(picture_folder: Callable[..., Path]) -> None:
    folder = picture_folder(("ant", "bee"), count=1)
    hidden = folder / "ant" / ".thumbnails"
    hidden.mkdir()
    shutil.copy(folder / "ant" / "000.jpg", hidden / "000.jpg")
    shutil.copy(folder / "ant" / "000.jpg", folder / "ant" / ".000.jpg")
    (folder / "ant" / "bees").symlink_to(folder / "bee", target_is_directory=True)
    assert [path for path, _ in labelled_pictures(folder, LABELS)] == [
        str(folder / name / "000.jpg") for name in ("ant", "bee")
    ]


def test_a_folder_that_cannot_be_read_is_refused(
    picture_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = picture_folder(("ant", "bee"), count=1)
    scandir = os.scandir

    def locked(path: str) -> Any:
        if path == str(folder / "bee"):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(UsageError, match=r"--data .*bee: the folder cannot be read \(Permission denied\); mend that"):
        labelled_pictures(folder, LABELS)


def test_a_folder_that_is_no_label_is_refused_with_those_there_are(picture_folder: Callable[..., Path]) -> None:
    folder = picture_folder(("ant", "gnu"))
    with pytest.raises(UsageError, match=r"'gnu' is not a label of the model; it has .* emu and 1 more"):
        labelled_pictures(folder, LABELS)


def test_a_folder_without_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no pictures; it has to have a folder of pictures for each label"):
        labelled_pictures(tmp_path, LABELS)


def test_pictures_that_cannot_be_read_are_not_judged(model_path: Path, pictures: Path, tmp_path: Path) -> None:
    predictor = Predictor(model_path)
    file = str(pictures / "cat" / "000.jpg")
    label = predictor.predict(file)[0].label
    other = next(name for name in predictor.labels if name != label)
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"\xff\xd8\xff")
    found = score(predictor, [(file, label), (str(broken), label), (file, other)])
    assert found == Score(right=1, judged=2, refused=1)
    assert found.accuracy == 0.5
    assert (found.total, found.share_right) == (3, 1 / 3)


class Watched(Predictor):
    """A predictor that knows how many of its answers somebody still holds."""

    most_held = 0

    def stream(self, *args: Any, **options: Any) -> Iterator[Prediction | ImageError]:
        given: list[weakref.ref[Prediction | ImageError]] = []
        for answer in super().stream(*args, **options):
            given.append(weakref.ref(answer))
            self.most_held = max(self.most_held, sum(each() is not None for each in given))
            yield answer


def test_answers_are_counted_and_not_kept(model_path: Path, pictures: Path) -> None:
    predictor = Watched(model_path)
    assert score(predictor, [(str(pictures / "cat" / "000.jpg"), "ant")] * 50).judged == 50
    assert predictor.most_held < 5


def test_no_picture_at_all_that_can_be_read_is_an_error(model_path: Path, tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"gone\.jpg: the file cannot be read"):
        score(Predictor(model_path), [(str(tmp_path / "gone.jpg"), "ant")])
