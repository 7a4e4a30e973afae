"""``finetune report``: the page of a run, made again; or one page that compares several."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.errors import ConfigError
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.report.comparison import Compared


def report(
    *runs: Annotated[
        Path,
        Parameter(help="The folder of a run that is done, or of several to compare; a cross-validation is its folds."),
    ],
    data: Annotated[Path | None, Parameter(help="The folder where the pictures are now, if they moved.")] = None,
    out: Annotated[
        Path | None,
        Parameter(help="The comparison's page. [default: comparison.html in the folder that holds the first run's]"),
    ] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
    no_progress: NoProgress = False,
) -> None:
    """Make the page report.html of a run again, with the sections that are installed now, and print its path.

    Of 2 to 10 runs of the same task and labels, make one page that compares them: on the pictures that they share, each
    is tested against the first.

    Examples:
      finetune report runs/my-run
      finetune report runs/one runs/another --out comparison.html
      finetune report runs/my-5-folds --json
    """
    if not runs:
        raise ConfigError("There is no run to report. Name its folder, or those of several to compare.")
    from finetune.run_folder import is_cross_validation

    if len(runs) > 1 or is_cross_validation(runs[0]):
        _print_comparison(_compared(runs, out, data, no_progress), json)
        return
    _refuse_out(out)
    path = _made_again(runs[0], data, no_progress)
    print_json({"report": str(path)}) if json else print(path)


# What is printed within the view of a terminal would be part of the view: results are printed when it is gone.
def _compared(runs: Sequence[Path], out: Path | None, data: Path | None, no_progress: bool) -> Compared:
    from finetune.cli.progress import RichReporter
    from finetune.report.comparison import make_comparison  # with scipy's tests, which one run does not need

    with RichReporter(no_progress) as reporter:
        return make_comparison(runs, reporter.note, out=out, data=data)


def _made_again(run: Path, data: Path | None, no_progress: bool) -> Path:
    from finetune.cli.progress import RichReporter
    from finetune.report import make_again

    with RichReporter(no_progress) as reporter:
        return make_again(run, reporter.note, data)


def _refuse_out(out: Path | None) -> None:
    if out is not None:
        raise ConfigError(f"--out {out} is for a comparison; the page of one run is in its folder. Leave --out out.")


def _print_comparison(found: Compared, json: bool) -> None:
    from finetune.report.comparison.results import headline, verdict

    comparison = found.comparison
    if json:
        print_json({"comparison": str(found.path), **comparison.figures()})
        return
    runs = ((f"run {run.letter}", f"{run.name}: {headline(comparison, run)}") for run in comparison.runs)
    told = (
        (f"{each.run.letter} or {comparison.first.letter}", verdict(comparison, each)) for each in comparison.against
    )
    print_table([*runs, *told, ("page", f"{found.path}  (open in a browser)")])
