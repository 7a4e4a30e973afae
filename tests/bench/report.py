"""Markdown tables of what was measured, ready to be put into the document of all measurements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import median

from cases import DATASETS, EPOCHS, SIZES, TINY_EPOCHS, TINY_SIZES, scaled
from checks import Check, best_of, dataset_checks, speed_checks
from results import Runs, Section

FIGURES = {"training_s": 1, "whole_s": 1, "pictures_per_s": 0, "peak_mb": 0, "accuracy": 3}
"""The columns of figures, with their decimals."""
COLUMNS = ("seconds of training", "whole process", "pictures/s", "peak MB", "accuracy", "runs")
PLAIN_FIRST = ("the limit", "plain fastai", "PyTorch loop", "ours")
TARGETS = ("", "measured", "target", "")


def tables(section: Section) -> str:
    """Return the tables of a section with their titles and what has to be known to read them."""
    return "\n".join(_speed(section) if "speed-" in section.name else _OTHERS[section.name.split()[0]](section))


def _speed(section: Section) -> Iterator[str]:
    arch = section.name.split()[0].removeprefix("speed-")
    yield f"### Ants and bees, {arch}\n"
    yield (
        "Median, minimum to maximum where there are several runs. The accuracy of plain fastai is its last epoch's; "
        "the PyTorch loop and ours keep the best one. Pictures are those of all epochs. Peak memory is that of the "
        "largest process; loader workers, which only the plain loops have, are processes of their own. Ours starts "
        "with an empty cache, and *again* with what the first run left there.\n"
    )
    yield table(("", *COLUMNS), [_row(name, section.runs(name)) for name in sorted(section.names, key=_place)])
    yield from _checked(speed_checks(section, arch))
    yield from _parts(section)


def _place(name: str) -> int:
    return next(place for place, first in enumerate(PLAIN_FIRST) if name.startswith(first))


def _parts(section: Section) -> Iterator[str]:
    """Yield the stages of each measurement, so that it can be seen which part is decoding."""
    yield "\nWhat the seconds went into, medians:\n"
    rows = []
    for name in sorted(section.names, key=_place):
        runs = section.runs(name)
        stages = dict.fromkeys(stage for run in runs.all for stage in run.parts if stage not in ("best epoch", "total"))
        rows.append([name, ", ".join(f"{stage} {_shown(runs.median(stage), 1)}" for stage in stages) or "–"])
    yield table(("", "seconds"), rows)


def _datasets(section: Section) -> Iterator[str]:
    yield "### Other photos, mobilenet_v2\n"
    yield (
        "The strategies on a set share a cache, which the first one fills. CIFAR-10 is validated on its test "
        "pictures, and so the best epoch is chosen on them. The best of each set is in bold.\n"
    )
    best = {best_of(section, dataset) for dataset in DATASETS}
    names = [(name, f"**{name}**" if name in best else name) for name in section.names]
    yield table(("", *COLUMNS), [_row(shown, section.runs(name)) for name, shown in names])
    yield from _checked(dataset_checks(section))


def _scaling(section: Section) -> Iterator[str]:
    yield "### Cost of the frozen phase, mobilenet_v2\n"
    yield "Seconds of the phase, each cell with an empty cache; four fifths of the pictures are trained on.\n"
    tiny = section.name != section.name.split()[0]
    sizes, epochs = (TINY_SIZES, TINY_EPOCHS) if tiny else (SIZES, EPOCHS)
    most = f"{sizes[-1] / sizes[0]:g} times the pictures"
    rows = []
    for count in epochs:
        seconds = [section.runs(scaled(size, count)).median("frozen") for size in sizes]
        rows.append([f"{count}", *(_shown(value, 1) for value in seconds), _times(seconds[-1], seconds[0])])
    yield table(("epochs", *(f"{size:,} pictures" for size in sizes), most), rows)
    columns = [[section.runs(scaled(size, count)).median("frozen") for count in epochs] for size in sizes]
    growth = [f"{size:,} pictures {_times(column[-1], column[0])}" for size, column in zip(sizes, columns, strict=True)]
    yield f"\n{epochs[-1] / epochs[0]:g} times the epochs cost: {', '.join(growth)}."


def _times(above: float | None, below: float | None) -> str:
    return "–" if above is None or not below else f"{above / below:.1f} ×"


def _checked(checks: Iterator[Check]) -> Iterator[str]:
    yield ""
    yield table(TARGETS, [check.cells() for check in checks])


def _row(shown: str, runs: Runs) -> list[str]:
    return [shown, *(_cell(runs.values(figure), digits) for figure, digits in FIGURES.items()), str(len(runs))]


def _cell(values: Sequence[float], digits: int) -> str:
    if not values:
        return "–"
    middle = _shown(median(values), digits)
    if len(values) == 1:
        return middle
    return f"{middle} ({_shown(min(values), digits)} to {_shown(max(values), digits)})"


def _shown(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


_OTHERS = {"datasets": _datasets, "scaling": _scaling}
