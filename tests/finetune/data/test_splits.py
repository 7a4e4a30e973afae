from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.data.audit import Audit, Checked
from finetune.data.splits import Split, SplitRules, split
from finetune.errors import DataError
from finetune.types import Dataset, Example, Part

COUNTS = st.dictionaries(st.text(min_size=1, max_size=5), st.integers(2, 30), min_size=2, max_size=6)
SHARES = st.floats(0.01, 0.9)
SEEDS = st.integers(0, 2**32 - 1)


def checked(label: str, content: object, part: Part | None = None, root: str = "/pictures") -> Checked:
    name = hashlib.sha256(f"{label} {content}".encode()).hexdigest()
    return Checked(example=Example(path=Path(root, name), label=label, part=part), sha256=name)


def audit_of(*pictures: Checked) -> Audit:
    return Audit(checked=pictures, refused=(), fingerprint="")


def audit_with(counts: dict[str, int], root: str = "/pictures") -> Audit:
    return audit_of(*(checked(label, i, root=root) for label, count in counts.items() for i in range(count)))


def dataset_of(found: Audit, labels: tuple[str, ...]) -> Dataset:
    examples = tuple(picture.example for picture in found.checked)
    return Dataset(name="pictures", examples=examples, labels=labels, source="", licence="")


def split_of(found: Audit, labels: tuple[str, ...] = ("a", "b"), share: float = 0.2, seed: int = 42) -> Split:
    return split(found, dataset_of(found, labels), SplitRules(valid_share=share, seed=seed))


def names(examples: tuple[Example, ...]) -> list[str]:
    return [example.path.name for example in examples]


def divided(counts: dict[str, int], share: float = 0.2, seed: int = 42, root: str = "/pictures") -> Split:
    return split_of(audit_with(counts, root), tuple(counts), share, seed)


# ── stratified ──────────────────────────────────────────────────────────────────────────────────────


@given(COUNTS, SHARES, SEEDS)
def test_every_picture_is_on_exactly_one_side(counts: dict[str, int], share: float, seed: int) -> None:
    division = divided(counts, share, seed)

    assert sorted(names(division.train) + names(division.valid)) == sorted(
        names(tuple(c.example for c in audit_with(counts).checked))
    )


@given(COUNTS, SHARES, SEEDS)
def test_every_label_is_on_both_sides(counts: dict[str, int], share: float, seed: int) -> None:
    division = divided(counts, share, seed)

    assert {e.label for e in division.train} == {e.label for e in division.valid} == set(counts)


@given(COUNTS, SHARES, SEEDS)
def test_of_each_label_the_share_is_held_out_within_one_picture(
    counts: dict[str, int], share: float, seed: int
) -> None:
    held_out = [example.label for example in divided(counts, share, seed).valid]

    assert all(abs(held_out.count(label) - share * count) <= 1 for label, count in counts.items())


@given(COUNTS, SHARES, SEEDS)
def test_the_same_seed_is_the_same_split(counts: dict[str, int], share: float, seed: int) -> None:
    assert divided(counts, share, seed) == divided(counts, share, seed)


@given(COUNTS, SHARES, SEEDS)
def test_moving_the_folder_changes_nothing(counts: dict[str, int], share: float, seed: int) -> None:
    here, there = divided(counts, share, seed), divided(counts, share, seed, root="/a/b/elsewhere")

    assert (names(here.train), names(here.valid)) == (names(there.train), names(there.valid))


def test_renaming_the_pictures_changes_nothing() -> None:
    found = audit_with({"a": 20, "b": 20}).checked
    renamed = [replace(c, example=replace(c.example, path=Path(f"/{99 - i}.jpg"))) for i, c in enumerate(found)]
    contents = {c.example.path: c.sha256 for c in (*found, *renamed)}

    before, after = (split_of(audit_of(*pictures)) for pictures in (found, renamed))

    assert {contents[e.path] for e in before.valid} == {contents[e.path] for e in after.valid}


@given(COUNTS, SEEDS)
def test_one_more_class_leaves_the_split_of_the_others(counts: dict[str, int], seed: int) -> None:
    more = {**counts, "one more": 10}

    kept = [example for example in divided(more, seed=seed).valid if example.label != "one more"]

    assert tuple(kept) == divided(counts, seed=seed).valid


def test_the_order_in_which_pictures_were_found_changes_nothing() -> None:
    found = audit_with({"a": 10, "b": 10})
    reverse = audit_of(*reversed(found.checked))

    assert split_of(found) == split_of(reverse)


def test_another_seed_is_another_split() -> None:
    assert divided({"a": 20, "b": 20}, seed=1) != divided({"a": 20, "b": 20}, seed=2)


def test_the_split_of_a_seed_is_the_same_on_every_machine_and_python() -> None:
    division = divided({"a": 10, "b": 10})

    digest = hashlib.sha256(" ".join(names(division.valid)).encode()).hexdigest()
    assert digest.startswith("ecfd97c1c67c")


def test_both_sides_come_in_the_order_of_their_paths() -> None:
    division = divided({"a": 20, "b": 20})

    assert names(division.train) == sorted(names(division.train))
    assert names(division.valid) == sorted(names(division.valid))


def test_two_pictures_of_a_label_are_one_on_each_side_however_large_the_share() -> None:
    division = divided({"a": 2, "b": 2}, share=0.9)

    assert (len(division.train), len(division.valid)) == (2, 2)


def test_a_label_with_one_picture_cannot_be_split() -> None:
    with pytest.raises(DataError) as caught:
        divided({"a": 5, "b": 1})

    assert caught.value.exit_code == 3
    assert str(caught.value) == (
        "The class 'b' has 1 readable picture(s), which cannot be both trained on and validated; "
        "give every class at least two pictures, or a validation part of its own."
    )


def test_a_clean_split_has_no_notes() -> None:
    assert divided({"a": 5, "b": 5}).notes == ()


# ── given ───────────────────────────────────────────────────────────────────────────────────────────


def given_parts(*rows: tuple[str, str, Part | None]) -> Audit:
    return audit_of(*(checked(label, content, part) for label, content, part in rows))


def test_a_given_split_is_kept_whatever_the_share_and_the_seed() -> None:
    found = given_parts(("a", "1", "train"), ("b", "2", "train"), ("a", "3", "valid"), ("b", "4", "valid"))

    division = split_of(found, share=0.9, seed=7)

    assert names(division.train) == [c.example.path.name for c in found.checked[:2]]
    assert names(division.valid) == [c.example.path.name for c in found.checked[2:]]


def test_a_label_that_is_only_validated_is_refused() -> None:
    found = given_parts(("a", "1", "train"), ("a", "2", "valid"), ("b", "3", "valid"))

    with pytest.raises(DataError, match=r"^The class 'b' has 1 picture.s. in the validation part and none in the"):
        split_of(found)


def test_without_a_validation_part_the_train_part_is_divided() -> None:
    found = audit_with({"a": 10, "b": 10})
    given = audit_of(*(replace(c, example=replace(c.example, part="train")) for c in found.checked))

    assert names(split_of(given).valid) == names(split_of(found).valid)


def test_a_label_that_is_never_validated_is_noted() -> None:
    found = given_parts(("a", "1", "train"), ("b", "2", "train"), ("a", "3", "valid"))

    assert split_of(found).notes == (
        "1 class(es) have no validation picture, so its score says nothing of them; first 'b'.",
    )


def test_a_picture_without_a_part_among_others_with_one_is_refused() -> None:
    found = given_parts(("a", "1", "train"), ("b", "2", "valid"), ("b", "3", None))

    with pytest.raises(DataError, match="belongs to no part, while other pictures do"):
        split_of(found)


def test_a_validation_picture_that_is_also_trained_on_is_noted_with_both_paths() -> None:
    train = checked("a", "same", "train", root="/train")
    valid = checked("a", "same", "valid", root="/valid")
    found = audit_of(train, valid, checked("b", "1", "train"), checked("b", "2", "valid"))

    assert split_of(found).notes == (
        f"1 validation picture(s) are also trained on, which flatters the score; "
        f"first {valid.example.path} = {train.example.path}.",
    )
