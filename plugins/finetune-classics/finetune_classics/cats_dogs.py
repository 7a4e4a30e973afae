"""Cats and dogs: 25,000 photos of the Kaggle competition "Dogs vs. Cats", as Microsoft publishes them.

Elson, Douceur, Howell, Saul: Asirra, a CAPTCHA that exploits interest-aligned manual image categorization, CCS 2007.
https://www.microsoft.com/en-us/download/details.aspx?id=54765
"""

from __future__ import annotations

import re
from pathlib import Path

from finetune.download import Archive
from finetune.types import Dataset, DatasetRequest, Example
from finetune_classics.published import Published, read_folders, root_of

PUBLISHED = Published(
    name="cats-dogs",
    title="cats and dogs",
    url="https://download.microsoft.com/download/3/E/1/3E1C3F21-ECDB-4869-8368-6DEBA77B919F",
    variable="FINETUNE_CATS_DOGS_URL",
    archive=Archive(
        "kagglecatsanddogs_5340.zip",
        # Microsoft states none. Size and SHA-256 as Hugging Face recorded them: github.com/huggingface/datasets,
        # datasets/cats_vs_dogs/dataset_infos.json.
        size=824_887_076,
        sha256="b7974bd00a84a99921f36ee4403f089853777b5ae8d151c76a86e64900334af9",
    ),
    inner="PetImages",
    labels={"cat": "cat", "cats": "cat", "dog": "dog", "dogs": "dog"},
    layout="the class folders Cat and Dog, in any case, or with train and validation folders of such",
    licence=(
        "CDLA-Permissive-2.0 by the agreement in Microsoft's archive; "
        "Kaggle's rules for the same photos: non-commercial research only, not to be re-published"
    ),
)

_KAGGLE_NAME = re.compile(r"(cat|dog)\.\d+\.jpe?g", re.IGNORECASE)


def load(request: DatasetRequest) -> Dataset:
    """Return the photos; there is no official split, and a copy may have one of its own.

    A copy may also be Kaggle's: train/cat.0.jpg and so on. Raises ``DataError`` for a copy that is none,
    ``ResourceError`` where network or disk fail.
    """
    root = root_of(request, PUBLISHED)
    examples = _from_kaggle(root / "train") or _from_kaggle(root)
    if not examples:
        return read_folders(request, root, PUBLISHED)
    return Dataset(
        name=PUBLISHED.name,
        examples=examples,
        labels=("cat", "dog"),
        source=PUBLISHED.address,
        licence=PUBLISHED.licence,
    )


def _from_kaggle(folder: Path) -> tuple[Example, ...]:
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    named = ((path, _KAGGLE_NAME.fullmatch(path.name)) for path in files)
    return tuple(Example(path=path, label=name[1].lower()) for path, name in named if name)
