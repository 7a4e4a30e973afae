"""The division of an earlier run, for the same pictures again."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest

from finetune.data.audit import Audit, Checked
from finetune.data.splits import Split, SplitRules, split
from finetune.errors import ConfigError, DataError
from finetune.types import Dataset, Example

PICTURES = [
    Checked(example=Example(path=Path(f"/data/{i}.jpg"), label="ab"[i % 2]), sha256=f"{i:064x}") for i in range(20)
]


def divided(pictures: list[Checked], rules: SplitRules) -> Split:
    examples = tuple(picture.example for picture in pictures)
    data = Dataset(name="set", examples=examples, labels=("a", "b"), source="", licence="")
    return split(Audit(checked=tuple(pictures), refused=(), fingerprint=""), data, rules)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    division = divided(PICTURES, SplitRules(seed=7, test_share=0.2))
    hashes = {picture.example.path: picture.sha256 for picture in PICTURES}
    parts = (("train", division.train), ("valid", division.valid), ("test", division.test))
    rows = [(part, e.label, e.path, hashes[e.path]) for part, examples in parts for e in examples]
    path = tmp_path / "split.csv"
    with path.open("w", newline="") as text:
        csv.writer(text).writerows([("part", "label", "path", "sha256"), *rows])
    return path


def refusal(pictures: list[Checked], file: Path) -> str:
    with pytest.raises(DataError) as caught:
        divided(pictures, SplitRules(file=file))
    return str(caught.value)


def parts_of(division: Split) -> list[set[str]]:
    return [{e.path.name for e in part} for part in (division.train, division.valid, division.test)]


def test_the_division_is_the_same_again_whatever_the_seed(file: Path) -> None:
    first = divided(PICTURES, SplitRules(seed=7, test_share=0.2))

    assert parts_of(divided(PICTURES[::-1], SplitRules(file=file, seed=99))) == parts_of(first)


def test_a_share_that_the_file_overrules_is_told_so(file: Path) -> None:
    assert divided(PICTURES, SplitRules(file=file)).notes == ()
    assert divided(PICTURES, SplitRules(file=file, test_share=0.5)).notes == (
        "--split says what is tested on, so --test-share has no effect.",
    )


def test_pictures_are_known_by_their_content_wherever_they_are(file: Path) -> None:
    moved = [replace(p, example=replace(p.example, path=Path("/else", p.example.path.name))) for p in PICTURES]

    assert parts_of(divided(moved, SplitRules(file=file))) == parts_of(divided(PICTURES, SplitRules(file=file)))


def test_a_picture_that_was_changed_is_known_by_its_path(file: Path) -> None:
    changed = [replace(PICTURES[0], sha256="f" * 64), *PICTURES[1:]]

    assert parts_of(divided(changed, SplitRules(file=file))) == parts_of(divided(PICTURES, SplitRules(file=file)))


def test_equal_pictures_are_told_apart_by_their_paths(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    rows = [("train", "a", "/1", "x"), ("valid", "a", "/2", "x"), ("train", "b", "/3", "y"), ("valid", "b", "/4", "y")]
    file.write_text("part,label,path,sha256\n" + "".join(",".join(row) + "\n" for row in rows))
    pictures = [Checked(example=Example(path=Path(row[2]), label=row[1]), sha256=row[3]) for row in reversed(rows)]

    assert parts_of(divided(pictures, SplitRules(file=file))) == [{"1", "3"}, {"2", "4"}, set()]


def test_pictures_that_the_file_does_not_know_are_refused(file: Path) -> None:
    new = Checked(example=Example(path=Path("/data/new.jpg"), label="a"), sha256="f" * 64)

    assert refusal([*PICTURES, new], file) == (
        f"--split {file} is of other pictures: 1 of 21 are not in it (first /data/new.jpg), and 0 of its 20 are not "
        "there. Give the data of that run, or leave out --split."
    )


def test_pictures_that_only_the_file_knows_are_refused(file: Path) -> None:
    assert refusal(PICTURES[:-2], file).startswith(
        f"--split {file} is of other pictures: 0 of 18 are not in it, and 2 of its 20 are not there (first /data/1"
    )


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"path,label\n", "has no column 'part'. Give the split.csv of a run."),
        (b"", "has no column 'part'. Give the split.csv of a run."),
        (b"\xff\xfe\0", "is no table ("),
        (b"part,label,path,sha256\nlater,a,/x,1\n", "has the part 'later'; allowed are train, valid, test."),
    ],
)
def test_a_file_that_is_no_split_is_refused(tmp_path: Path, content: bytes, problem: str) -> None:
    file = tmp_path / "split.csv"
    file.write_bytes(content)
    with pytest.raises(ConfigError) as caught:
        divided(PICTURES, SplitRules(file=file))
    assert str(caught.value).startswith(f"--split {file} {problem}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"gone\.csv cannot be read \(No such file or directory\)"):
        divided(PICTURES, SplitRules(file=tmp_path / "gone.csv"))
