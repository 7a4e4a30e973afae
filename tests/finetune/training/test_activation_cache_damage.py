from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.training.activation_cache import ActivationCache

from .conftest import PLENTY, Opens, cut, fill, items, kept_bytes, keys, sql

# ── never a wrong result ────────────────────────────────────────────────────────────────────────────


def flip(path: Path, number: int) -> None:
    """Flip a bit of a value in the file."""
    content = bytearray(path.read_bytes())
    content[content.index(items([number])[keys([number])[0]][-40:])] ^= 0x10
    path.write_bytes(content)


def test_a_value_with_a_flipped_bit_is_not_found_and_is_removed(path: Path, cache: Opens, notes: list[str]) -> None:
    fill(path, items(range(3)))
    flip(path, 1)
    one = cache()

    assert one.get(keys(range(3))) == items([0, 2])
    assert kept_bytes(path) == 6_000
    assert notes == []


def test_what_was_removed_can_be_put_again(path: Path, cache: Opens) -> None:
    fill(path, items(range(3)))
    flip(path, 1)
    one = cache()
    one.get(keys(range(3)))
    one.put(items([1]))

    assert one.get(keys(range(3))) == items(range(3))


@pytest.mark.parametrize(
    "harm",
    [
        "UPDATE value SET id = -id",
        "UPDATE value SET content = (SELECT content FROM value WHERE id = 1)",
        "UPDATE value SET (digest, content) = (SELECT digest, content FROM value WHERE id = 1)",
        "UPDATE value SET content = substr(content, 1, 2999)",
        "UPDATE value SET content = 'text'",
        "UPDATE value SET content = CAST(X'FFFE' AS TEXT)",
        "UPDATE value SET content = NULL",
        "UPDATE value SET digest = NULL",
        "UPDATE entry SET size = 'text'",
    ],
)
def test_rows_that_do_not_belong_together_are_not_found_and_are_removed(
    path: Path, cache: Opens, notes: list[str], harm: str
) -> None:
    fill(path, items(range(3)))
    sql(path, f"{harm} WHERE id = 2")

    assert cache().get(keys(range(3))) == items([0, 2])
    assert sql(path, "SELECT count(*) FROM entry") == [(2,)]
    assert notes == []


def test_a_count_of_uses_at_its_end_is_no_error(path: Path, cache: Opens, notes: list[str]) -> None:
    fill(path, items(range(3)))
    sql(path, "UPDATE entry SET used = 9223372036854775807 WHERE id = 2")
    one = cache(9_000)
    one.put(items([3]))

    assert one.get(keys(range(4))) == items([1, 2, 3])
    assert notes == []


@pytest.mark.parametrize("seed", range(40))
def test_damage_anywhere_never_gives_a_wrong_value_nor_an_error(
    path: Path, cache: Opens, notes: list[str], seed: int
) -> None:
    fill(path, items(range(100), size=2_500))
    chance, content = random.Random(seed), bytearray(path.read_bytes())
    pages = len(content) // 2_048
    for _ in range(chance.choice([1, 10, 1_000])):
        # The first bytes of a page are where its structure is; of the file, whose it is.
        start = chance.randrange(pages) * 2_048 if chance.random() < 0.7 else chance.randrange(len(content) - 200)
        content[max(100, start + chance.randrange(200))] = chance.randrange(256)
    path.write_bytes(content)
    one = cache(200_000)
    for first in range(0, 200, 20):
        found = one.get(keys(range(100)))
        assert found.items() <= items(range(100), size=2_500).items()
        one.put(items(range(first, first + 20), size=2_500))

    assert len(notes) <= 2


# ── damage, other versions, other people's files ────────────────────────────────────────────────────


def replace(path: Path, old: bytes, new: bytes) -> None:
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))


def scramble(path: Path, start: int) -> None:
    path.write_bytes(path.read_bytes()[:start] + random.Random(0).randbytes(200_000))


@pytest.mark.parametrize(
    ("harm", "why"),
    [
        (lambda path: cut(path, 80), "database disk image is malformed"),
        (lambda path: cut(path, 20_000), "database disk image is malformed"),
        (lambda path: scramble(path, 72), "database disk image is malformed"),
        (lambda path: scramble(path, 100), "database disk image is malformed"),
        (lambda path: sql(path, "DROP TABLE value"), "no such table: value"),
        (lambda path: replace(path, b"tablevalue", b"table\xff\x1b\n\xff\xff"), "malformed database schema"),
        (lambda path: replace(path, b"CREATE TABLE value", b"CREATE\x1b[31m    lue"), "malformed database schema"),
    ],
    ids=["cut in the header", "cut", "garbage in the header", "garbage", "no table", "a name", "a statement"],
)
def test_a_damaged_file_is_made_anew(
    path: Path, cache: Opens, notes: list[str], harm: Callable[[Path], None], why: str
) -> None:
    fill(path, items(range(50)))
    harm(path)
    one = cache()

    assert one.get(keys(range(50))) == {}
    assert notes == [f"The activation cache {path} is damaged ({why}); it is made anew."]
    one.put(items([0]))
    assert one.get(keys([0])) == items([0])
    assert cache().get(keys([0])) == items([0])
    assert len(notes) == 1


def test_damage_that_comes_again_in_a_run_ends_its_use(path: Path, cache: Opens, notes: list[str]) -> None:
    fill(path, items(range(50)))
    one = cache()
    for _ in range(2):
        sql(path, "DROP TABLE value")
        assert one.get(keys([0])) == {}
    one.put(items([0]))

    assert one.get(keys([0])) == {}

    assert [note.partition("; ")[2] for note in notes] == ["it is made anew.", "this run does without it."]


def test_what_was_read_before_the_damage_is_found(path: Path, cache: Opens, notes: list[str]) -> None:
    fill(path, items(range(1_000), size=2_500))
    one = cache()
    first = one.get(keys(range(500)))
    cut(path, path.stat().st_size // 2)

    found = cache().get(keys(range(1_000)))

    assert first == items(range(500), size=2_500)
    assert found.items() <= items(range(1_000), size=2_500).items()
    assert len(notes) == 1


def test_a_damaged_file_that_a_link_leads_to_is_made_anew_where_it_is(
    path: Path, tmp_path: Path, cache: Opens, notes: list[str]
) -> None:
    fill(tmp_path / "elsewhere", items([0]))
    cut(tmp_path / "elsewhere", 80)
    path.symlink_to(tmp_path / "elsewhere")
    cache().put(items([1]))

    assert path.is_symlink()
    assert len(notes) == 1
    with ActivationCache(tmp_path / "elsewhere", PLENTY, notes.append) as other:
        assert other.get(keys([1])) == items([1])


def test_an_empty_file_is_a_new_cache(path: Path, cache: Opens, notes: list[str]) -> None:
    path.touch()
    one = cache()
    one.put(items([0]))

    assert one.get(keys([0])) == items([0])
    assert notes == []


def test_a_file_of_another_version_is_made_anew(path: Path, cache: Opens, notes: list[str]) -> None:
    fill(path, items([0]))
    sql(path, "PRAGMA user_version = 2")
    one = cache()

    assert one.get(keys([0])) == {}
    assert notes == [f"The activation cache {path} is of another version; it is made anew."]
    one.put(items([1]))
    assert cache().get(keys([0, 1])) == items([1])


def damaged_application(path: Path) -> None:
    sql(path, "PRAGMA application_id = 7", "CREATE TABLE precious (id)")
    cut(path, 100)


FOREIGN: dict[str, Callable[[Path], object]] = {
    "a letter": lambda path: path.write_text("a"),
    "a text": lambda path: path.write_text("The first of many lines.\n" * 5_000),
    "garbage": lambda path: path.write_bytes(random.Random(0).randbytes(100_000)),
    "a folder": lambda path: path.mkdir(),
    "a pipe": lambda path: os.mkfifo(path),
    "a database": lambda path: sql(path, "CREATE TABLE precious (id)"),
    "an application's with our version": lambda path: sql(
        path, "PRAGMA application_id = 7", "PRAGMA user_version = 1", "CREATE TABLE precious (id)"
    ),
    "an application's": lambda path: sql(path, "PRAGMA application_id = 7", "CREATE TABLE precious (id)"),
    "an application's, damaged": lambda path: damaged_application(path),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_what_is_not_ours_stays_as_it_is(path: Path, cache: Opens, notes: list[str], kind: str) -> None:
    FOREIGN[kind](path)
    before = path.read_bytes() if path.is_file() else path.stat()
    one = cache()
    for _ in range(2):
        one.put(items([0]))
        assert one.get(keys([0])) == {}

    assert (path.read_bytes() if path.is_file() else path.stat()) == before
    assert [p.name for p in path.parent.iterdir()] == [path.name]
    assert notes == [
        f"The activation cache {path} is something else and stays as it is; this run does without it. "
        "Move it away, and the next run makes one."
    ]
