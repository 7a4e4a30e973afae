"""``finetune audit``: what is wrong with the pictures, before anything is trained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Unpack

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune.config import RunOptions
from finetune_export.cli.output import print_json, print_table


def audit(
    pictures: Annotated[Path | None, Parameter(help="The same as --data.")] = None,
    /,
    *,
    fix: Annotated[
        Path | None,
        Parameter(
            help="Table (.csv) to write, without unreadable pictures, later copies, and equal pictures of different "
            "labels; in or above the pictures' folder."
        ),
    ] = None,
    config: Annotated[Path | None, Parameter(help="TOML file with any of these options; flags override it.")] = None,
    json: Annotated[bool, Parameter(negative=(), help="Print one JSON object instead of the tables.")] = False,
    no_progress: NoProgress = False,
    **options: Unpack[RunOptions],
) -> None:
    """Look for broken, repeated, nearly equal, contradicting and odd pictures, and show them.

    Takes the inputs of 'finetune run', trains nothing, and changes no picture. Writes audit.json and suspicious.png
    into a new folder. The exit status is 3 where a run would refuse the pictures: more than --max-unreadable cannot be
    read, a class has none that can, or they cannot be divided into parts.

    Examples:
      finetune audit pictures
      finetune audit pictures.csv --label-col species --group-col animal
      finetune audit pictures --fix pictures/cleaned.csv
    """
    from finetune.auditing import audit_data
    from finetune.cli.progress import RichReporter
    from finetune.errors import ConfigError, DataError

    if pictures is not None:
        if "data" in options:
            raise ConfigError(f"{pictures} and --data {options['data']} are both data; leave out one.")
        options["data"] = pictures
    with RichReporter(no_progress) as reporter:
        found = audit_data(fix=fix, config_file=config, reporter=reporter, **options)
    if json:
        print_json(found)
    else:
        print_table(found.finding_rows())
        print()
        print_table(found.rows())
    if found.problem:
        raise DataError(found.problem)
