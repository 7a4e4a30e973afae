"""``finetune plugins new``: a plugin that works, to begin with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from finetune.scaffold import Kind
from finetune_export.cli.output import print_table


def new(
    name: Annotated[str, Parameter(help="What the plugin is called, such as street-signs.")],
    /,
    *,
    kind: Annotated[Kind, Parameter(help="What it offers.")],
    record: Annotated[
        Path | None,
        Parameter(
            name="--from", help="A weight record of 'finetune pretrain', for a backbone that carries its weights."
        ),
    ] = None,
    out: Annotated[Path, Parameter(help="Folder that the plugin's own folder is made in.")] = Path(),
) -> None:
    """Write a plugin that installs, passes its tests and runs: a distribution with everything it needs.

    Examples:
      finetune plugins new street-signs --kind dataset
      finetune plugins new tiny-net --kind backbone --out plugins
      finetune plugins new leaves --kind backbone --from pretrained.safetensors
    """
    folder = _written(name, kind, record, out)
    weights = " --weights none" if record is None else ""
    runs = {
        "dataset": f"finetune run --plugin {folder.name}",
        "backbone": f"finetune run --data DIR --backbone {folder.name}{weights}",
        "target": f"finetune run --data DIR --target {folder.name}",
    }
    print_table(
        [
            ("written", str(folder)),
            ("install", f"pip install -e {shlex.quote(f'{folder}[dev]')}"),
            ("test", f"pytest {shlex.quote(str(folder))}"),
            ("use", runs[kind]),
            ("rules", f"finetune plugins check {folder.name}"),
        ]
    )


def _written(name: str, kind: Kind, record: Path | None, out: Path) -> Path:
    from finetune.errors import ConfigError
    from finetune.scaffold.naming import free_name
    from finetune.scaffold.recorded import write_package
    from finetune.scaffold.writing import write_plugin

    if record is None:
        return write_plugin(name, kind, out)
    if kind != "backbone":
        raise ConfigError(
            f"--from gives a backbone its weights, and --kind is {kind}; give --kind backbone, or leave it out."
        )
    return write_package(out / free_name(name), record)
