"""What the runs of a comparison come to: means, spreads, differences with intervals, and their tables."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Iterator, Sequence

from cells import Found
from report import table
from scipy.stats import t
from surroundings import command, machine
from ways import PAIRS, WAYS


def heading(results: Sequence[Found], minutes: float, entry: str) -> str:
    """Return what has to be known to read the tables: ``minutes`` passed this time while ``entry`` made them."""
    dates = sorted({found.date for found in results})
    seeds = len({found.cell.seed for found in results})
    told = {found.cell.way: found.cell.options for found in results}
    spent = sum(found.whole_s for found in results) / 60
    return "\n".join(
        (
            f"{' to '.join(dict.fromkeys((dates[0], dates[-1])))}, {len(results)} runs, {seeds} seed(s), "
            f"{spent:.1f} minutes of runs, of which some go side by side; this time {minutes:.1f} minutes passed. "
            f"{machine()}\n\n`{command(entry, [_shown(word) for word in sys.argv[1:]])}`\n",
            *(f"- {way}: {', '.join(f'{name} {_shown(value)}' for name, value in told[way].items())}" for way in told),
        )
    )


def _shown(value: object) -> str:
    return str(value).rpartition("/")[2]  # a file by its name: where it lies is nobody's business


def tables(results: Sequence[Found], first: str) -> Iterator[str]:
    """Yield the tables of accuracy, of what is gained, and of seconds; ``first`` heads their first column."""
    rows = list(dict.fromkeys(found.cell.data for found in results))
    of = {(row, way): accuracies(results, row, way) for row in rows for way in WAYS}
    yield "Accuracy in percent, mean ± standard deviation over the seeds:"
    yield table((first, *WAYS), [[row, *(spread([*of[row, way].values()]) for way in WAYS)] for row in rows])
    yield "Difference in points, with 95 % intervals over the seeds, paired:"
    head = (first, *(f"{better} − {worse}" for better, worse in PAIRS))
    yield table(head, [[row, *(gain(of[row, a], of[row, b]) for a, b in PAIRS)] for row in rows])
    yield "Seconds of training, mean; export and its proof take the same of each:"
    yield table((first, *WAYS), [[row, *(_seconds(results, row, way) for way in WAYS)] for row in rows])


def accuracies(results: Sequence[Found], data: str, way: str) -> dict[int, float]:
    """Return the accuracies (0..1) of one row and way, by seed."""
    return {found.cell.seed: found.accuracy for found in results if (found.cell.data, found.cell.way) == (data, way)}


def spread(shares: Sequence[float]) -> str:
    """Return mean and standard deviation of shares (0..1), in percent; '–' where there is none."""
    if not shares:
        return "–"
    deviation = f" ± {100 * statistics.stdev(shares):.1f}" if len(shares) > 1 else ""
    return f"{100 * statistics.fmean(shares):.1f}{deviation}"


def gain(better: dict[int, float], worse: dict[int, float]) -> str:
    """Return the mean difference in points with its 95 % interval over the seeds that both have (Student's t, paired).

    '–' where they share no seed; a single one has no interval.
    """
    points = [100 * (better[seed] - worse[seed]) for seed in sorted(better.keys() & worse.keys())]
    if not points:
        return "–"
    mean = statistics.fmean(points)
    if len(points) == 1:
        return f"{mean:+.1f}"
    half = float(t.ppf(0.975, len(points) - 1)) * statistics.stdev(points) / len(points) ** 0.5
    return f"{mean:+.1f} ({mean - half:+.1f} to {mean + half:+.1f})"


def _seconds(results: Sequence[Found], data: str, way: str) -> str:
    seconds = [found.training_s for found in results if (found.cell.data, found.cell.way) == (data, way)]
    return f"{statistics.fmean(seconds):.1f}" if seconds else "–"
