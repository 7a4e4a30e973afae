"""``finetune explain``: where a trained network looks."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.explaining import Explanation


def explain(
    model_or_run: Annotated[Path, Parameter(help="The folder of a run that is done, or a model that it exported.")],
    /,
    *images: Annotated[str, Parameter(help="A picture, a folder, a quoted pattern, or - for a list on stdin.")],
    label: Annotated[str | None, Parameter(help="Whose evidence to show. [default: the most probable label's]")] = None,
    out: Annotated[Path, Parameter(help="Folder for the PNG files.")] = Path("explained"),
    run: Annotated[Path | None, Parameter(help="The run's folder. [default: the model's own, where it is one]")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON list.")] = False,
    no_progress: NoProgress = False,
) -> None:
    """Show where the network looks: each picture, and beside it the same under a heat map (Grad-CAM).

    Bright is what speaks for the label; of values, what raises the first, or the one that --label names. Each picture
    becomes a PNG in --out, called after it; earlier ones of the same name are replaced, and no other file is. What the
    network says is printed. Needs the run's folder, because a model alone has no gradients.

    Examples:
      finetune explain runs/my-run photo.jpg
      finetune explain runs/my-run/model.onnx holiday/ --out looked-at
      finetune explain runs/my-run photo.jpg --label wasp
    """
    from finetune.cli.progress import RichReporter
    from finetune.explaining import explain as explain_pictures

    with RichReporter(no_progress) as reporter:
        found = explain_pictures(model_or_run, images, label=label, out=out, run=run, reporter=reporter)
    print_json(found) if json else print_table([_row(each) for each in found])


def _row(found: Explanation) -> tuple[str, ...]:
    answer = f"{found.answer:.6g}" if found.task == "regression" else f"{found.answer:6.1%}"
    doubt = "?" * (found.abstains and found.explains in found.says)
    return answer, found.explains + doubt, str(found.file)
