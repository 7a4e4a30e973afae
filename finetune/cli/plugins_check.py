"""``finetune plugins check``: a plugin held against every rule for what it offers."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.flags import NoProgress
from finetune_export.cli.output import print_json, print_table, visible

if TYPE_CHECKING:
    from collections.abc import Sequence

    from finetune.testing import Check, Finding

VERDICTS = ("ok", "failed", "not checked")
HEADER = ("rule", "held against", "verdict", "seconds")


def check(
    plugin: Annotated[str, Parameter(help="The plugin's name, as 'finetune plugins' shows it.")],
    /,
    *,
    data: Annotated[Path | None, Parameter(help="A small copy, for data sets that take --data.")] = None,
    name: Annotated[str | None, Parameter(help="A name, for data sets that take --name.")] = None,
    only: Annotated[
        tuple[str, ...], Parameter(negative=(), help="Try only these things of it, by their names: a,b.")
    ] = (),
    json: Annotated[bool, Parameter(negative=(), help="Print a JSON object.")] = False,
    no_progress: NoProgress = False,
) -> None:
    """Hold a plugin against every rule for what it offers; exit with status 5 where it breaks one.

    Nothing is downloaded, trained in earnest or written but in temporary folders. Installed code is trusted code: this
    finds faults, and is no sandbox.

    Examples:
      finetune plugins check pets
      finetune plugins check pets --data a-few-photos
    """
    from finetune.errors import PluginError
    from finetune.testing import Case, checks_of

    names = tuple(word.strip() for given in only for word in given.split(",") if word.strip())
    findings = _run(plugin, checks_of(Case(plugin=plugin, data=data, name=name, only=names)), no_progress)
    counts = {verdict: sum(finding.verdict == verdict for finding in findings) for verdict in VERDICTS}
    if json:
        print_json({"plugin": plugin, "counts": counts, "findings": findings})
    else:
        _show(findings)
        print(f"{counts['ok']} ok, {counts['failed']} failed, {counts['not checked']} not checked")
    if counts["failed"]:
        raise PluginError(f"The plugin '{plugin}' breaks {counts['failed']} of {len(findings)} rules.")


def _run(plugin: str, checks: Sequence[Check], no_progress: bool) -> list[Finding]:
    from finetune.cli.progress import RichReporter

    findings = []
    with RichReporter(no_progress) as reporter:
        reporter.begin(f"Checking the plugin '{plugin}'", len(checks), "rules")
        for check in checks:
            with contextlib.redirect_stdout(sys.stderr):  # stdout carries results only
                findings.append(check.run())
            reporter.advance(detail=check.id)
        reporter.end()
    return findings


def _show(findings: Sequence[Finding]) -> None:
    print_table([HEADER, *((f.rule, f.subject, f.verdict, f"{f.seconds:.1f}") for f in findings)])
    for finding in findings:
        if finding.verdict == "failed":
            print(f"\n{visible(finding.message)}")
    for reason, untried in _reasons(findings).items():
        print(f"\nNot checked: {reason}. It concerns {', '.join(untried)}.")
    print()


def _reasons(findings: Sequence[Finding]) -> dict[str, list[str]]:
    """Return what was not checked, by what to give so that it can be."""
    found: dict[str, list[str]] = {}
    for finding in findings:
        if finding.verdict == "not checked":
            things = found.setdefault(visible(finding.message), [])
            if finding.subject not in things:
                things.append(finding.subject)
    return found
