"""``finetune audit``: what it says, what it writes, and what it leaves alone."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from .conftest import Said, refusal

Cli = Callable[..., Said]


@pytest.fixture
def suspicious(pictures: Path) -> Path:
    """The eight pictures, and a broken one, a copy, and one under both labels."""
    (pictures / "cat" / "broken.jpg").write_bytes(b"\xff\xd8\xff")
    shutil.copy(pictures / "cat" / "000.jpg", pictures / "cat" / "copy.jpg")
    shutil.copy(pictures / "dog" / "001.png", pictures / "cat" / "dog?.png")
    return pictures


def written() -> Path:
    """Return the one folder that the command made."""
    (folder,) = Path("runs").iterdir()
    return folder


def rows_of(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as text:
        return list(csv.DictReader(text))


def test_findings_are_counted_named_and_shown(suspicious: Path, cli: Cli) -> None:
    said = cli("audit", suspicious, "--max-unreadable", 0.5)

    lines = [line.split() for line in said.out.splitlines()]
    assert said.status == 0
    assert lines[0] == ["finding", "pictures", "first"]
    assert [line[:2] for line in lines[1:4]] == [["unreadable", "1"], ["conflict", "1"], ["duplicate", "1"]]
    assert lines[3][2:] == [f"{suspicious}/cat/000.jpg", "=", f"{suspicious}/cat/copy.jpg"]
    assert "pictures: 11 pictures, 10 readable, single-label" in said.out
    with Image.open(written() / "suspicious.png") as sheet:
        assert sheet.width == 1200


def test_nothing_to_find_is_said_and_draws_nothing(pictures: Path, cli: Cli) -> None:
    said = cli("audit", "--data", pictures)

    assert said.status == 0
    assert said.out.splitlines()[1].split() == ["nothing", "0"]
    assert sorted(path.name for path in written().iterdir()) == ["audit.json", "run.json"]


def test_the_report_holds_every_finding(suspicious: Path, cli: Cli) -> None:
    said = cli("audit", suspicious, "--max-unreadable", 0.5, "--json")

    report = json.loads((written() / "audit.json").read_text(encoding="utf-8"))
    assert report["class_counts"] == {"cat": 6, "dog": 4}
    assert report["sizes_px"] == {"width": [40, 40, 40], "height": [40, 40, 40]}
    assert report["kinds"]["unreadable"]["pictures"] == 1
    assert [finding["kind"] for finding in report["findings"]] == ["unreadable", "conflict", "duplicate"]
    assert report["findings"][1]["pictures"] == [
        {"path": f"{suspicious}/cat/dog?.png", "shows": "cat", "part": None, "group": None},
        {"path": f"{suspicious}/dog/001.png", "shows": "dog", "part": None, "group": None},
    ]
    assert json.loads(said.out).items() <= report.items()


def test_pictures_that_cannot_be_trained_on_are_reported_all_the_same(suspicious: Path, cli: Cli) -> None:
    said = cli("audit", suspicious)

    assert said.status == 3
    assert said.err.splitlines()[-1].startswith("finetune: 1 of 11 pictures cannot be read, more than 5%")
    assert "duplicate" in said.out
    assert json.loads((written() / "audit.json").read_text())["problem"].startswith("1 of 11 pictures")


def test_a_division_that_a_run_would_refuse_is_a_problem(pictures: Path, cli: Cli) -> None:
    said = cli("audit", pictures, "--group-pattern", "cat|dog")

    assert said.status == 3
    assert "The class 'cat' has 4 readable picture(s), all of the group 'cat'" in said.err


def test_no_picture_is_touched(suspicious: Path, cli: Cli, tree: Callable[[Path], dict[str, bytes]]) -> None:
    before = tree(suspicious)

    cli("audit", suspicious, "--max-unreadable", 0.5, "--fix", suspicious.parent / "cleaned.csv")

    assert tree(suspicious) == before


# ── the table without what is wrong ─────────────────────────────────────────────────────────────────


def test_the_table_has_neither_broken_nor_repeated_nor_contradicting_pictures(suspicious: Path, cli: Cli) -> None:
    table = suspicious / "cleaned.csv"

    said = cli("audit", suspicious, "--max-unreadable", 0.5, "--fix", table)

    assert said.status == 0
    names = [(label, name) for label in ("cat", "dog") for name in ("000.jpg", "001.png", "002.jpg", "003.png")]
    assert rows_of(table) == [
        {"image": f"{label}/{name}", "label": label} for label, name in names if (label, name) != ("dog", "001.png")
    ]


def test_the_table_keeps_the_parts(picture_folder: Callable[..., Path], cli: Cli) -> None:
    root = picture_folder(parts=("train", "valid"))

    cli("audit", root, "--fix", root.parent / "above.csv")

    rows = rows_of(root.parent / "above.csv")
    assert rows[0] == {"image": "pictures/train/cat/000.jpg", "label": "cat", "split": "train"}
    assert {row["split"] for row in rows} == {"train", "valid"}


def test_the_table_keeps_the_groups(pictures: Path, cli: Cli) -> None:
    cli("audit", pictures, "--group-pattern", r"00(\d)", "--fix", pictures / "cleaned.csv")

    assert [row["group"] for row in rows_of(pictures / "cleaned.csv")] == ["0", "1", "2", "3"] * 2


def test_a_file_that_is_there_is_never_written_over(pictures: Path, cli: Cli) -> None:
    table = pictures / "mine.csv"
    table.write_text("mine")

    line = refusal(cli("audit", pictures, "--fix", table), 2)

    assert line.endswith(f"--fix {table} exists, and nothing is ever written over; give another name, or remove it.")
    assert table.read_text() == "mine"
    assert not Path("runs").exists()


def test_a_table_that_would_point_outside_its_folder_is_refused_with_a_place(pictures: Path, cli: Cli) -> None:
    line = refusal(cli("audit", pictures, "--fix", "cleaned.csv"), 2)

    assert "8 picture(s) are not below its folder" in line
    assert line.endswith(f"Give --fix {pictures}/cleaned.csv.")
    assert list(Path().iterdir()) == []


@pytest.mark.parametrize(
    ("fix", "problem"),
    [
        ("cleaned.txt", "give a file name that ends with .csv."),
        ("gone/cleaned.csv", "its folder does not exist. Make it first, or give another."),
    ],
)
def test_a_table_that_cannot_be_written_is_refused(pictures: Path, cli: Cli, fix: str, problem: str) -> None:
    assert refusal(cli("audit", pictures, "--fix", pictures / fix), 2).endswith(problem)


# ── what is asked ───────────────────────────────────────────────────────────────────────────────────


def test_data_is_said_once(pictures: Path, cli: Cli) -> None:
    line = refusal(cli("audit", pictures, "--data", pictures), 2)

    assert line.endswith(f"{pictures} and --data {pictures} are both data; leave out one.")


def test_nothing_to_look_at_is_a_usage_error(cli: Cli) -> None:
    assert "Nothing to train on; give --plugin NAME or --data DIR." in refusal(cli("audit"), 2)


def test_looking_at_pictures_needs_no_torch(pictures: Path, process: Callable[..., Said]) -> None:
    said = process(
        code="import sys\nfrom finetune.cli import main\n"
        f"try: main(['audit', {str(pictures)!r}])\n"
        "except SystemExit as end: print(end.code or 0, 'torch' in sys.modules, 'sklearn' in sys.modules)"
    )

    assert said.out.splitlines()[-1] == "0 False False", said.err
