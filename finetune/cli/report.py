"""``finetune report``: the page of a run, made again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune_export.cli.output import print_json


def report(
    run: Annotated[Path, Parameter(help="The folder of a run that is done.")],
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
) -> None:
    """Make the page report.html of a run again, with the sections that are installed now, and print its path.

    Examples:
      finetune report runs/my-run
    """
    from finetune.cli.progress import RichReporter
    from finetune.report import make_again

    with RichReporter() as reporter:
        path = make_again(run, reporter.note)
    print_json({"report": str(path)}) if json else print(path)
