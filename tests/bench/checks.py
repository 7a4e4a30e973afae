"""What was to be reached, held against what was measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from cases import AGAIN, DATASETS, FASTAI_LONG, FASTAI_SHORT, FINETUNE, LIMIT, PARTIAL, PROBE
from results import Section

PROBE_TIMES_FASTER = {"mobilenet_v2": 20.0, "squeezenet1_1": 12.0}
PROBE_ACCURACY = {"mobilenet_v2": 149 / 153}  # 0.974
BEST_ACCURACY = {"dogs": 0.89, "catsdogs": 0.99}
DIGITS = {"×": 2, "s": 2, "": 3}
"""Decimals by unit; shares of pictures have no unit."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """A figure that has to be at least, or at most, ``target``; None where it was not measured."""

    what: str
    value: float | None
    target: float
    at_least: bool = True
    unit: str = ""

    @property
    def verdict(self) -> str:
        """Reached, missed or not measured; decided on the figure before it is rounded."""
        if self.value is None:
            return "not measured"
        return "reached" if (self.value >= self.target if self.at_least else self.value <= self.target) else "missed"

    def cells(self) -> list[str]:
        """Return the row of a table: what, measured, target, verdict."""
        limit = "at least" if self.at_least else "at most"
        return [self.what, self._shown(self.value), f"{limit} {self._shown(self.target)}", self.verdict]

    def _shown(self, value: float | None) -> str:
        return "–" if value is None else f"{value:.{DIGITS[self.unit]}f} {self.unit}".strip()


TimesFaster = partial(Check, unit="×")
AtMostSeconds = partial(Check, unit="s", at_least=False)


def speed_checks(section: Section, arch: str) -> Iterator[Check]:
    """Yield what our strategies have to reach on ants and bees, from medians of seconds and means of accuracy."""
    yield from _probe_checks(section, arch)
    yield from _unfrozen_checks(section)


def _probe_checks(section: Section, arch: str) -> Iterator[Check]:
    probe, again = section.runs(PROBE), section.runs(PROBE + AGAIN)
    seconds = probe.median("training_s")
    fastai, limit = (section.runs(name).median("training_s") for name in (FASTAI_SHORT, LIMIT))
    faster = PROBE_TIMES_FASTER[arch]
    yield TimesFaster(what="probe, faster than plain fastai 5 + 1", value=_ratio(fastai, seconds), target=faster)
    over = _ratio(seconds, limit)
    yield Check(what="probe, slower than the limit in float32", value=over, target=1.3, at_least=False, unit="×")
    if arch in PROBE_ACCURACY:
        yield Check(what="probe, accuracy", value=probe.mean("accuracy"), target=PROBE_ACCURACY[arch])
    yield AtMostSeconds(what="probe, whole command", value=probe.median("whole_s"), target=25)
    yield AtMostSeconds(what="probe again, its frozen phase", value=again.median("frozen"), target=2)


def _unfrozen_checks(section: Section) -> Iterator[Check]:
    fastai, finetune = section.runs(FASTAI_LONG), section.runs(FINETUNE)
    faster = _ratio(fastai.median("training_s"), finetune.median("training_s"))
    yield TimesFaster(what="finetune 5 + 3, faster than plain fastai 5 + 3", value=faster, target=3)
    better = _difference(finetune.mean("accuracy"), fastai.mean("accuracy"))
    yield Check(what="finetune 5 + 3, accuracy above plain fastai's last epoch", value=better, target=0)
    better = _difference(finetune.mean("accuracy"), fastai.mean("best epoch"))
    yield Check(what="finetune 5 + 3, accuracy above plain fastai's best unfrozen epoch", value=better, target=0)
    faster = _ratio(fastai.median("unfrozen"), section.runs(PARTIAL).median("last 2 stages"))
    yield TimesFaster(what="partial, three epochs of two stages, faster than fastai's three", value=faster, target=5)


def dataset_checks(section: Section) -> Iterator[Check]:
    """Yield what the best of our strategies has to reach on each set; there is no target for CIFAR-10."""
    for dataset, target in BEST_ACCURACY.items():
        name = best_of(section, dataset)
        value = section.runs(name).mean("accuracy") if name else None
        yield Check(what=f"{name or dataset}, accuracy", value=value, target=target)


def best_of(section: Section, dataset: str) -> str | None:
    """Return the name of the most accurate strategy on a set, of equals the faster; None where nothing was measured."""
    assert dataset in DATASETS
    names = [name for name in section.names if name.startswith(f"{dataset}: ")]
    return max(names, key=lambda name: _merit(section, name), default=None)


def _merit(section: Section, name: str) -> tuple[float, float]:
    runs = section.runs(name)
    return runs.mean("accuracy") or 0.0, -(runs.median("training_s") or 0.0)


def _ratio(above: float | None, below: float | None) -> float | None:
    return above / below if above is not None and below else None


def _difference(first: float | None, second: float | None) -> float | None:
    return first - second if first is not None and second is not None else None
