"""``finetune verify``: the proof of an export, again, at any time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.errors import ConfigError, ModelError
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.types import WeightRecord


def verify(
    model: Annotated[Path, Parameter(help="The .onnx file of a run, or a weight record (.safetensors).")],
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
    no_progress: NoProgress = False,
) -> None:
    """Check a model file: graph, hash, golden pairs, and its answers against the trained network's.

    The last needs the run's folder and its pictures; without, the model is held against its own golden pairs, and
    scored on --data where that is given. Of a weight record, hash, classes and architecture are held against what is in
    the file, and what it says is shown. A file that fails makes the exit status 4.

    Examples:
      finetune verify runs/my-run/model.onnx
      finetune verify model.onnx --run runs/my-run --data moved/pictures
      finetune verify runs/my-pretraining/pretrained.safetensors
    """
    if model.suffix == ".safetensors":
        if run or data:
            raise ConfigError(f"--run and --data are for models, and {model} holds weights; leave them out.")
        record = _whole_record(model)
        rows = [(name, _text(fact)) for name, fact in vars(record).items()]
        print_json(record) if json else print_table([*rows, _WHOLE])
        return

    from finetune.cli.progress import RichReporter
    from finetune.reverification import verify_again

    with RichReporter(no_progress) as reporter:
        checked = verify_again(model, run=run, data=data, reporter=reporter)
    print_json(checked) if json else print_table(checked.rows())


_WHOLE = ("whole", "hash, classes and architecture are right")


def _whole_record(path: Path) -> WeightRecord:
    from finetune.networks.weights import check_architecture
    from finetune.weight_record import check_record, read_record

    record = read_record(path)
    if record is None:
        raise ModelError(f"{path} has no weight record. Give the pretrained.safetensors of a 'finetune pretrain'.")
    check_record(path, record)
    check_architecture(path, record)
    return record


def _text(fact: object) -> str:
    if isinstance(fact, dict):
        return ", ".join(
            f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}" for name, value in fact.items()
        )
    return ", ".join(map(str, fact)) if isinstance(fact, tuple) else str(fact)
