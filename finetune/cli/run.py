"""``finetune run``: from pictures to a verified ONNX file."""

from __future__ import annotations

import shlex
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.cli.results import data, scored
from finetune.config import RunOptions
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import shares_of, shown
from finetune.intent import discover
from finetune.plugins import load_plugins
from finetune.run_folder import is_cross_validation
from finetune.training.tracking import check_trackers
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.folds import CrossValidation
    from finetune.planning import RunPlan
    from finetune.types import RunResult


def run(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file with any of these options; flags override it.")] = None,
    resume: Annotated[
        Path | None,
        Parameter(help="Folder of a run that was stopped or killed: go on with it, to the same weights."),
    ] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Resolve everything, print the plan, and train nothing.")
    ] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object instead of the table.")] = False,
    no_progress: NoProgress = False,
    **options: Unpack[RunOptions],
) -> None:
    """Fine-tune a network on your pictures and export a verified ONNX file.

    Examples:
      finetune run --data pictures
      finetune run --data pets.csv --label-col breed --group-col animal
      finetune run --plugin dogbreeds --epochs 5
      finetune run --data pictures --strategy partial --unfreeze 2 --lr find
      finetune run --data pictures --folds 5
      finetune run --resume runs/20260101-120000-pictures-mobilenet_v2
    """
    from finetune.cli.process import keep_freed_memory
    from finetune.cli.progress import RichReporter

    is_crossed = _refuse_early(config, resume, dry_run, options)
    keep_freed_memory()
    with RichReporter(no_progress) as reporter:
        if dry_run:
            from finetune.planning import dry_run as job
        elif is_crossed:
            from finetune.folds import cross_validate as job  # type: ignore[assignment]
        else:
            from finetune.run import run as job  # type: ignore[assignment]
        again: dict[str, Any] = {} if dry_run else {"resume": resume}
        found = job(config_file=config, reporter=reporter, **again, **options)
    print_json(found) if json else print_table(_rows(found))


def _refuse_early(config: Path | None, resume: Path | None, dry_run: bool, options: RunOptions) -> bool:
    """Refuse what is wrong before torch is loaded, which takes seconds; return whether it is a cross-validation."""
    if resume is None:
        asked = discover(options, config).config
        check_trackers(asked.track)
        return asked.folds is not None and asked.fold is None
    if config is not None or dry_run:
        raise ConfigError("--resume goes on with a run as it was begun; leave out --config and --dry-run.")
    return is_cross_validation(resume)


def _rows(found: RunPlan | CrossValidation | RunResult) -> list[tuple[str, ...]]:
    from finetune.types import RunResult

    if not isinstance(found, RunResult):
        return [*found.rows()]
    return _rows_of_run(found)


def _rows_of_run(result: RunResult) -> list[tuple[str, ...]]:
    from finetune.report.making import REPORT

    monitor, shares = result.monitor, shares_of(load_plugins().metrics)
    phases = "  →  ".join(f"{name} {shown(value, monitor in shares)}" for name, value in result.phases.items())
    seconds = "  ".join(f"{stage} {spent:.1f}" for stage, spent in result.seconds.items())
    return [
        ("data", data(result)),
        ("network", f"{result.backbone}, weights: {result.weights}"),
        (monitor, f"{phases}  (kept: {result.kept})"),
        ("verdict", result.verdict),
        *(("because", reason) for reason in result.reasons),
        ("validation", scored(result, result.scores, result.interval, shares)),
        *([("calibration", _calibration(result))] if result.ece_before is not None else []),
        *([("test", scored(result, result.test_scores, result.test_interval, shares))] if result.test_scores else []),
        ("exported", _exported(result, shares)),
        ("seconds", seconds),
        ("run", str(result.run)),
        ("model", f"{result.onnx} ({result.onnx_bytes / 1e6:.1f} MB)"),
        ("report", f"{result.run / REPORT}  (open in a browser)"),
        ("next", f"finetune predict {shlex.quote(str(result.onnx))} PICTURE..."),
    ]


def _calibration(result: RunResult) -> str:
    errors = f"expected error {result.ece_before:.3f} without, {result.ece_after:.3f} with it, on what it was fitted to"
    # The temperature is the one with the lowest log loss, and few pictures may show it otherwise.
    worse = result.ece_before is not None and result.ece_after is not None and result.ece_after > result.ece_before
    return f"temperature {result.temperature:.2f}: {errors}{' (by their log loss)' * worse}"


def _exported(result: RunResult, shares: Collection[str]) -> str:
    agreeing = round(result.agreement * result.compared)
    same = f"the same answer on {agreeing} of {result.compared} pictures"
    value = f"{result.metric} {shown(result.exported_value, result.metric in shares)}"
    return f"{value}, {same}, largest difference {result.max_difference:.1e}"
