"""Stanford Dogs: 20,580 photos of 120 breeds with an official split, downloaded or at hand.

Khosla, Jayadevaprakash, Yao, Fei-Fei: Novel dataset for fine-grained image categorization, FGVC workshop,
CVPR 2011. http://vision.stanford.edu/aditya86/ImageNetDogs/
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from finetune.download import Archive, download_folder, mirror
from finetune.errors import DataError
from finetune.types import Dataset, Example, Part, Reporter

URL_VARIABLE = "FINETUNE_DOGBREEDS_URL"
URL = "http://vision.stanford.edu/aditya86/ImageNetDogs"

ARCHIVES = (
    # Sizes and SHA-256 as published by TensorFlow Datasets, tensorflow_datasets/url_checksums/stanford_dogs.txt.
    Archive("lists.tar", 481_280, "34b47cacd9a98b5d150e084f24d29391c084c55272295ec65c85651bc35f4d6c"),
    Archive("images.tar", 793_579_520, "a443fc2f9a851aa1a7b8e4fa4af94b8459fce2c9f5a2f4dd4669cf9673a4ec58"),
)
LICENCE = "none stated by its authors; photos from ImageNet, for non-commercial research and education"

_LISTS: dict[str, Part] = {"train_list.mat": "train", "test_list.mat": "valid"}
_SYNSET = re.compile(r"n\d{8}-(.+)")
_SUFFIXES = {".jpg", ".jpeg", ".png"}


def load_downloaded(cache: Path, reporter: Reporter) -> Dataset:
    """Return Stanford Dogs from ``cache``, downloading them (794 MB, resumable) unless they are there."""
    return load_copy(download_folder(cache / "stanford-dogs", mirror(URL_VARIABLE, URL), ARCHIVES, reporter))


def load_copy(root: Path) -> Dataset:
    """Return the copy of Stanford Dogs in ``root``: in ``root/Images`` or in ``root`` itself, nothing downloaded.

    With ``train_list.mat`` and ``test_list.mat`` in ``root`` the photos carry the official split. Raises
    ``DataError`` where ``root`` is no such copy or its lists cannot be read.
    """
    images = root / "Images" if (root / "Images").is_dir() else root
    photos = {path.relative_to(images).as_posix(): path for path in _photos(images)}
    if not photos:
        raise DataError(
            f"{root} is not a copy of Stanford Dogs: no photos in folders such as n02085620-Chihuahua, "
            f"neither in {root / 'Images'} nor in {root}. Give --data the folder that holds Images."
        )
    parts = _official_split(root)
    at_hand = {name: path for name, path in photos.items() if not parts or name in parts}
    if not at_hand:
        raise DataError(f"None of the {len(photos)} photos in {images} is in the lists in {root}. {_NO_LISTS}")
    examples = tuple(
        Example(path=path, label=label_of(path.parent.name), part=parts.get(name)) for name, path in at_hand.items()
    )
    return Dataset(
        name="dogbreeds",
        examples=examples,
        labels=tuple(sorted({example.label for example in examples})),
        source=URL,
        licence=LICENCE,
        notes=_notes(len(photos), len(at_hand), official=bool(parts)),
    )


_NO_LISTS = "Give the lists that belong to the photos, or remove both for a split by chance."


def _photos(images: Path) -> list[Path]:
    if not images.is_dir():
        return []
    folders = sorted(folder for folder in images.iterdir() if _SYNSET.fullmatch(folder.name) and folder.is_dir())
    return [path for folder in folders for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES]


def label_of(synset: str) -> str:
    """Return the breed in a folder's name: ``n02089078-black-and-tan_coonhound`` → ``black-and-tan coonhound``."""
    match = _SYNSET.fullmatch(synset)
    return (match[1] if match else synset).replace("_", " ")


def _official_split(root: Path) -> dict[str, Part]:
    """Return the part of each photo by its name (``synset/file.jpg``); empty where there are no lists."""
    there = [root / name for name in _LISTS if (root / name).is_file()]
    if not there:
        return {}
    if len(there) == 1:
        (other,) = set(_LISTS) - {there[0].name}
        raise DataError(f"{root} has {there[0].name} but no {other}. {_NO_LISTS}")
    return {name: _LISTS[path.name] for path in there for name in _listed(path)}


def _listed(path: Path) -> list[str]:
    import numpy as np
    from scipy.io import loadmat
    from scipy.io.matlab import MatReadError

    try:
        names: Any = loadmat(path, squeeze_me=True)["file_list"]
    except (MatReadError, ValueError, TypeError, KeyError, NotImplementedError, OSError) as error:
        raise DataError(f"{path} is not a list of Stanford Dogs ({error}). {_NO_LISTS}") from error
    return [str(name) for name in np.atleast_1d(names)]


def _notes(found: int, used: int, *, official: bool) -> tuple[str, ...]:
    split = "the official split into train and test" if official else "no lists of the official split: split by chance"
    left_out = (f"{found - used} photos are in neither list and were left out.",) if found > used else ()
    return (f"Stanford Dogs: {used} photos, {split}.", *left_out)
