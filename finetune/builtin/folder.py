"""The built-in data set: a folder with one subfolder of pictures per class.

Two layouts: ``DIR/<class>/…``, which is split by the run, and ``DIR/train/<class>/…`` with ``DIR/valid/<class>/…``
(or ``val``, ``validation``) and ``DIR/test/<class>/…``, whose split is kept; these names count in upper case, too.
Without a validation folder the run divides ``train``. Class folders may have subfolders, links to folders among them.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from finetune.builtin.labels import alike, composed, has_control_character
from finetune.errors import DataError
from finetune.hookspecs import hookimpl
from finetune.types import Dataset, DatasetRequest, DatasetSpec, Example, Part, Source

LOCAL = "a local folder"
"""What the contract says of the source: where the pictures lay is the user's own business, and not the model's."""
VALIDATION_NAMES = ("valid", "val", "validation")
PART_NAMES = {"train", "test", *VALIDATION_NAMES}
DESKTOP_CLUTTER = ("__MACOSX", "Thumbs.db", "desktop.ini")


@hookimpl
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer the folder of pictures."""
    register(
        DatasetSpec(
            name="folder",
            summary="A folder of your own, one subfolder of pictures per class (--data DIR).",
            sources=(Source(name="local", summary="The folder given with --data.", accepts_data=True),),
            load="finetune.builtin.folder:load",
            needs_data=True,
        )
    )


def load(request: DatasetRequest) -> Dataset:
    """Return the pictures of ``request.data``; raise ``DataError`` when there is nothing to train on."""
    assert request.data is not None, "the run asks for --data where needs_data is set"
    root = _existing_folder(request.data)
    notes: list[str] = []
    ignored: list[Path] = []
    try:
        examples = tuple(_examples(root, notes, ignored))
    except OSError as error:
        raise DataError(f"{error.filename} cannot be read: {error.strerror}. Check its permissions.") from error
    labels = tuple(sorted({example.label for example in examples}))
    _refuse_names_that_are_no_text(examples)
    if len(labels) < 2:
        raise DataError(_too_few_classes(root, labels))
    notes += alike(labels)
    return Dataset(
        name=root.name or str(root),
        examples=examples,
        labels=labels,
        source=LOCAL,
        licence="unknown",
        notes=tuple(notes),
        ignored=tuple(ignored),
    )


def _existing_folder(path: Path) -> Path:
    if not os.path.exists(path):  # noqa: PTH110 - Path.exists raises for some paths that cannot exist
        raise DataError(
            f"The folder {path} does not exist. Give --data a folder with one subfolder of pictures per class."
        )
    if not path.is_dir():
        raise DataError(f"{path} is not a folder. Give --data a folder with one subfolder of pictures per class.")
    return path.resolve()


def _examples(root: Path, notes: list[str], ignored: list[Path]) -> Iterator[Example]:
    folders = {folder.name.lower(): folder for folder in _subfolders(root)}
    train = folders.get("train")
    if train is None or not _subfolders(train):  # a class may be called 'train', too: a part holds class folders
        _refuse_parts_without_classes(root, set(folders))
        yield from _part(root, None, notes, ignored)
        return
    valid = next((folders[name] for name in VALIDATION_NAMES if name in folders), None)
    test = folders.get("test")
    if test and not _subfolders(test):  # pictures of unknown class, as competitions hand them out
        test = None
    _note_left_alone([folder for folder in folders.values() if folder not in (train, valid, test)], notes)
    yield from _part(train, "train" if valid or test else None, notes, ignored)
    if valid:
        yield from _part(valid, "valid", notes, ignored)
    if test:
        yield from _part(test, "test", notes, ignored)


def _refuse_parts_without_classes(root: Path, names: set[str]) -> None:
    if names and names <= PART_NAMES:
        raise DataError(
            f"{root} holds {' and '.join(sorted(names))}, which are parts and no classes; "
            "give it a train folder with one subfolder of pictures per class."
        )


def _note_left_alone(folders: list[Path], notes: list[str]) -> None:
    if folders:
        verb = f"and {len(folders) - 1} more beside it are" if len(folders) > 1 else "is"
        notes.append(f"{folders[0]} {verb} left alone: a run reads the class folders in train, valid and test.")


def _part(folder: Path, part: Part | None, notes: list[str], ignored: list[Path]) -> Iterator[Example]:
    stray = sorted(entry for entry in folder.iterdir() if _is_picture(entry) and not entry.is_dir())
    if stray:
        notes.append(f"{len(stray)} picture(s) directly in {folder} belong to no class, first {stray[0].name}.")
    for class_folder in _subfolders(folder):
        files = list(_files(class_folder))
        pictures = [path for path in files if _is_picture(path)]
        ignored += [path for path in files if not _is_picture(path)]
        if not pictures:
            raise DataError(f"The class folder {class_folder} holds no pictures. Add some, or remove the folder.")
        label = composed(class_folder.name)
        yield from (Example(path=path, label=label, part=part) for path in pictures)


def _subfolders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if entry.is_dir() and not _is_hidden(entry.name))


def _files(folder: Path) -> Iterator[Path]:
    """Yield what lies in a class folder; links are followed, and each real folder is read once, so that none loops."""
    seen: set[str] = set()
    for parent, folders, files in os.walk(folder, onerror=_raise, followlinks=True):
        real = os.path.realpath(parent)
        folders[:] = [] if real in seen else sorted(name for name in folders if not _is_hidden(name))
        if real not in seen:
            yield from (Path(parent, name) for name in sorted(files) if not _is_hidden(name))
        seen.add(real)


def _raise(error: OSError) -> None:
    raise error  # a subfolder that cannot be opened would otherwise be left out in silence


def _is_picture(path: Path) -> bool:
    from finetune_export.image import PICTURE_SUFFIXES  # brings numpy, which listing what there is does not need

    return path.suffix.lower() in PICTURE_SUFFIXES and not _is_hidden(path.name)


def _is_hidden(name: str) -> bool:
    return name.startswith(".") or name in DESKTOP_CLUTTER


def _too_few_classes(root: Path, labels: tuple[str, ...]) -> str:
    found = f"one class, '{labels[0]}'" if labels else "no class folders with pictures"
    return (
        f"{root} holds {found}; at least two are needed. Give --data a folder with one subfolder of pictures per class."
    )


def _refuse_names_that_are_no_text(examples: tuple[Example, ...]) -> None:
    """Refuse names that no text file, and so no model and no record of a run, can hold."""
    for example in examples:
        path = os.fsencode(example.path).decode(errors="backslashreplace")
        if path != str(example.path):
            raise DataError(f"The name {path} is not valid UTF-8; rename it.")
        if has_control_character(example.label):
            raise DataError(f"The class name {example.label!r} has a line break or control character; rename it.")
