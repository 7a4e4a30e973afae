"""The file of a table: which are read, and how each that cannot be is refused."""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest

from finetune.types import Dataset

ROWS = [("image", "label"), ("a.jpg", "cat"), ("b.jpg", "dog")]
SAVE = "Save it as 'CSV UTF-8'."


def shown(dataset: Dataset) -> list[tuple[str, str]]:
    return [(example.path.name, example.label) for example in dataset.examples]


def written(path: Path, **columns: list[object]) -> Path:
    pyarrow.parquet.write_table(pyarrow.table(columns), path)
    return path


# ── CSV and TSV ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_delimiter_and_the_ends_of_lines_are_found(
    table: Callable[..., Path], loaded: Callable[..., Dataset], delimiter: str, end: str
) -> None:
    text = "".join(delimiter.join(row) + end for row in ROWS)

    assert shown(loaded(table(text))) == ROWS[1:]


@pytest.mark.parametrize("name", ["photos.tsv", "photos.TSV"])
def test_a_tsv_file_is_divided_by_tabs_whatever_else_it_holds(
    table: Callable[..., Path], loaded: Callable[..., Dataset], name: str
) -> None:
    path = table("image\tlabel, or name\na.jpg\tcat\nb.jpg\tdog\n", name)

    assert shown(loaded(path, labels=("label, or name",))) == ROWS[1:]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_byte_order_mark_is_no_part_of_the_first_name(
    table: Callable[..., Path], loaded: Callable[..., Dataset], mark: bytes
) -> None:
    assert shown(loaded(table(mark + b"image,label\na.jpg,cat\nb.jpg,dog"))) == ROWS[1:]


def test_quoted_fields_may_hold_delimiters_and_quotes(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    path = table('"image","label"\na.jpg,"cat, black"\nb.jpg,"the ""dog"""\n')

    assert loaded(path).labels == ("cat, black", 'the "dog"')


def test_a_quoted_name_may_hold_another_delimiter(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = table('image;"label, or name"\na.jpg;cat\nb.jpg;dog\n')

    assert shown(loaded(path, labels=("label, or name",))) == ROWS[1:]


def test_empty_lines_are_skipped_and_counted(
    table: Callable[..., Path], loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    assert shown(loaded(table("\nimage,label\n\na.jpg,cat\n,\nb.jpg,dog\n\n"))) == ROWS[1:]
    assert refusal(table("image,label\n\na.jpg,cat\n\nb.jpg,\n")).startswith("photos.csv, line 5: its label is empty.")


def test_lines_are_counted_through_quoted_line_breaks(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = table('image,label,remark\na.jpg,cat,"two\nlines"\nb.jpg,,"and\nmore"\n')

    assert refusal(path).startswith("photos.csv, line 4: its label is empty.")


def test_the_nameless_index_of_a_data_frame_is_no_fault(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    assert shown(loaded(table(",image,label\n0,a.jpg,cat\n1,b.jpg,dog\n"))) == ROWS[1:]


def test_spaces_around_names_and_cells_count_for_nothing(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    assert shown(loaded(table("image , label\na.jpg , cat\n b.jpg,dog \n"))) == ROWS[1:]


WHOLE_FILES = {
    "empty": (b"", "photos.csv is empty. Its first line has to name its columns."),
    "blank": (b"\n\n\n", "photos.csv is empty. Its first line has to name its columns."),
    "a header only": (
        b"image,label\n",
        "photos.csv names no pictures. Its columns are the first line, and its pictures follow.",
    ),
    "one column": (
        b"image\na.jpg\n",
        "photos.csv: its first line has no commas, semicolons or tabs between its columns, and exactly one kind is "
        "allowed: 'image'. Put names that hold another into quotes.",
    ),
    "two delimiters": (
        b"image;label,kind\na.jpg;cat,1\n",
        "photos.csv: its first line has commas and semicolons between its columns, and exactly one kind is allowed: "
        "'image;label,kind'. Put names that hold another into quotes.",
    ),
    "a name twice": (
        b"image,label,label\n",
        "photos.csv has two columns called 'label'. Rename or remove one of them.",
    ),
    "a name with a line break": (
        b'image,label,"a\x07b"\n',
        "photos.csv: the column name 'a\\x07b' has a line break or control character. Rename it.",
    ),
    "UTF-16": ("image,label\n".encode("utf-16"), f"photos.csv is UTF-16, and a table is text in UTF-8. {SAVE}"),
    "UTF-32": ("image,label\n".encode("utf-32"), f"photos.csv is UTF-32, and a table is text in UTF-8. {SAVE}"),
    "UTF-16 without a mark": (
        "image,label\n".encode("utf-16-le"),
        f"photos.csv, line 1 has a NUL byte, as text in UTF-16 has. {SAVE}",
    ),
    "a NUL byte": (
        b"image,label\na.jpg,c\0at\n",
        f"photos.csv, line 2 has a NUL byte, as text in UTF-16 has. {SAVE}",
    ),
    "Latin-1": (b"image,label\na.jpg,K\xe4fer\n", f"photos.csv, line 2 is not UTF-8: byte 0xe4. {SAVE}"),
    "a spreadsheet": (
        b"PK\x03\x04 and more",
        f"photos.csv is a zip archive or spreadsheet, and a table is text in UTF-8. {SAVE}",
    ),
    "an open quote": (
        b'image,label\na.jpg,cat\nb.jpg,"dog\n',
        "photos.csv, line 3: unexpected end of data. A quoted field begins and ends with a quote, and one inside it is "
        "doubled.",
    ),
}


@pytest.mark.parametrize("case", WHOLE_FILES)
def test_a_file_that_is_no_table_is_refused(table: Callable[..., Path], refusal: Callable[..., str], case: str) -> None:
    content, text = WHOLE_FILES[case]

    assert refusal(table(content)) == text


def test_rows_of_another_length_are_named_and_counted(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = table("image,label\na.jpg\nb.jpg,dog\nc.jpg,cat, black\nd.jpg\n")

    assert refusal(path) == (
        "photos.csv, line 2: it has 1 field(s), and the header 2. Give every row as many fields as the header, in "
        "quotes where they need it. More of it: 2 of another length (lines 4, 5)."
    )


def test_a_table_that_is_not_there_is_named(tmp_path: Path, refusal: Callable[..., str]) -> None:
    hint = "Give --data a .csv, .tsv or .parquet file."

    assert refusal(tmp_path / "no.csv") == f"The table no.csv does not exist. {hint}"
    (tmp_path / "folder.csv").mkdir()
    assert refusal(tmp_path / "folder.csv") == f"The table folder.csv is a folder. {hint}"


def test_a_file_of_another_name_is_no_table(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    assert refusal(table("image,label\n", "photos.xlsx")) == (
        "photos.xlsx is no table by its name; a table's ends with .csv, .tsv, .parquet, .pq."
    )


def test_many_lines_are_read(tmp_path: Path, table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    path = table("")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(
            [("image", "label"), *(("abcd"[i % 4] + ".jpg", "xy"[i % 2]) for i in range(20_000))]
        )

    dataset = loaded(path)

    assert len(dataset.examples) == 4
    assert dataset.notes == ("19996 row(s) say again what another says, and count once; first line 6.",)


# ── Parquet ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["photos.parquet", "photos.pq", "photos.PQ"])
def test_a_parquet_file_is_read(table: Callable[..., Path], loaded: Callable[..., Dataset], name: str) -> None:
    path = written(table("", name), image=["a.jpg", "b.jpg"], label=["cat", "dog"], weight=[[1], [2]])

    assert shown(loaded(path)) == ROWS[1:]


def test_numbers_and_truth_values_of_a_parquet_file_are_what_they_are_in_a_csv_file(
    table: Callable[..., Path], loaded: Callable[..., Dataset]
) -> None:
    path = written(table("", "p.parquet"), image=["a.jpg", "b.jpg"], x=[True, False], y=[0, 1], z=[0.1, 1e-7])

    assert [e.labels for e in loaded(path, labels=("x", "y")).examples] == [("x",), ("y",)]
    assert [e.values for e in loaded(path, labels=("z",), task="regression").examples] == [(0.1,), (1e-7,)]


def test_a_categorical_column_is_its_text(table: Callable[..., Path], loaded: Callable[..., Dataset]) -> None:
    labels = pyarrow.array(["cat", "dog"]).dictionary_encode()
    path = table("", "p.parquet")
    pyarrow.parquet.write_table(pyarrow.table({"image": ["a.jpg", "b.jpg"], "label": labels}), path)

    assert shown(loaded(path)) == ROWS[1:]


def test_what_is_null_in_a_parquet_file_is_empty(table: Callable[..., Path], refusal: Callable[..., str]) -> None:
    path = written(table("", "p.parquet"), image=["a.jpg", "b.jpg"], label=["cat", None])

    assert refusal(path).startswith("p.parquet, row 2: its label is empty.")


def test_a_column_of_pictures_is_refused_with_the_plugin_that_reads_them(
    table: Callable[..., Path], refusal: Callable[..., str]
) -> None:
    path = written(table("", "p.parquet"), image=[{"bytes": b"x"}, {"bytes": b"y"}], label=["cat", "dog"])

    assert refusal(path) == (
        "p.parquet: the column 'image' holds struct<bytes: binary>, and neither text nor numbers. Sets that hold their "
        "pictures themselves are read by the plugin 'hf'."
    )


@pytest.mark.parametrize("content", [b"", b"PAR1 and no more", b"image,label\n"])
def test_a_file_that_is_no_parquet_is_refused(
    table: Callable[..., Path], refusal: Callable[..., str], content: bytes
) -> None:
    assert refusal(table(content, "p.parquet")).startswith("p.parquet cannot be read as Parquet: ")


def test_without_pyarrow_the_next_step_is_named(
    table: Callable[..., Path], refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)

    assert refusal(table(b"PAR1", "p.parquet"), status=6) == (
        "Tables in Parquet need pyarrow: pip install 'finetune[parquet]', or save the table as CSV."
    )
