"""Which pictures are trained on and which are held out: as given, or stratified by label with a seed."""

from __future__ import annotations

import hashlib
import random
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from finetune.data.audit import Audit, Checked
from finetune.errors import DataError
from finetune.types import Example


@dataclass(frozen=True, kw_only=True)
class Split:
    """The examples to train on and the examples to validate on, and what is odd about the division."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    notes: tuple[str, ...] = ()


def split(audit: Audit, labels: tuple[str, ...], valid_share: float, seed: int) -> Split:
    """Return the split the data set came with, or a stratified one that holds out ``valid_share`` of each label.

    The stratified split depends on the seed and on the pictures' contents, not on where they lie: moving the
    folder changes nothing. Raises ``DataError`` when a label would have nothing to train on, or there would be
    nothing to validate on; that a given split validates only some of the labels is noted.
    """
    given = any(checked.example.part for checked in audit.checked)
    train, valid = _given(audit) if given else _stratified(audit, valid_share, seed)
    _refuse_missing_labels(train, valid, labels)
    return Split(
        train=tuple(checked.example for checked in train),
        valid=tuple(checked.example for checked in valid),
        notes=(*_leaks(train, valid), *_never_validated(valid, labels)),
    )


def _given(audit: Audit) -> tuple[list[Checked], list[Checked]]:
    for checked in audit.checked:
        if checked.example.part is None:
            raise DataError(
                f"{checked.example.path} belongs to no part, while other pictures do; "
                "the data set has to say 'train' or 'valid' for every picture, or for none."
            )
    train = [checked for checked in audit.checked if checked.example.part == "train"]
    valid = [checked for checked in audit.checked if checked.example.part == "valid"]
    return train, valid


def _stratified(audit: Audit, valid_share: float, seed: int) -> tuple[list[Checked], list[Checked]]:
    by_label: dict[str, list[Checked]] = defaultdict(list)
    for checked in audit.checked:
        by_label[checked.example.label].append(checked)
    train: list[Checked] = []
    valid: list[Checked] = []
    for label, members in sorted(by_label.items()):
        members.sort(key=lambda checked: (checked.sha256, checked.example.path.name))
        _seeded(seed, label).shuffle(members)
        held_out = max(1, min(round(valid_share * len(members)), len(members) - 1))
        valid += members[:held_out]
        train += members[held_out:]
    return _in_path_order(train), _in_path_order(valid)


def _in_path_order(members: list[Checked]) -> list[Checked]:
    return sorted(members, key=lambda checked: checked.example.path)


def _seeded(seed: int, label: str) -> random.Random:
    # A generator per label: adding a class leaves the split of the others as it was.
    return random.Random(hashlib.sha256(f"{seed} {label}".encode()).digest())


def _refuse_missing_labels(train: list[Checked], valid: list[Checked], labels: tuple[str, ...]) -> None:
    for part, members in (("train", train), ("validation", valid)):
        present = {checked.example.label for checked in members}
        missing = [label for label in labels if label not in present]
        if missing and (part == "train" or not members):
            total = sum(checked.example.label == missing[0] for checked in train + valid)
            raise DataError(
                f"The class '{missing[0]}' has {total} readable picture(s) and none of them in the {part} part; "
                "give every class at least two pictures, or a train folder of its own."
            )


def _never_validated(valid: list[Checked], labels: tuple[str, ...]) -> tuple[str, ...]:
    present = {checked.example.label for checked in valid}
    missing = [label for label in labels if label not in present]
    if not missing:
        return ()
    return (
        f"{len(missing)} class(es) have no validation picture, so accuracy says nothing of them; first '{missing[0]}'.",
    )


def _leaks(train: list[Checked], valid: list[Checked]) -> tuple[str, ...]:
    seen: dict[str, Path] = {checked.sha256: checked.example.path for checked in train}
    twins = [(seen[checked.sha256], checked.example.path) for checked in valid if checked.sha256 in seen]
    if not twins:
        return ()
    return (
        f"{len(twins)} validation picture(s) are also trained on, so accuracy flatters; "
        f"first {twins[0][1]} = {twins[0][0]}.",
    )
