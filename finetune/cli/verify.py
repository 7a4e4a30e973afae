"""``finetune verify``: the proof of an export, again, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune_export.cli.output import print_json, print_table


def verify(
    model: Annotated[Path, Parameter(help="The .onnx file of a run.")],
    /,
    *,
    run: Annotated[Path | None, Parameter(help="The run's folder. [default: the model's own, where it is one]")] = None,
    data: Annotated[
        Path | None,
        Parameter(
            help="Where the pictures are now, if they moved; without a run: labelled pictures to score, a folder, or a "
            "table with a column for each of several labels or values."
        ),
    ] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object.")] = False,
) -> None:
    """Check a model file: graph, hash, golden pairs, and its answers against the trained network's.

    The last needs the run's folder and its pictures; without, the model is held against its own golden pairs, and
    scored on --data where that is given. A model that fails makes the exit status 4.

    Examples:
      finetune verify runs/my-run/model.onnx
      finetune verify model.onnx --run runs/my-run --data moved/pictures
    """
    from finetune.cli.progress import RichReporter
    from finetune.reverification import verify_again

    with RichReporter() as reporter:
        checked = verify_again(model, run=run, data=data, reporter=reporter)
    print_json(checked) if json else print_table(checked.rows())
