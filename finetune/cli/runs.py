"""``finetune runs``: what was run, what came of it, and how much room it takes."""

from __future__ import annotations

import shlex
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.errors import ConfigError
from finetune.evaluation.catalogue import shares_of, shown
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Collection

    from finetune.past_runs import PastRun

Folder = Annotated[Path | None, Parameter(help="Folder that runs were written to. [default: runs]")]
HEADER = ("run", "what", "status", "data", "backbone", "strategy", "result", "started (UTC)", "size", "note")


def runs(
    folder: Folder = None,
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print a JSON array.")] = False,
) -> None:
    """List the runs in a folder and below it, newest first: what each was, what it came to, and what it takes.

    A result is on the validation pictures, with its 95 % interval; of a cross-validation, mean ± standard deviation.

    Examples:
      finetune runs --json
      finetune runs experiments
    """
    from finetune.past_runs import past_runs

    where = named(folder)
    found = past_runs(where)
    if json:
        print_json([asdict(run) for run in found])
        return
    if not found:
        print(f"There are no runs in {shlex.quote(str(where))}. Make one with: finetune run --data DIR")
        return
    from finetune.plugins import load_plugins

    shares = shares_of(load_plugins().metrics)
    print_table([HEADER, *(_row(run, shares) for run in found)])


def named(folder: Path | None) -> Path:
    """Return the folder of runs that was named, or the one that they are written to; refuse one that is not there.

    Raises ``ConfigError``; that nothing was ever written where runs go unless told otherwise is no mistake.
    """
    if folder is not None and not folder.exists():
        raise ConfigError(f"{folder} does not exist. Name a folder that runs were written to.")
    return Path("runs") if folder is None else folder


def _row(run: PastRun, shares: Collection[str]) -> tuple[str, ...]:
    facts = (run.what, run.status, run.dataset, run.backbone, run.strategy, _result(run, shares))
    when = run.started[:16].replace("T", " ")
    return (run.name, *(fact or "-" for fact in (*facts, when)), size(run.size_bytes), run.note)


def _result(run: PastRun, shares: Collection[str]) -> str:
    if run.value is None:
        return ""
    text = f"{run.metric} {shown(run.value, run.metric in shares)}"
    if run.spread is not None:
        text += f" ± {shown(run.spread, run.metric in shares)}"
    if run.interval:
        text += f" ({' to '.join(shown(bound, run.metric in shares) for bound in run.interval)})"
    return text


def size(size_bytes: int) -> str:
    """Return a size as people read it, in decimal units."""
    return f"{size_bytes / 1e9:.2f} GB" if size_bytes >= 1e9 else f"{size_bytes / 1e6:.1f} MB"
