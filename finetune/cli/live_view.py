"""What a terminal shows of a run while it works: one view, drawn over itself a few times a second."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta

import psutil
from rich.cells import cell_len
from rich.console import Console, Group, RenderableType
from rich.filesize import decimal
from rich.live import Live
from rich.progress import Progress, Task, TaskID
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from finetune.cli.sparkline import BLOCKS, LONGEST, MARKS, Curve, sparkline
from finetune_export.cli.output import pad, visible

REFRESH_HZ = 4.0
SAMPLE_EVERY_S = 1.0
"""How often the process is asked for its memory."""
PACE_OVER_S = 120.0
"""Over how long the pace is measured: long enough for the validation that follows an epoch to count."""
PACED = ("pictures", "bytes")
"""What is worth a number of how many a second."""
WIDEST_BAR = 40
NARROWEST_BAR = 8
BETWEEN = "   "
_IN_ASCII = str.maketrans({"•": "*", "…": "...", "→": "->"})


class Memory:
    """The resident memory of this process in bytes, asked for at most once in ``SAMPLE_EVERY_S``, and its peak."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock, self._process = clock, psutil.Process()
        self._due = self._clock()
        self.resident = self.peak = 0

    def sample(self) -> None:
        """Ask again, where it is time to."""
        if self._clock() >= self._due:
            self._due = self._clock() + SAMPLE_EVERY_S
            self.resident = self._process.memory_info().rss
            self.peak = max(self.peak, self.resident)


class Figure:
    """A followed value: as it was shown last, and its course."""

    def __init__(self) -> None:
        self.shown = ""
        self.curve = Curve()


class LiveView:
    """A reporter that draws the current job, its pace, the figures and the memory of the process on a terminal.

    One thread draws, ``REFRESH_HZ`` times a second, however often it is told something. ``clock`` counts seconds.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self.console = console
        self._clock, self._started = clock, clock()
        self._memory = Memory(clock)
        self._figures: dict[str, Figure] = {}
        # Never drawn: it keeps count, and measures the pace.
        self._jobs = Progress(console=console, auto_refresh=False, get_time=clock, speed_estimate_period=PACE_OVER_S)
        self._job: TaskID | None = None
        self._live = Live(
            console=console,
            get_renderable=self.drawn,
            refresh_per_second=REFRESH_HZ,
            transient=True,
            redirect_stdout=True,
        )

    def start(self) -> None:
        """Begin to draw."""
        self._live.start(refresh=True)

    def stop(self) -> None:
        """Take the view away, and leave the terminal as it was."""
        self._live.stop()

    def note(self, text: str) -> None:
        """Print one sentence above the view."""
        self.console.print(self._writable(f"• {text}"), markup=False, soft_wrap=True)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        """Show a new job, in place of the one before; the figures stay."""
        self.end()
        self._job = self._jobs.add_task(title, total=total, unit=unit, detail="")

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Move the bar on."""
        if self._job is not None:
            self._jobs.update(self._job, advance=steps, detail=detail)

    def figure(self, name: str, value: float, shown: str) -> None:
        """Add a point to the curve of a figure."""
        figure = self._figures.setdefault(name, Figure())
        figure.shown = shown
        figure.curve.add(value)

    def end(self) -> None:
        """Take the job away."""
        if self._job is not None:
            job, self._job = self._job, None
            self._jobs.remove_task(job)

    def drawn(self) -> RenderableType:
        """Return the view as it is now, no line of it longer than the terminal is wide."""
        self._memory.sample()
        job = next(iter(self._jobs.tasks), None)
        rows: list[RenderableType] = [*self._rows_of(job)] if job else []
        return Group(*rows, *map(self._line, self._packed(self._facts(job))), *self._rows_of_figures())

    def _rows_of(self, job: Task) -> Iterator[RenderableType]:
        title, detail = self._writable(job.description), self._writable(job.fields["detail"])
        yield self._line(Text.assemble((title, "bold"), BETWEEN if detail else "", detail))
        count = _count(job)
        room = min(WIDEST_BAR, self.console.width - cell_len(count) - 2)
        if room < NARROWEST_BAR:
            yield self._line(count)
            return
        bar = ProgressBar(job.total, job.completed, width=room, pulse=job.total is None, animation_time=self._clock())
        row = Table.grid(padding=(0, 2, 0, 0))
        row.add_row(bar, self._line(count))
        yield row

    def _facts(self, job: Task | None) -> Iterator[str]:
        if job and job.speed and job.fields["unit"] in PACED:
            yield f"{_amount(job.speed, job.fields['unit'])}/s"
        if job and job.total is not None and job.time_remaining is not None:
            yield f"{timedelta(seconds=job.time_remaining)} left"
        yield f"{timedelta(seconds=int(self._clock() - self._started))} elapsed"
        yield f"{decimal(self._memory.resident)} memory, peak {decimal(self._memory.peak)}"

    def _packed(self, facts: Iterator[str]) -> Iterator[str]:
        """Yield lines of as many facts as there is room for, none of them divided."""
        line = ""
        for fact in facts:
            longer = f"{line}{BETWEEN}{fact}" if line else fact
            if line and cell_len(longer) > self.console.width:
                yield line
                longer = fact
            line = longer
        yield line

    def _rows_of_figures(self) -> Iterator[RenderableType]:
        figures = [*self._figures.items()]
        labels = self._aligned([(self._writable(name), self._writable(figure.shown)) for name, figure in figures])
        levels = MARKS if self.console.options.ascii_only else BLOCKS
        for label, (_, figure) in zip(labels, figures, strict=True):
            points = figure.curve.points
            room = max(0, min(LONGEST, self.console.width - cell_len(label)))
            newest = points[max(0, len(points) - room) :]
            yield self._line(Text.assemble(label, (sparkline(newest, levels), "cyan")))

    def _aligned(self, rows: list[tuple[str, str]]) -> list[str]:
        """Return names, aligned to the left, with values, aligned to the right, and two spaces behind them."""
        names, values = (max((cell_len(row[i]) for row in rows), default=0) for i in (0, 1))
        return [f"{pad(name, names)}  {' ' * (values - cell_len(shown))}{shown}  " for name, shown in rows]

    def _line(self, text: str | Text) -> Text:
        """Return a text that is cut where the terminal ends."""
        line = Text(text) if isinstance(text, str) else text
        line.no_wrap, line.overflow = True, "crop" if self.console.options.ascii_only else "ellipsis"
        return line

    def _writable(self, text: str) -> str:
        return writable(text, self.console.encoding)


def writable(text: str, encoding: str) -> str:
    r"""Return a text as a terminal can show it: control characters, and what ``encoding`` lacks, as ``\u20ac``."""
    try:
        visible(text).encode(encoding)
    except UnicodeEncodeError:
        return visible(text).translate(_IN_ASCII).encode(encoding, "backslashreplace").decode(encoding)
    return visible(text)


def _count(job: Task) -> str:
    """Return how far a job is: "412/960 pictures", "1.2 MB/3.4 MB", "3/7"; nothing before something is known."""
    unit = job.fields["unit"]
    if job.total is None:
        return _amount(job.completed, unit) if job.completed else ""
    if unit == "bytes":
        return f"{decimal(int(job.completed))}/{decimal(int(job.total))}"
    return f"{job.completed:,.0f}/{job.total:,.0f} {unit}".rstrip()


def _amount(count: float, unit: str) -> str:
    """Return a number of things with as many digits as people can use."""
    if unit == "bytes":
        return decimal(int(count))
    digits = 0 if count >= 10 or count == int(count) else 1 if count >= 1 else 2
    return f"{count:,.{digits}f} {unit}".rstrip()
