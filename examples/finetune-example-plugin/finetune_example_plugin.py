"""Pictures whose file names say what they show: ``cat.0.jpg``, ``american_bulldog_12.jpg``, ``Tulip (3).png``."""

from __future__ import annotations

import re
from collections.abc import Callable

from finetune.errors import DataError
from finetune.hookspecs import hookimpl
from finetune.types import Dataset, DatasetRequest, DatasetSpec, Example, Source

FINETUNE_API = "1.0"
SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
NUMBERED = re.compile(r"(?P<label>.*[^\W\d_])[^\w]*[ _]*\(?\d+\)?")
"""What a file's name is without its suffix: a label that ends in a letter, and the picture's number."""

COPY = Source(name="copy", summary="A folder of such pictures, folders within it included", accepts_data=True)
FILE_NAMES = DatasetSpec(
    name="file-names",
    summary="Pictures whose file names say what they show: cat.0.jpg, dog_12.png",
    sources=(COPY,),
    load="finetune_example_plugin:load",
    needs_data=True,
)


@hookimpl
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer ``file-names``."""
    register(FILE_NAMES)


def load(request: DatasetRequest) -> Dataset:
    """Return the pictures below ``--data``, labelled by their names; raise ``DataError`` where none says a label."""
    assert request.data is not None, "the specification says needs_data"
    paths = sorted(path for path in request.data.rglob("*") if path.suffix.lower() in SUFFIXES)
    matches = {path: NUMBERED.fullmatch(path.stem) for path in paths}
    examples = tuple(Example(path=path, label=match["label"]) for path, match in matches.items() if match)
    if not examples:
        raise DataError(f"{request.data} holds no pictures with names such as cat.0.jpg or dog_12.png; check --data.")
    return Dataset(
        name="file-names",
        examples=examples,
        labels=tuple(sorted({example.label for example in examples})),
        source="a folder of the user's",
        licence="as the user's pictures",
        ignored=tuple(path for path, match in matches.items() if not match),
    )
