"""``finetune advise``: which backbone and which strategy suit the pictures."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.config import RunOptions
from finetune_export.cli.output import print_json, print_table


def advise(
    *,
    candidate: Annotated[
        tuple[str, ...],
        Parameter(help="Backbone to measure, NAME or NAME=FILE, repeatable. [default: those whose weights are here]"),
    ] = (),
    config: Annotated[Path | None, Parameter(help="TOML file with any of these options; flags override it.")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object instead of the tables.")] = False,
    no_progress: NoProgress = False,
    **options: Unpack[RunOptions],
) -> None:
    """Measure how well backbones suit your pictures, and recommend one, with a strategy and the reasons.

    Takes the inputs of 'finetune run'. What is computed is kept: a run with the recommended backbone starts from it.

    Examples:
      finetune advise --data pictures
      finetune advise --data pictures --candidate resnet18=weights.safetensors
    """
    from finetune.cli.process import keep_freed_memory
    from finetune.cli.progress import RichReporter
    from finetune.intent import discover

    discover(options, config)  # refuses what is wrong before torch is loaded, which takes seconds
    keep_freed_memory()
    from finetune.advising import recommend

    with RichReporter(no_progress) as reporter:
        found = recommend(candidates=candidate, config_file=config, reporter=reporter, **options)
    if json:
        print_json(found)
        return
    for rows in (found.rows(), found.head_rows(), found.advice_rows()):
        print_table(rows)
        print()
