"""Configurations and splits as the block ``configs`` of a set's card states them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.errors import DataError
from finetune.types import Dataset
from finetune_hf.configurations import choose_configuration

Rows = Callable[..., list[dict[str, Any]]]
Shown = Callable[..., dict[str | None, list[str]]]
FILES = ("README.md", "data/a.parquet", "data/b.parquet", "data/deep/c.parquet", "held/d.parquet", "notes.csv")
TWO = """---
license: mit
configs:
- config_name: clean
  data_files:
  - split: train
    path: a/*.parquet
  - split: test
    path: [b/one.parquet, b/two.parquet]
- config_name: odd
  default: true
  data_files: c/*.parquet
---
# Pets
"""


def chosen(entry: Any, wanted: str | None = None, files: tuple[str, ...] = FILES) -> dict[str | None, list[str]]:
    entries = entry if isinstance(entry, list) else [{"config_name": "default", **entry}]
    found = choose_configuration(files, {"configs": entries}, wanted, "The set", "--name X:CONFIGURATION")
    return {split: list(names) for split, names in found.items()}


@pytest.fixture
def two(parquet: Callable[..., Path], pets: Rows) -> Path:
    """Return a set whose card has two configurations, whose files say nothing of split or configuration."""
    root = parquet(
        {
            "a/x.parquet": pets(4),
            "a/y.parquet": pets(4, 10),
            "b/one.parquet": pets(2, 20),
            "b/two.parquet": pets(2, 30),
            "b/three.parquet": pets(2, 40),
            "c/z.parquet": pets(6, 50),
        }
    )
    (root / "README.md").write_text(TWO)
    return root


def parts(dataset: Dataset) -> dict[str | None, int]:
    return dict(Counter(example.part for example in dataset.examples))


# ── patterns ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("pattern", "files"),
    [
        ("data/a.parquet", ["data/a.parquet"]),
        ("./data/a.parquet", ["data/a.parquet"]),
        ("data/*", ["data/a.parquet", "data/b.parquet"]),
        ("data/**", ["data/a.parquet", "data/b.parquet", "data/deep/c.parquet"]),
        ("data/**/*.parquet", ["data/a.parquet", "data/b.parquet", "data/deep/c.parquet"]),
        ("**/[bd].parquet", ["data/b.parquet", "held/d.parquet"]),
        ("data/[!a].parquet", ["data/b.parquet"]),
        ("data/?.parquet", ["data/a.parquet", "data/b.parquet"]),
        ("*.parquet", []),
        ("*.csv", []),
        ("**", ["data/a.parquet", "data/b.parquet", "data/deep/c.parquet", "held/d.parquet"]),
        ("**/deep/**", ["data/deep/c.parquet"]),
        ("data/a.parquet/**", []),
    ],
)
def test_patterns_choose_files_as_the_hub_does(pattern: str, files: list[str]) -> None:
    found = chosen({"data_files": [{"split": "test", "path": pattern}]})

    assert found == ({"test": files} if files else {})


@pytest.mark.parametrize(
    ("stated", "found"),
    [
        ("data/a.parquet", {"train": ["data/a.parquet"]}),
        (["data/b.parquet", "data/a.parquet"], {"train": ["data/a.parquet", "data/b.parquet"]}),
        (["data/a.parquet", "data/[a]*"], {"train": ["data/a.parquet"]}),
        (["data/a.parquet", [["data/b.parquet"]], {"path": {"x": "held/*"}}], {"train": ["data/a.parquet"]}),
        ([{"split": ["train"], "path": "data/*"}], {}),
        (
            {"train": "data/a.parquet", "test": ["held/*"]},
            {"train": ["data/a.parquet"], "test": ["held/d.parquet"]},
        ),
        (
            [{"split": "dev", "path": ["held/d.parquet", "data/*"]}],
            {"dev": ["data/a.parquet", "data/b.parquet", "held/d.parquet"]},
        ),
        ([{"path": "held/*"}], {"train": ["held/d.parquet"]}),
        ([{"split": "train"}], {}),
        (7, {}),
    ],
)
def test_data_files_are_a_pattern_a_list_or_patterns_by_split(stated: Any, found: Any) -> None:
    assert chosen({"data_files": stated}) == found


def test_a_folder_is_put_before_the_patterns_and_stands_alone_where_there_are_none() -> None:
    assert chosen({"data_dir": "data", "data_files": "*.parquet"}) == {"train": ["data/a.parquet", "data/b.parquet"]}
    assert chosen({"data_dir": "./held/"}) == {None: ["held/d.parquet"]}


@given(st.text(st.characters(codec="utf-8", exclude_characters="*?["), min_size=1, max_size=20))
def test_a_name_without_wildcards_is_the_pattern_of_itself_alone(name: str) -> None:
    name = f"x{name}.parquet"

    assert chosen({"data_files": name}, files=(name, f"x{name}", f"{name}x.parquet")) == {"train": [name]}


@pytest.mark.parametrize("entries", [None, 7, "x", [], [7, "x"]])
def test_a_block_that_is_none_counts_as_none(entries: Any) -> None:
    card = {"configs": entries}

    found = choose_configuration(["data/test.parquet"], card, None, "The set", "--name X:CONFIGURATION")

    assert found == {"test": ["data/test.parquet"]}


def test_a_pattern_of_many_wildcards_is_matched_in_one_pass() -> None:
    name = f"{'a' * 200}.parquet"
    deep = "a/" * 100 + name

    assert chosen({"data_files": "**a" * 5 + "**b"}, files=(name,)) == {}
    assert chosen({"data_files": "*a" * 40 + "b"}, files=(name,)) == {}
    assert chosen({"data_files": "**/a/" * 40 + "b"}, files=(deep,)) == {}
    assert chosen({"data_files": "**/a/" * 40 + "**"}, files=(deep,)) == {"train": [deep]}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("data/[z-a].parquet", "'data/[z-a].parquet' holds the range z-a, which ends before it begins. "),
        ("[" * 1001, f"'{'[' * 80}' has 1001 characters, of 1000 allowed. "),
    ],
    ids=["reversed", "long"],
)
def test_what_is_no_pattern_is_refused_by_name(pattern: str, said: str) -> None:
    with pytest.raises(DataError) as caught:
        chosen({"data_files": pattern})

    assert str(caught.value) == (
        f"The card's pattern {said}Choose another configuration, or mend the card of a copy and give --data DIR."
    )


def test_patterns_beyond_number_are_refused() -> None:
    with pytest.raises(DataError, match="by more than 1000 patterns"):
        chosen({"data_files": [{"split": "train", "path": ["*.parquet"] * 1000}] * 100_000})


@pytest.mark.parametrize("entry", [{"config_name": ["x"]}, {"config_name": "x", "data_dir": ["x"]}])
def test_an_entry_whose_name_or_folder_is_no_text_counts_as_none(entry: Any) -> None:
    assert chosen([entry], files=("data/test.parquet",)) == {"test": ["data/test.parquet"]}


# ── copies ──────────────────────────────────────────────────────────────────────────────────────────


def test_the_default_configuration_of_a_card_is_taken(two: Path, loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(two)

    assert (parts(dataset), dataset.licence) == ({None: 6}, "mit")


@pytest.mark.parametrize("key", ["license", "config_name", "data_dir", "path"])
def test_a_card_of_aliases_that_stand_for_billions_states_nothing_with_them(
    two: Path, loaded: Callable[..., Dataset], key: str
) -> None:
    levels = [f"k{i}: &k{i} [{', '.join([f'*k{i - 1}'] * 9)}]" for i in range(1, 13)]
    entry = {"config_name": "odd", "data_dir": "c", "path": '"*"', key: "*k12"}
    licence = "*k12" if key == "license" else "mit"
    block = [
        *("---", "k0: &k0 x", *levels, f"license: {licence}", "configs:"),
        *("- {config_name: even, data_dir: c}", f"- {{config_name: {entry['config_name']}, default: true,"),
        *(f"  data_dir: {entry['data_dir']}, data_files: [{{path: {entry['path']}}}, 'z.parquet']}}", "---", ""),
    ]
    (two / "README.md").write_text("\n".join(block))

    dataset = loaded(two)

    assert (len(dataset.examples), dataset.licence) == (6, "unknown" if key == "license" else "mit")


@pytest.mark.parametrize(
    ("stated", "said"),
    [
        ("[mit, apache-2.0]", "mit, apache-2.0"),
        ("[mit, [mit]]", "unknown"),
        (f"[{', '.join(['mit'] * 21)}]", "unknown"),
        ("x" * 300, "x" * 200),
        ("null", "unknown"),
    ],
    ids=["list", "nested", "many", "long", "null"],
)
def test_a_licence_is_a_short_name_or_a_short_list_of_them(
    two: Path, loaded: Callable[..., Dataset], stated: str, said: str
) -> None:
    (two / "README.md").write_text(TWO.replace("license: mit", f"license: {stated}"))

    assert loaded(two).licence == said


def test_a_card_that_is_too_large_is_not_read(two: Path, refusal: Callable[..., str]) -> None:
    (two / "README.md").write_text(TWO.ljust((1 << 20) + 1))

    assert "holds several configurations, a, b, c, and not 'default'" in refusal(two)


def test_another_is_chosen_behind_the_folder_though_it_is_none(two: Path, loaded: Callable[..., Dataset]) -> None:
    assert parts(loaded(two / "clean")) == {"train": 8, "test": 4}


def test_several_without_a_default_are_refused_by_name(two: Path, refusal: Callable[..., str]) -> None:
    (two / "README.md").write_text(TWO.replace("  default: true\n", ""))

    assert refusal(two) == (
        "pets holds several configurations, clean, odd, and not 'default'. Choose one with --data pets/CONFIGURATION."
    )


def test_a_card_that_names_other_files_is_refused(two: Path, refusal: Callable[..., str]) -> None:
    (two / "README.md").write_text(TWO.replace("c/*.parquet", "c/*.csv"))

    assert refusal(two) == (
        "pets, where its card says, holds no data set: neither what Dataset.save_to_disk wrote nor Parquet files."
    )


# ── by name ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_configuration_of_the_hub_is_downloaded_as_its_card_says(
    hub: Any, two: Path, loaded: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.offer("user/pets", {file.relative_to(two).as_posix(): file.read_bytes() for file in two.rglob("*.*")})

    assert parts(loaded(name="user/pets:clean")) == {"train": 8, "test": 4}
    assert not [asked for asked in hub.asked if "three" in asked or "z.parquet" in asked]
    assert parts(loaded(name="user/pets")) == {None: 6}

    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    assert parts(loaded(name="user/pets:clean")) == {"train": 8, "test": 4}


def test_a_configuration_of_other_files_is_taken_as_the_hub_converted_it(
    hub: Any, two: Path, loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    content = (two / "c" / "z.parquet").read_bytes()
    card = TWO.replace("c/*.parquet", "c/*.csv").encode()
    hub.offer("user/pets", {"README.md": card, "a/x.parquet": content, "c/z.csv": b"image,label\n"})
    hub.offer("user/pets", {"odd/train/0000.parquet": content, "clean/train/0000.parquet": b""}, "refs/convert/parquet")

    assert len(loaded(name="user/pets").examples) == 6
    assert "clean, odd, and not 'x'" in refusal(name="user/pets:x").replace("odd, clean", "clean, odd")
