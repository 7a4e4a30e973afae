"""``finetune lr-find``: which learning rate to train with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.config import RunOptions
from finetune_export.cli.output import print_json


def lr_find(
    *,
    config: Annotated[Path | None, Parameter(help="TOML file with any of these options; flags override it.")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
    no_progress: NoProgress = False,
    **options: Unpack[RunOptions],
) -> None:
    """Measure the loss over growing learning rates, print the suggested one, and save the curve as a PNG.

    Takes the inputs of 'finetune run'; pass the result as --lr. Trains nothing that is kept.

    Examples:
      finetune lr-find --data pictures --backbone resnet18
    """
    from finetune.cli.process import keep_freed_memory
    from finetune.cli.progress import RichReporter
    from finetune.intent import discover

    discover(options, config)  # refuses what is wrong before torch is loaded, which takes seconds
    keep_freed_memory()
    from finetune.planning import find_rate

    with RichReporter(no_progress) as reporter:
        found = find_rate(config_file=config, reporter=reporter, **options)
    if json:
        print_json({"suggestion": found.suggestion, "curve": found.picture})
    else:
        print(f"{found.suggestion:.2g}")
        print(f"curve: {found.picture}")
