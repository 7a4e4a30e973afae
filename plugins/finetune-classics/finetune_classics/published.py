"""From what was published to a folder of class folders: downloaded, out of an archive at hand, or as it lies there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from finetune.builtin import folder as class_folders
from finetune.download import Archive, difference, download_folder, mirror, unpack_folder
from finetune.errors import DataError
from finetune.types import Dataset, DatasetRequest, Reporter

MOST_SHOWN = 10
"""So many class folders of another data set are named."""


@dataclass(frozen=True, kw_only=True)
class Published:
    """A data set as its authors publish it.

    ``url`` is where the archive lies, and the environment variable ``variable`` may name a mirror. ``inner`` is the
    folder in the archive that holds the pictures, and ``finish`` makes them of what was unpacked, where there is
    something to make. ``labels`` gives the label of a class folder by its name in lower case; their order is the
    labels' order. ``layout`` says in words what a copy looks like.
    """

    name: str
    title: str
    url: str
    variable: str
    archive: Archive
    inner: str
    labels: Mapping[str, str]
    layout: str
    licence: str
    finish: Callable[[Path, Reporter], None] | None = None

    @property
    def address(self) -> str:
        """The address of the archive: what a model says of its data."""
        return f"{self.url}/{self.archive.name}"


def root_of(request: DatasetRequest, published: Published) -> Path:
    """Return the folder that holds the class folders or parts; download or unpack it where that is needed.

    Raises ``DataError`` for an archive that is not the published one, ``ResourceError`` where network or disk fail.
    """
    finish = _finisher(published, request.reporter)
    unpacked = request.cache / "published"
    if request.data is None:
        url = mirror(published.variable, published.url)
        root = download_folder(unpacked, url, (published.archive,), request.reporter, finish)
    elif file := _archive_at_hand(request.data, published.archive):
        root = unpack_folder(unpacked, (file,), request.reporter, finish)
    else:
        root = request.data
    return root / published.inner if (root / published.inner).is_dir() else root


def _finisher(published: Published, reporter: Reporter) -> Callable[[Path], None] | None:
    finish = published.finish
    return (lambda unpacked: finish(unpacked, reporter)) if finish else None


def _archive_at_hand(data: Path, archive: Archive) -> Path | None:
    file = data / archive.name if data.is_dir() else data
    if not file.is_file():
        return None
    if problem := difference(file, archive):
        raise DataError(
            f"{file} is not the published {archive.name}: {problem}. Download it anew, or leave out --data."
        )
    return file


def read_folders(request: DatasetRequest, root: Path, published: Published) -> Dataset:
    """Return the pictures in the class folders of ``root``, read as the built-in data set ``folder`` reads them.

    Raises ``DataError`` where the class folders are not those of the data set.
    """
    found = class_folders.load(replace(request, data=root))
    _refuse_other_classes(root, found.labels, published)
    examples = (replace(e, label=published.labels[e.label.casefold()]) for e in found.examples)
    return Dataset(
        name=published.name,
        examples=tuple(examples),
        labels=tuple(dict.fromkeys(published.labels.values())),
        source=published.address,
        licence=published.licence,
        notes=found.notes,
        ignored=found.ignored,
    )


def _refuse_other_classes(root: Path, found: tuple[str, ...], published: Published) -> None:
    known = {published.labels.get(label.casefold()) for label in found}
    expected = dict.fromkeys(published.labels.values())
    if known != set(expected):
        shown = ", ".join(found[:MOST_SHOWN]) + (", …" if len(found) > MOST_SHOWN else "")
        raise DataError(
            f"{root} is not a copy of {published.title}: its class folders are {shown}, and not "
            f"{', '.join(expected)}. Give --data a folder with {published.layout}."
        )
