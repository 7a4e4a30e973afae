"""``finetune runs clean``: room on the disk, after a look at what would go."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from finetune.cli.runs import Folder, named, size
from finetune.past_runs import UNFINISHED
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.run_removal import Choice, Removal

HEADER = ("run", "status", "size", "what happens")


def clean(
    runs: Annotated[tuple[Path, ...], Parameter(help="Runs, by folder or as 'finetune runs' names them.")] = (),
    /,
    *,
    folder: Folder = None,
    unfinished: Annotated[
        bool, Parameter(negative=(), help="Runs that failed, were interrupted or killed; they could be resumed.")
    ] = False,
    older_than_days: Annotated[float | None, Parameter(help="Runs that ended longer ago.")] = None,
    cache: Annotated[bool, Parameter(negative=(), help="The activation cache, which runs make anew.")] = False,
    yes: Annotated[bool, Parameter(negative=(), help="Remove them; without, only show what would go.")] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
) -> None:
    """Remove past runs; without --yes, say which and how much room that would make.

    Runs have to meet all conditions that are given. Those that go on stay, and so do those that hold files which no run
    has written, unless they are named; what lies in the folders of checkpoints and of trackers is not looked at.

    Examples:
      finetune runs clean --unfinished
      finetune runs clean --older-than-days 30 --yes
      finetune runs clean 20260101-120000-pictures-mobilenet_v2 --yes
      finetune runs clean --cache --yes
    """
    from finetune.run_removal import removal

    found = removal(named(folder), runs, unfinished=unfinished, older_than_days=older_than_days, cache=cache)
    if yes:
        found.carry_out()
    print_json(_facts(found, yes)) if json else _show(found, yes)


def _facts(found: Removal, removed: bool) -> dict[str, Any]:
    return {
        "removed": removed,
        "freed_bytes": found.freed_bytes,
        "runs": [{"run": run.path, "status": run.status, "size_bytes": run.size_bytes} for run in found.runs],
        "kept": [{"run": choice.run.path, "why": choice.kept} for choice in found.choices if choice.kept],
        "remainders": [{"remainder": path, "size_bytes": room} for path, room in found.remainders.items()],
        "cache": {"cache": found.cache, "size_bytes": found.cache_bytes} if found.cache else None,
    }


def _show(found: Removal, removed: bool) -> None:
    happens = "removed" if removed else "would be removed"
    rows: list[tuple[str, ...]] = [
        (c.run.name, c.run.status, size(c.run.size_bytes), _happens(c, happens)) for c in found.choices
    ]
    rows += [(path.name, "remainder", size(room), happens) for path, room in found.remainders.items()]
    if found.cache:
        rows.append((str(found.cache), "cache", size(found.cache_bytes), happens))
    if rows:
        print_table([HEADER, *rows])
    if not removed and any(run.status in UNFINISHED for run in found.runs):
        print("Unfinished runs can be gone on with instead: finetune run --resume RUN")
    print(_summary(found, removed))


def _happens(choice: Choice, happens: str) -> str:
    return f"stays: {choice.kept}" if choice.kept else happens


def _summary(found: Removal, removed: bool) -> str:
    if not (found.runs or found.remainders or found.cache):
        return "There is nothing to remove."
    if removed:
        return f"{size(found.freed_bytes)} freed."
    return f"{size(found.freed_bytes)} would be freed. Nothing is removed yet; repeat with --yes."
