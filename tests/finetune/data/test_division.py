"""What is never divided, and the divisions beyond train and validation: test parts, folds, several labels, values."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from finetune.data.audit import Audit, Checked
from finetune.data.splits import Split, SplitRules, split
from finetune.errors import ConfigError, DataError
from finetune.types import Dataset, Example, Part, Task

SEEDS = st.integers(0, 2**32 - 1)
SHARES = st.floats(0.05, 0.45)


def checked(content: object, root: str = "/pictures", likeness: int | None = None, **shown: Any) -> Checked:
    name = hashlib.sha256(str(content).encode()).hexdigest()
    path = Path(shown.pop("path", None) or Path(root, f"{name[:12]}-{len(shown)}"))
    return Checked(example=Example(path=path, **shown), sha256=name, likeness=likeness)


def divided(pictures: list[Checked], task: Task = "single-label", **rules: Any) -> Split:
    examples = tuple(picture.example for picture in pictures)
    labels = {label for e in examples for label in (e.labels or (e.label,))} - {""}
    data = Dataset(name="set", examples=examples, labels=tuple(sorted(labels)), source="", licence="", task=task)
    return split(Audit(checked=tuple(pictures), refused=(), fingerprint=""), data, SplitRules(**rules))


def parts_of(division: Split) -> list[tuple[Example, ...]]:
    return [division.train, division.valid, division.test]


def names(examples: tuple[Example, ...]) -> list[str]:
    return [example.path.name for example in examples]


def refusal(pictures: list[Checked], **rules: Any) -> str:
    with pytest.raises(DataError) as caught:
        divided(pictures, **rules)
    return str(caught.value)


@st.composite
def grouped(draw: st.DrawFn, root: str = "/pictures") -> list[Checked]:
    """Groups of unequal sizes and mixed labels, each label in at least six groups of its own."""
    sizes = draw(st.lists(st.integers(1, 6), min_size=12, max_size=30))
    mixed = draw(st.lists(st.booleans(), min_size=len(sizes), max_size=len(sizes)))
    return [
        checked((g, i), root, label="ab"[(g + (i if mixed[g] and g >= 12 else 0)) % 2], group=f"g{g}")
        for g, size in enumerate(sizes)
        for i in range(size)
    ]


# ── groups ──────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=40)
@given(grouped(), SHARES, SHARES, SEEDS)
def test_no_group_is_ever_divided_and_no_picture_lost(
    pictures: list[Checked], valid: float, test: float, seed: int
) -> None:
    parts = parts_of(divided(pictures, valid_share=valid, test_share=test, seed=seed))

    groups = [{example.group for example in part} for part in parts]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert sorted(names(parts[0] + parts[1] + parts[2])) == sorted(names(tuple(p.example for p in pictures)))
    assert all({example.label for example in part} == {"a", "b"} for part in parts)


@settings(max_examples=20)
@given(grouped(), SHARES, SEEDS)
def test_the_share_is_held_out_within_one_group(pictures: list[Checked], share: float, seed: int) -> None:
    held_out = divided(pictures, valid_share=share, seed=seed).valid

    of_label = Counter(picture.example.label for picture in pictures)
    for label in "ab":
        found = sum(example.label == label for example in held_out)
        assert abs(found - share * of_label[label]) <= 6 + 1


@settings(max_examples=20)
@given(grouped(), SEEDS)
def test_a_grouped_division_depends_on_contents_and_seed_alone(pictures: list[Checked], seed: int) -> None:
    moved = [replace(p, example=replace(p.example, path=Path("/else") / p.example.path.name)) for p in pictures]

    here, there = divided(pictures, seed=seed), divided(moved[::-1], seed=seed)

    assert [names(part) for part in parts_of(here)] == [names(part) for part in parts_of(there)]


def test_a_pattern_finds_the_groups_below_the_common_folder() -> None:
    pictures = [
        checked((g, i), label="ab"[g % 2], path=f"/data/{'ab'[g % 2]}/p{g}_{i}.jpg") for g in range(8) for i in range(3)
    ]
    for pattern in (r"p(\d+)_", r"p\d+", r"^./p\d+_"):
        division = divided(pictures, group_pattern=pattern)
        sides = [{path.split("_")[0] for path in names(part)} for part in parts_of(division)]
        assert (len(division.valid), sides[0] & sides[1]) == (6, set())


def test_a_pattern_that_misses_pictures_is_refused_with_the_first() -> None:
    pictures = [checked(i, label="ab"[i % 2], path=f"/data/{'ab'[i % 2]}/{'p' * (i > 1)}{i}.jpg") for i in range(8)]

    assert refusal(pictures, group_pattern="p[0-9]") == (
        "--group-pattern 'p[0-9]' finds no group in 2 of 8 pictures, first in 'a/0.jpg'. "
        "Write it so that it matches every path below /data."
    )


def test_a_class_of_one_group_is_refused() -> None:
    pictures = [checked(i, label="ab"[i // 5], group="same" if i < 5 else str(i)) for i in range(10)]

    assert refusal(pictures) == (
        "The class 'a' has 5 readable picture(s), all of the group 'same', which is never divided; give every class at "
        "least two groups, or a validation part of its own."
    )


def test_a_group_in_two_given_parts_is_noted() -> None:
    sides: tuple[Part, Part] = ("train", "valid")
    pictures = [checked((s, i), label="ab"[i], part=s, group=f"{'same' if i else s}") for s in sides for i in range(2)]

    division = divided(pictures)

    assert division.notes == (
        "1 validation picture(s) are of a group that is also trained on, which flatters the score; "
        f"first {division.valid[1].path}, as {division.train[1].path}.",
    )


# ── equal contents ──────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30)
@given(st.lists(st.integers(0, 11), min_size=30, max_size=60), SHARES, SEEDS)
def test_equal_pictures_are_never_divided(contents: list[int], share: float, seed: int) -> None:
    pictures = [
        checked(content, label="ab"[content % 2], path=f"/{i}") for i, content in enumerate([*range(12), *contents])
    ]
    content_of = {picture.example.path: picture.sha256 for picture in pictures}

    division = divided(pictures, valid_share=share, test_share=share, seed=seed)

    sides = [{content_of[example.path] for example in part} for part in parts_of(division)]
    assert sum(map(len, sides)) == 12
    assert division.notes == ()


def test_what_links_two_groups_makes_one_of_them() -> None:
    pictures = [checked(i, label="ab"[i % 2], group=f"g{i // 2}") for i in range(12)]
    pictures.append(checked(0, label="a", group="g5", path="/copy"))  # content 0 is in g0, too

    for seed in range(10):
        for part in parts_of(divided(pictures, seed=seed)):
            assert len({"g0", "g5"} & {example.group for example in part}) != 1


def test_a_class_of_one_content_is_refused() -> None:
    pictures = [checked(i, label="a") for i in range(5)] + [checked("b", label="b", path=f"/{i}") for i in range(3)]

    assert refusal(pictures) == (
        "The class 'b' has 3 readable picture(s), all equal, which are never divided; give every class at least two "
        "different pictures, or a validation part of its own."
    )


# ── a test part ─────────────────────────────────────────────────────────────────────────────────────


def test_both_shares_are_of_all_pictures() -> None:
    division = divided([checked(i, label="ab"[i % 2]) for i in range(100)], valid_share=0.2, test_share=0.3)

    assert [Counter(e.label for e in part) for part in parts_of(division)] == [
        {"a": 25, "b": 25},
        {"a": 10, "b": 10},
        {"a": 15, "b": 15},
    ]


def test_shares_that_leave_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"--valid-share 0\.6 and --test-share 0\.4 leave nothing to train on"):
        divided([checked(i, label="ab"[i % 2]) for i in range(10)], valid_share=0.6, test_share=0.4)


def test_a_class_too_small_for_a_test_is_trained_on_and_validated() -> None:
    pictures = [checked(i, label="a" if i < 20 else "b") for i in range(22)]

    division = divided(pictures, test_share=0.2)

    assert [sum(e.label == "b" for e in part) for part in parts_of(division)] == [1, 1, 0]
    assert division.notes == ("1 class(es) have no test picture, so its score says nothing of them; first 'b'.",)


def with_parts(*counts: tuple[Part | None, int]) -> list[Checked]:
    return [checked((part, i), label="ab"[i % 2], part=part) for part, count in counts for i in range(count)]


@pytest.mark.parametrize("rest", [None, "train"])
def test_a_given_test_part_is_kept_and_the_rest_divided(rest: Part | None) -> None:
    division = divided(with_parts((rest, 20), ("test", 6)))

    assert [len(part) for part in parts_of(division)] == [16, 4, 6]
    assert {example.part for example in division.test} == {"test"}


def test_three_given_parts_are_kept() -> None:
    division = divided(with_parts(("train", 10), ("valid", 4), ("test", 6)), test_share=0.5)

    assert [len(part) for part in parts_of(division)] == [10, 4, 6]
    assert division.notes == ("The data has a test part of its own, so --test-share has no effect.",)


def test_a_test_part_beside_a_given_validation_part_comes_from_the_train_part() -> None:
    division = divided(with_parts(("train", 20), ("valid", 4)), test_share=0.3)

    assert [len(part) for part in parts_of(division)] == [14, 4, 6]
    assert {example.part for example in division.valid} == {"valid"}


def test_a_label_that_is_only_tested_is_refused() -> None:
    pictures = [*with_parts(("train", 10), ("valid", 4)), checked("c", label="c", part="test")]

    assert refusal(pictures) == (
        "The class 'c' has 1 picture(s) in the test part and none in the train part, so it cannot be learnt. "
        "Add some to train on, or remove it."
    )


def test_leaks_are_noted_for_every_two_parts() -> None:
    pictures = with_parts(("train", 4), ("valid", 4), ("test", 4))
    pictures += [checked("same", label="a", part=part, path=f"/{part}") for part in ("train", "valid", "test")]

    assert divided(pictures).notes == (
        "1 validation picture(s) are also trained on, which flatters the score; first /valid = /train.",
        "1 test picture(s) are also trained on, which flatters the score; first /test = /train.",
        "1 test picture(s) are also validated on, which flatters the score; first /test = /valid.",
    )


def test_one_file_in_two_parts_is_said_to_be_listed_in_both() -> None:
    pictures = with_parts(("train", 4), ("valid", 4))
    pictures += [checked("same", label="a", part=part, path="/same") for part in ("train", "valid")]
    assert divided(pictures).notes == (
        "1 validation picture(s) are also trained on, which flatters the score; first /same, listed in both parts.",
    )


def test_pictures_that_look_alike_in_two_parts_are_noted() -> None:
    look = int("01" * 31, 2)
    pictures = with_parts(("train", 4), ("valid", 4))
    pictures += [checked("x", likeness=look, label="a", part="train", path="/x")]
    pictures += [checked("y", likeness=look ^ 0b111, label="a", part="valid", path="/y")]

    assert divided(pictures).notes == (
        "1 validation picture(s) nearly equal one that is trained on, which may flatter the score; first /y ≈ /x.",
    )


# ── folds ───────────────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=30)
@given(grouped(), st.integers(2, 5), st.sampled_from([0.0, 0.15]), SEEDS)
def test_folds_are_disjoint_cover_everything_and_divide_no_group(
    pictures: list[Checked], folds: int, test: float, seed: int
) -> None:
    found = [divided(pictures, folds=folds, fold=f, test_share=test, seed=seed) for f in range(1, folds + 1)]

    assert len({division.test for division in found}) == 1
    covered = Counter(example for division in found for example in division.valid)
    assert covered == Counter(picture.example for picture in pictures) - Counter(found[0].test)
    assert all(not {e.group for e in d.train} & {e.group for e in d.valid} for d in found)
    assert all({e.label for e in d.train} == {"a", "b"} for d in found)


@given(st.integers(2, 6), SEEDS)
@settings(max_examples=20)
def test_folds_are_of_one_size_and_one_mixture(folds: int, seed: int) -> None:
    pictures = [checked(i, label="aab"[i % 3]) for i in range(90)]

    for fold in range(1, folds + 1):
        labels = Counter(example.label for example in divided(pictures, folds=folds, fold=fold, seed=seed).valid)
        assert abs(labels["a"] - 60 / folds) < 1
        assert abs(labels["b"] - 30 / folds) < 1


def test_folds_divide_a_given_validation_part_anew_and_say_so() -> None:
    pictures = with_parts(("train", 12), ("valid", 8), ("test", 6))

    found = [divided(pictures, folds=4, fold=fold) for fold in (1, 2, 3, 4)]

    assert [[len(part) for part in parts_of(division)] for division in found] == [[15, 5, 6]] * 4
    assert found[0].notes == ("The data's own validation part is divided anew by --folds, with the train part.",)


# ── several labels, and values ──────────────────────────────────────────────────────────────────────


def several(count: int, rarity: tuple[int, ...] = (2, 3, 5, 20)) -> list[Checked]:
    return [
        checked(
            i, labels=tuple(f"l{k}" for k in rarity if int(hashlib.md5(f"{i} {k}".encode()).hexdigest(), 16) % k == 0)
        )
        for i in range(count)
    ]


@settings(max_examples=20)
@given(SHARES, SEEDS)
def test_each_of_several_labels_is_divided_alike(share: float, seed: int) -> None:
    pictures = several(400)
    total = Counter(label for picture in pictures for label in picture.example.labels)

    division = divided(pictures, "multi-label", valid_share=share, seed=seed)

    held_out = Counter(label for example in division.valid for label in example.labels)
    assert all(abs(held_out[label] - share * count) <= 1 for label, count in total.items())
    assert abs(len(division.valid) - share * 400) <= 12


def test_a_label_of_one_picture_among_several_labels_stays_where_it_is_learnt() -> None:
    pictures = [*several(40, (2, 3)), checked("rare", labels=("l2", "rare"))]

    for seed in range(20):
        division = divided(pictures, "multi-label", seed=seed)
        assert any("rare" in example.labels for example in division.train)
        assert division.notes == (
            "1 class(es) have no validation picture, so its score says nothing of them; first 'rare'.",
        )


def test_one_of_several_labels_without_a_training_picture_is_refused() -> None:
    pictures = [checked(i, labels=("x",), part="train") for i in range(4)]
    pictures += [checked("y", labels=("x", "y"), part="valid")]

    with pytest.raises(DataError, match=r"^The label 'y' has 1 picture\(s\) in the validation part and none in the"):
        divided(pictures, "multi-label")


def test_folds_of_several_labels_leave_each_label_a_picture_to_train_on() -> None:
    pictures = several(60)

    for fold in (1, 2, 3):
        division = divided(pictures, "multi-label", folds=3, fold=fold)
        assert {label for example in division.train for label in example.labels} == {"l2", "l3", "l5", "l20"}


@settings(max_examples=20)
@given(SHARES, SEEDS)
def test_values_are_divided_alike_over_their_range(share: float, seed: int) -> None:
    pictures = [checked(i, values=(i**2 / 10, -1.0)) for i in range(200)]

    division = divided(pictures, "regression", valid_share=share, seed=seed)

    assert abs(len(division.valid) - share * 200) <= 1
    below_the_median = sum(example.values[0] < 100**2 / 10 for example in division.valid)
    assert abs(below_the_median - len(division.valid) / 2) <= 3


@settings(max_examples=60, deadline=None)
@given(st.integers(6, 300), st.floats(0.02, 0.9), st.floats(0.0, 0.9), SEEDS)
@example(100, 0.5, 0.49, 1)
def test_as_many_values_are_held_out_as_the_shares_say(count: int, valid: float, test: float, seed: int) -> None:
    assume(valid + test < 1 and min(1.0, 1 - valid - test) * count >= 1)
    pictures = [checked(i, values=(float(i % 7),)) for i in range(count)]

    division = divided(pictures, "regression", valid_share=valid, test_share=test, seed=seed)

    assert abs(len(division.valid) - round(valid * count)) <= 1
    assert abs(len(division.test) - round(test * count)) <= 1


def test_a_fifth_of_the_values_is_a_fifth() -> None:
    pictures = [checked(i, values=(float(i),)) for i in range(120)]

    division = divided(pictures, "regression", valid_share=0.2)

    assert [len(part) for part in parts_of(division)] == [96, 24, 0]
    assert divided(pictures[::-1], "regression", valid_share=0.2) == division


def test_values_in_few_groups_can_be_divided_too() -> None:
    pictures = [checked(i, values=(float(i // 10),), group=f"{i // 10}") for i in range(50)]

    parts = parts_of(divided(pictures, "regression", valid_share=0.2, test_share=0.2))

    assert [len(part) for part in parts] == [30, 10, 10]


def test_a_single_value_cannot_be_divided() -> None:
    with pytest.raises(DataError, match=r"^No picture is in the validation part, of 1 readable ones\."):
        divided([checked(1, values=(1.0,))], "regression")
