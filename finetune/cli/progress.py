"""Progress on stderr: one live bar in a terminal, plain lines elsewhere."""

from __future__ import annotations

from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from finetune_export.cli.output import visible


class RichReporter:
    """A reporter for people; use it as a context manager, so that the bar is gone when the command ends."""

    def __init__(self) -> None:
        self.console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[detail]}", markup=False),
            console=self.console,
            transient=True,
            disable=not self.console.is_terminal,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> RichReporter:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Print one sentence above the bar."""
        self.console.print(f"• {visible(text)}", markup=False, soft_wrap=True)

    def begin(self, title: str, total: int | None = None) -> None:
        """Show a new bar, in place of the one before."""
        self.end()
        title = visible(title)
        self._task = self._progress.add_task(title, total=total, detail="")
        if self._progress.disable:
            self.console.print(f"{title} …", markup=False, soft_wrap=True)

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Move the bar on."""
        if self._task is not None:
            self._progress.update(self._task, advance=steps, detail=visible(detail))

    def end(self) -> None:
        """Take the bar away."""
        if self._task is not None:
            self._progress.remove_task(self._task)
            self._task = None
