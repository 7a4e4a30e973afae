"""``finetune pretrain``: from pictures to weights that others start from."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.cli.results import data, scored
from finetune.config import PretrainOptions
from finetune.errors import ConfigError
from finetune.evaluation.catalogue import shares_of, shown
from finetune.intent import discover_pretraining
from finetune.plugins import load_plugins
from finetune.training.tracking import check_trackers
from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune.planning import RunPlan
    from finetune.types import Pretrained


def pretrain(
    *,
    config: Annotated[
        Path | None,
        Parameter(
            help="TOML file with any of the options below; flags override it. Package and licence are said here."
        ),
    ] = None,
    resume: Annotated[
        Path | None,
        Parameter(help="Folder of a pretraining that was stopped or killed: go on with it, to the same weights."),
    ] = None,
    package: Annotated[
        Path | None,
        Parameter(help="Also write a plugin that carries the weights, in this new folder, which has its name."),
    ] = None,
    licence: Annotated[str | None, Parameter(help="Licence of the weights. [default: the data set's]")] = None,
    dry_run: Annotated[
        bool, Parameter(negative=(), help="Resolve everything, print the plan, and train nothing.")
    ] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object instead of the table.")] = False,
    no_progress: NoProgress = False,
    **options: Unpack[PretrainOptions],
) -> None:
    """Train a network from scratch, and write weights that others start from.

    The weights are one file that says what they are: 'finetune run' takes it as --weights, or as --backbone.

    Examples:
      finetune pretrain --data pictures --backbone resnet18_half
      finetune pretrain --plugin dogbreeds --source kinds --epochs 60
      finetune pretrain --data pictures --package finetune-mine --licence CC-BY-4.0
      finetune pretrain --resume runs/20260101-120000-pictures-resnet18_half
    """
    from finetune.cli.process import keep_freed_memory
    from finetune.cli.progress import RichReporter

    _refuse_early(config, resume, package, dry_run, options)
    keep_freed_memory()
    found: RunPlan | Pretrained
    with RichReporter(no_progress) as reporter:
        if dry_run:
            from finetune.pretraining import dry_run as plan

            found = plan(config_file=config, package=package, licence=licence, reporter=reporter, **options)
        else:
            from finetune.pretraining import pretrain as job

            found = job(
                config_file=config, resume=resume, package=package, licence=licence, reporter=reporter, **options
            )
    print_json(found) if json else print_table([*_rows(found), *(_sharing(package, licence) if dry_run else ())])


def _refuse_early(
    config: Path | None, resume: Path | None, package: Path | None, dry_run: bool, options: PretrainOptions
) -> None:
    """Refuse what is wrong before torch is loaded, which takes seconds."""
    if resume is not None and (config is not None or dry_run):
        raise ConfigError("--resume goes on with a pretraining as it was begun; leave out --config and --dry-run.")
    if package is not None and resume is None:  # what was stopped may have written it already
        from finetune.scaffold.recorded import check_package

        check_package(package.absolute())
    if resume is None:
        check_trackers(discover_pretraining(options, config).config.track)


def _rows(found: RunPlan | Pretrained) -> list[tuple[str, ...]]:
    from finetune.types import Pretrained

    return _rows_of_pretrained(found) if isinstance(found, Pretrained) else [*found.rows()]


def _sharing(package: Path | None, licence: str | None) -> list[tuple[str, ...]]:
    said = (("licence", licence), ("package", package))
    return [(name, str(value)) for name, value in said if value is not None]


def _rows_of_pretrained(result: Pretrained) -> list[tuple[str, ...]]:
    shares = shares_of(load_plugins().metrics)
    values = [shown(value, result.metric in shares) for value in (result.full_precision_value, result.value)]
    return [
        ("data", data(result)),
        ("network", f"{result.backbone}, {result.parameters / 1e6:.1f} M parameters, from random weights"),
        ("kept", _kept(result)),
        ("validation", scored(result, result.scores, result.interval, shares)),
        ("rounding", f"{result.metric} {values[0]} in full precision, {values[1]} in half, as it is in the file"),
        *([("test", scored(result, result.test_scores, result.test_interval, shares))] if result.test_scores else []),
        ("seconds", "  ".join(f"{stage} {spent:.1f}" for stage, spent in result.seconds.items())),
        ("run", str(result.run)),
        ("weights", f"{result.record} ({result.record_bytes / 1e6:.1f} MB, licence: {result.licence})"),
        *([("package", f"pip install {shlex.quote(str(result.package))}")] if result.package else []),
        ("next", f"finetune run --data DIR --weights {shlex.quote(str(result.record))}"),
    ]


def _kept(result: Pretrained) -> str:
    best = f"{result.best_epoch} of {result.epochs}"
    if result.kept == "average":
        return f"an average of the weights, better by {result.monitor} than the best epoch, {best}"
    return f"the best epoch by {result.monitor}, {best}"
