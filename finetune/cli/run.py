"""``finetune run``: from pictures to a verified ONNX file."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from cyclopts import Parameter

from finetune.config import RunOptions
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.types import RunResult


def run(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file with any of these options; flags override it.")] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Resolve everything, print the plan, and train nothing.")
    ] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object instead of the table.")] = False,
    **options: Unpack[RunOptions],
) -> None:
    """Fine-tune a network on your pictures and export a verified ONNX file.

    Examples:
      finetune run --data pictures
      finetune run --plugin dogbreeds --epochs 5
      finetune run --data pictures --strategy svm
      finetune run --data pictures --strategy partial --unfreeze 2 --lr find
    """
    from finetune.cli.process import keep_freed_memory
    from finetune.cli.progress import RichReporter
    from finetune.intent import discover

    discover(options, config)  # refuses what is wrong before torch is loaded, which takes seconds
    keep_freed_memory()
    with RichReporter() as reporter:
        if dry_run:
            from finetune.planning import dry_run as plan_only

            planned = plan_only(config_file=config, reporter=reporter, **options)
        else:
            from finetune.run import run as run_job

            result = run_job(config_file=config, reporter=reporter, **options)
    if dry_run:
        print_json(planned) if json else print_table(planned.rows())
    else:
        print_json(result) if json else _print_result(result)


def _print_result(result: RunResult) -> None:
    phases = "  →  ".join(f"{name} {value:.1%}" for name, value in result.phases.items())
    seconds = "  ".join(f"{stage} {spent:.1f}" for stage, spent in result.seconds.items())
    agreeing = round(result.agreement * result.compared)
    counts = f"{result.train_images} training and {result.valid_images} validation pictures"
    same = f"the same label on {agreeing} of {result.compared} pictures"
    print_table(
        [
            ("data", f"{result.dataset}: {result.labels} classes, {counts}"),
            ("network", f"{result.backbone}, weights: {result.weights}"),
            ("accuracy", f"{phases}  (kept: {result.kept})"),
            ("verdict", result.verdict),
            *(("because", reason) for reason in result.reasons),
            ("exported", f"{result.exported_value:.1%}, {same}, largest difference {result.max_difference:.1e}"),
            ("seconds", seconds),
            ("run", str(result.run)),
            ("model", f"{result.onnx} ({result.onnx_bytes / 1e6:.1f} MB)"),
            ("next", f"finetune predict {shlex.quote(str(result.onnx))} PICTURE..."),
        ]
    )
