"""The built-in data set: a table of pictures and what they show, as CSV, TSV or Parquet.

A row names a picture, relative to the table's folder, and says what it shows: a label, labels with a separator between
them, 0 or 1 in a column for each label, or numbers. Columns may say what part and what group a picture belongs to.
Everything that is wrong with a table is counted, and it is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source


@hookimpl
def finetune_register_datasets(register: Callable[[DatasetSpec], None]) -> None:
    """Offer the table of pictures."""
    register(
        DatasetSpec(
            name="table",
            summary="A table of your own: pictures' paths, labels or numbers, parts and groups (--data FILE).",
            sources=(
                Source(
                    name="local",
                    summary="The .csv, .tsv or .parquet file given with --data.",
                    accepts_data=True,
                    has_columns=True,
                ),
            ),
            load="finetune.builtin.table.loading:load",
            needs_data=True,
        )
    )
