"""Whatever the csv module writes of legal labels, values and names, the table reads back."""

from __future__ import annotations

import csv
import math
import tempfile
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from finetune.builtin.table.loading import load
from finetune.reporting import SILENT
from finetune.types import Columns, Dataset, DatasetRequest

FEW = settings(max_examples=60, suppress_health_check=[HealthCheck.too_slow])

texts = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
labels = texts.map(lambda text: unicodedata.normalize("NFC", text.strip())).filter(
    lambda text: text and text == unicodedata.normalize("NFC", text.strip())
)
values = st.floats(width=32, allow_nan=False, allow_infinity=False)


def read_back(header: Sequence[str], rows: Sequence[Sequence[object]], delimiter: str, **said: object) -> Dataset:
    """Write a table with its pictures, 0.jpg and so on, and load it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "table.csv"
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, delimiter=delimiter).writerows([header, *rows])
        for row in rows:
            (Path(name) / str(row[0])).touch()
        columns = Columns(**said)  # type: ignore[arg-type]
        return load(DatasetRequest(source="local", data=path, cache=path, reporter=SILENT, columns=columns))


@FEW
@given(shown=st.lists(labels, min_size=2, max_size=8), delimiter=st.sampled_from(",;\t"))
def test_any_labels_are_read_back(shown: list[str], delimiter: str) -> None:
    assume(len(set(shown)) > 1)
    rows = [(f"{i}.jpg", label) for i, label in enumerate(shown)]

    dataset = read_back(("image", "label"), rows, delimiter, task="single-label")

    assert [example.label for example in dataset.examples] == shown
    assert dataset.labels == tuple(sorted(set(shown)))


@FEW
@given(
    shown=st.lists(
        st.lists(labels.filter(lambda text: "|" not in text), max_size=4, unique=True), min_size=2, max_size=6
    )
)
def test_any_sets_of_labels_are_read_back(shown: list[list[str]]) -> None:
    assume(len({label for each in shown for label in each}) > 1)
    rows = [(f"{i}.jpg", "|".join(each)) for i, each in enumerate(shown)]

    dataset = read_back(("image", "labels"), rows, ",", separator="|")

    assert [list(example.labels) for example in dataset.examples] == shown


@FEW
@given(
    shown=st.lists(st.tuples(values, values), min_size=1, max_size=6), form=st.sampled_from(["{!r}", "{:.9g}", "{:+e}"])
)
def test_any_values_are_read_back(shown: list[tuple[float, float]], form: str) -> None:
    rows = [(f"{i}.jpg", *map(form.format, each)) for i, each in enumerate(shown)]

    dataset = read_back(("image", "x", "y"), rows, ",", labels=("x", "y"), task="regression")

    for example, each in zip(dataset.examples, shown, strict=True):
        assert all(math.isclose(a, b, rel_tol=1e-6, abs_tol=1e-44) for a, b in zip(example.values, each, strict=True))


@FEW
@given(names=st.lists(texts.filter(lambda text: "/" not in text and text not in (".", "..")), min_size=2, unique=True))
def test_any_names_of_pictures_are_read_back(names: list[str]) -> None:
    names = [name for name in names if name.strip()]
    assume(len(names) > 1)
    rows = [(f"{name}.jpg", "cat" if i else "dog") for i, name in enumerate(names)]

    dataset = read_back(("image", "label"), rows, ",")

    assert [example.path.name for example in dataset.examples] == [f"{name}.jpg" for name in names]


def test_quotes_are_not_needed_but_where_they_are(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    assert loaded(table('image,label\n"a.jpg",cat"s\nb.jpg,"dog"\n')).labels == ('cat"s', "dog")
