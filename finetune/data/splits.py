"""Which pictures are trained on, which choose the best network, and which only judge it at the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from finetune.config import RunConfig
from finetune.data.audit import Audit, Checked
from finetune.data.findings import labels_of
from finetune.data.leaks import NAMES, leaks
from finetune.data.split_file import divided_as
from finetune.data.stratification import evenly, folds, hold_out, totals
from finetune.data.units import Grouping, Unit, grouping_of, units_of
from finetune.errors import ConfigError, DataError
from finetune.types import Dataset, Example, Part

Parts = dict[Part, list[Checked]]


@dataclass(frozen=True, kw_only=True)
class SplitRules:
    """How pictures are to be divided where the data set does not say.

    The shares (0..1) are of each label's pictures, both of all that there are. ``file`` is the split.csv of an earlier
    run, whose division is kept. Of ``folds`` equal parts, number ``fold`` (from 1; None: the first) is validated on.
    """

    valid_share: float = 0.2
    test_share: float = 0.0
    seed: int = 42
    file: Path | None = None
    folds: int | None = None
    fold: int | None = None
    group_pattern: str | None = None

    @property
    def smallest_share(self) -> float:
        """The least part (0..1) that is held out, or left to train on."""
        held_out = 1 / self.folds if self.folds else self.valid_share
        return max(0.0, min(held_out, self.test_share or held_out, 1 - held_out - self.test_share))


@dataclass(frozen=True, kw_only=True)
class Split:
    """The examples to train on, to validate on and to test on, and what is odd about the division."""

    train: tuple[Example, ...]
    valid: tuple[Example, ...]
    notes: tuple[str, ...] = ()
    test: tuple[Example, ...] = ()


def rules_of(config: RunConfig) -> SplitRules:
    """Return the rules that the options of a run say."""
    return SplitRules(
        valid_share=config.valid_share,
        test_share=config.test_share,
        seed=config.seed,
        file=config.split,
        folds=config.folds,
        fold=config.fold,
        group_pattern=config.group_pattern,
    )


def split(audit: Audit, dataset: Dataset, rules: SplitRules) -> Split:
    """Return the division of the readable pictures: as a file or the data set has it, and else stratified.

    What is divided here depends on the seed and on the pictures' contents, not on where they lie: moving the folder
    changes nothing. Neither a group nor equal pictures are ever divided. Raises ``DataError`` when a label would have
    nothing to train on or there would be nothing to validate on, ``ConfigError`` for rules that leave nothing to train
    on; that a part lacks some of the labels is noted, and what is in two parts.
    """
    grouping = grouping_of(dataset, rules.group_pattern)
    notes: list[str] = []
    if rules.file:
        parts = divided_as(audit.checked, rules.file)
        notes += ["--split says what is tested on, so --test-share has no effect."] if rules.test_share else []
    else:
        parts = _Division(_given(audit.checked), dataset, rules, grouping, notes).parts()
    _refuse_missing_labels(parts, dataset)
    return Split(
        train=_examples(parts["train"]),
        valid=_examples(parts["valid"]),
        test=_examples(parts["test"]),
        notes=(*notes, *leaks(parts, grouping), *_lacking(parts, dataset)),
    )


class _Division:
    """One division in the making: what the data set gives, less what is held out of it."""

    def __init__(self, given: Parts, dataset: Dataset, rules: SplitRules, grouping: Grouping, notes: list[str]) -> None:
        self.pool, self.valid, self.test = given["train"], given["valid"], given["test"]
        self.dataset, self.rules, self.grouping, self.notes = dataset, rules, grouping, notes

    def parts(self) -> Parts:
        rules = self.rules
        if rules.folds and self.valid:
            self.notes.append("The data's own validation part is divided anew by --folds, with the train part.")
            self.pool, self.valid = self.pool + self.valid, []
        if rules.test_share and self.test:
            self.notes.append("The data has a test part of its own, so --test-share has no effect.")
        if self.valid and (self.test or not rules.test_share):
            return {"train": self.pool, "valid": self.valid, "test": self.test}
        return self._divided()

    def _divided(self) -> Parts:
        rules, valid, test = self.rules, self.valid, self.test
        units = units_of(self.pool, self.grouping, self.dataset.task, rules.smallest_share)
        total = totals(units)
        if not valid:
            self._refuse_undividable(units)
        if rules.test_share and not test:
            units, test = self._without(units, total, rules.test_share, keep=1 if valid else 2)
        if rules.folds:
            fold = set(folds(units, rules.folds, rules.seed)[(rules.fold or 1) - 1])
            units, valid = [unit for unit in units if unit not in fold], _pictures(fold)
        elif not valid:
            units, valid = self._without(units, total, rules.valid_share, keep=1)
        return {"train": _pictures(units), "valid": valid, "test": test}

    def _without(
        self, units: list[Unit], total: Mapping[str, int], share: float, keep: int
    ) -> tuple[list[Unit], list[Checked]]:
        """Hold a share of all there was out of the units; return what is left, and the pictures held out."""
        left = totals(units)
        if self.dataset.task == "regression":
            wanted = evenly(total, left, share, keep)
        else:
            wanted = {s: max(1, min(round(share * count), left[s] - keep)) for s, count in total.items()}
        held_out = hold_out(units, wanted, keep, self.rules.seed)
        taken = set(held_out)
        return [unit for unit in units if unit not in taken], _pictures(held_out)

    def _refuse_undividable(self, units: Sequence[Unit]) -> None:
        """Refuse a class whose pictures have to stay together, for it could not be on both sides."""
        rules = self.rules
        if not rules.folds and rules.valid_share + rules.test_share >= 1:
            raise ConfigError(
                f"--valid-share {rules.valid_share:g} and --test-share {rules.test_share:g} leave nothing to train on; "
                "give shares of less than 1 together."
            )
        if self.dataset.task == "multi-label" and not rules.folds:
            return  # a rare label stays in the train part
        if self.dataset.task == "regression":
            return
        together = Counter(label for unit in units for label in unit.strata)
        for label in self.dataset.labels:
            if together[label] == 1:
                unit = next(unit for unit in units if label in unit.strata)
                raise DataError(_cannot_be_divided(label, unit, self.grouping))


def _cannot_be_divided(label: str, unit: Unit, grouping: Grouping) -> str:
    pictures, groups = unit.strata[label], {grouping(picture.example) for picture in unit.members} - {None}
    if pictures == 1:
        why, needed = "which cannot be both trained on and validated", "two pictures"
    elif groups:
        why, needed = f"all of the group '{min(map(str, groups))}', which is never divided", "two groups"
    else:
        why, needed = "all equal, which are never divided", "two different pictures"
    return (
        f"The class '{label}' has {pictures} readable picture(s), {why}; give every class at least {needed}, or a "
        "validation part of its own."
    )


def _given(checked: Sequence[Checked]) -> Parts:
    """Return the parts that the data set says; 'train' is where there is something to divide, or all of it."""
    parts: Parts = {"train": [], "valid": [], "test": []}
    divided = any(picture.example.part in ("train", "valid") for picture in checked)
    for picture in checked:
        if picture.example.part is None and divided:
            raise DataError(
                f"{picture.example.path} belongs to no part, while other pictures do; "
                "the data set has to say 'train' or 'valid' for every picture, or for none."
            )
        parts[picture.example.part or "train"].append(picture)
    return parts


def _pictures(units: Iterable[Unit]) -> list[Checked]:
    return sorted((p for unit in units for p in unit.members), key=lambda picture: picture.example.path)


def _examples(members: Iterable[Checked]) -> tuple[Example, ...]:
    return tuple(picture.example for picture in members)


def _refuse_missing_labels(parts: Parts, dataset: Dataset) -> None:
    word = "class" if dataset.task == "single-label" else "label"
    for label in _missing(parts["train"], dataset):
        elsewhere = {NAMES[part]: len(_having(label, members)) for part, members in parts.items() if members}
        where, count = next(((name, n) for name, n in elsewhere.items() if n), ("validation", 0))
        raise DataError(
            f"The {word} '{label}' has {count} picture(s) in the {where} part and none in the train part, so it "
            "cannot be learnt. Add some to train on, or remove it."
        )
    for part in ("train", "valid"):
        if not parts[part]:
            raise DataError(
                f"No picture is in the {NAMES[part]} part, of {sum(map(len, parts.values()))} readable ones. Give more "
                "pictures or groups, or leave the division to the run."
            )


def _lacking(parts: Parts, dataset: Dataset) -> Iterator[str]:
    for part in ("valid", "test"):
        missing = _missing(parts[part], dataset) if parts[part] else []
        if missing:
            yield (
                f"{len(missing)} class(es) have no {NAMES[part]} picture, so its score says nothing of them; "
                f"first '{missing[0]}'."
            )


def _missing(members: Sequence[Checked], dataset: Dataset) -> list[str]:
    if dataset.task == "regression":
        return []
    present = {label for picture in members for label in labels_of(picture.example)}
    return [label for label in dataset.labels if label not in present]


def _having(label: str, members: Sequence[Checked]) -> list[Checked]:
    return [picture for picture in members if label in labels_of(picture.example)]
