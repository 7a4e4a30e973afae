"""The file of the rows so far: what it takes up again, what it cuts off, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune_export.bulk import formats
from finetune_export.bulk.answers import Answer, Question
from finetune_export.bulk.job import batched
from finetune_export.bulk.part import Part
from finetune_export.bulk.sources import Entry
from finetune_export.errors import ResourceError, UsageError

FACTS: dict[str, Any] = {"model": "abc", "--top": 2, "sources": ["in"]}
NAMES = [f"{i}.jpg" for i in range(10)]


def begin(out: Path, question: Question, facts: dict[str, Any] = FACTS, restart: bool = False) -> Part:
    return Part(out, facts, question, restart=restart)


def batches(size: int = 1, names: Sequence[str] = NAMES) -> Iterator[Sequence[Entry]]:
    return batched(map(Entry, names), size)


def answered(path: str) -> Answer:
    return Answer(path, label="ant", probability=0.75, abstains=False, top=(("ant", 0.75), ("bee", 0.25)))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out.jsonl"


@pytest.fixture
def part(out: Path, question: Question) -> Path:
    """Return a part of six rows, one of them an error."""
    with begin(out, question) as part:
        assert len(list(part.remaining(batches()))) == 10
        for name in NAMES[:5]:
            part.append([answered(name)])
        part.append([Answer(NAMES[5], error="the file is empty")])
    return part.path


def left(out: Path, question: Question, size: int = 1) -> list[str]:
    with begin(out, question) as part:
        return [entry.path for batch in part.remaining(batches(size)) for entry in batch]


def test_what_is_there_is_not_done_again(out: Path, part: Path, question: Question) -> None:
    before = part.read_bytes()
    assert left(out, question) == NAMES[6:]
    assert part.read_bytes() == before


def test_half_a_line_is_cut_off(out: Path, part: Path, question: Question) -> None:
    whole = part.read_bytes()
    lines = whole.splitlines(keepends=True)
    for cut in range(len(whole) - len(lines[-1]), len(whole)):
        part.write_bytes(whole[:cut])
        assert left(out, question) == NAMES[5:]
        assert part.read_bytes() == b"".join(lines[:-1])


def test_half_a_first_line_is_begun_anew(out: Path, part: Path, question: Question) -> None:
    head = part.read_bytes().splitlines(keepends=True)[0]
    for cut in range(len(head)):
        part.write_bytes(head[:cut])
        assert left(out, question) == NAMES
        assert part.read_bytes() == head


def test_half_a_batch_is_cut_off_so_that_batches_stay_the_same(out: Path, part: Path, question: Question) -> None:
    assert left(out, question, size=4) == NAMES[4:]
    assert len(part.read_bytes().splitlines()) == 1 + 4


def test_a_last_batch_that_is_shorter_is_done(out: Path, question: Question) -> None:
    with begin(out, question) as part:
        for batch in part.remaining(batches(4)):
            part.append([answered(entry.path) for entry in batch])
    assert left(out, question, size=4) == []


def test_the_file_has_the_rows_and_the_part_is_gone(out: Path, part: Path, question: Question) -> None:
    with begin(out, question) as again:
        list(again.remaining(batches(names=NAMES[:6])))
        assert (again.rows, again.errors) == (6, 1)
        again.finish("jsonl")
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [row["path"] for row in rows] == NAMES[:6]
    assert [path.name for path in out.parent.iterdir() if "out." in path.name] == ["out.jsonl"]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize(
    ("question", "found"),
    [
        (Question(model="m", top=2), answered(NAMES[0])),
        (Question(model="m", top=1, embeddings=True), replace(answered(NAMES[0]), embedding=(0.1, -2.5e-30))),
        (Question(model="m", task="multi-label", top=1), Answer(NAMES[0], labels=("é", "b"), top=(("é", 0.9),))),
        (Question(model="m", task="multi-label"), Answer(NAMES[0], labels=())),
        (Question(model="m", task="regression", labels=("age", "error")), Answer(NAMES[0], values=(0.1, -1e30))),
    ],
)
def test_rows_that_were_taken_up_again_are_written_as_those_that_were_not(
    question: Question, found: Answer, kind: str, out: Path, tmp_path: Path
) -> None:
    answers = [found, Answer(NAMES[1], error="the file is empty")]
    with begin(out, question) as part:
        part.append(answers)
    with begin(out, question) as again:
        assert list(again.remaining(batches(names=NAMES[:2]))) == []
        again.finish(kind)

    formats.write(kind, tmp_path / "at once", answers, question)
    assert out.read_bytes() == (tmp_path / "at once").read_bytes()


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({**FACTS, "--top": 3}, "it was begun with --top 2, now 3; begin anew with --restart, or give another --out"),
        ({**FACTS, "model": "d", "--top": 1}, "it was begun with model abc, now d; --top 2, now 1; begin anew with"),
        ({**FACTS, "sources": ["x" * 99]}, 'it was begun with sources ["in"], now ["xxxx'),
    ],
)
def test_a_part_of_another_run_is_refused(
    facts: dict[str, Any], text: str, out: Path, part: Path, question: Question
) -> None:
    before = part.read_bytes()
    with pytest.raises(UsageError) as refused:
        begin(out, question, facts)
    assert str(refused.value).startswith(f"{part}: ")
    assert text in str(refused.value)
    assert part.read_bytes() == before


@pytest.mark.parametrize("content", [b"precious\n", b"precious", b'{"model": "abc"}\n', b"\xff\xfe\n", b"[]\n"])
def test_a_file_of_that_name_that_is_no_part_is_refused_and_kept(content: bytes, out: Path, question: Question) -> None:
    path = out.with_name("out.jsonl.part")
    path.write_bytes(content)
    with pytest.raises(UsageError, match="it is no part of a run of this version; begin anew with --restart, or give"):
        begin(out, question)
    assert path.read_bytes() == content


def test_other_pictures_than_before_are_refused(out: Path, part: Path, question: Question) -> None:
    changed = [*NAMES[:3], "new.jpg", *NAMES[3:]]
    with begin(out, question) as again, pytest.raises(UsageError) as refused:
        again.remaining(batches(names=changed))
    assert "the sources have changed: it has a row of 3.jpg where new.jpg is now; begin anew" in str(refused.value)


def test_fewer_pictures_than_before_are_refused(out: Path, part: Path, question: Question) -> None:
    with begin(out, question) as again, pytest.raises(UsageError, match="rows of more pictures than the sources"):
        again.remaining(batches(names=NAMES[:4]))


def test_a_damaged_row_is_refused(out: Path, part: Path, question: Question) -> None:
    part.write_bytes(part.read_bytes().replace(b'"top": [[', b'"tip": [[', 1))
    with begin(out, question) as again, pytest.raises(UsageError, match="a row is damaged; begin anew"):
        again.remaining(batches())


def test_restart_throws_away_what_is_there(out: Path, part: Path, question: Question) -> None:
    with begin(out, question, {**FACTS, "--top": 3}, restart=True) as again:
        assert len(list(again.remaining(batches()))) == 10
    assert len(part.read_bytes().splitlines()) == 1


@pytest.mark.parametrize("restart", [False, True])
def test_a_part_in_use_is_refused(restart: bool, out: Path, part: Path, question: Question) -> None:
    before = part.read_bytes()
    with begin(out, question), pytest.raises(UsageError, match=r"part: another process is writing it; wait for it"):
        begin(out, question, restart=restart)
    assert part.read_bytes() == before


def test_a_file_that_cannot_be_written_leaves_the_part_and_nothing_else(
    out: Path, part: Path, question: Question
) -> None:
    before = part.read_bytes()
    out.mkdir()
    with (
        begin(out, question) as again,
        pytest.raises(ResourceError, match=r"Cannot write .*out\.jsonl: Is a directory"),
    ):
        again.finish("jsonl")
    assert part.read_bytes() == before
    assert {path.name for path in out.parent.iterdir() if "out." in path.name} == {"out.jsonl", part.name}


def test_a_folder_that_cannot_be_written_to_is_named(tmp_path: Path, question: Question) -> None:
    with pytest.raises(ResourceError, match=r"Cannot write .*gone/out.csv.part: No such file or directory; mend that"):
        begin(tmp_path / "gone" / "out.csv", question)
