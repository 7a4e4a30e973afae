"""The built-in sections on what can be relied on: verification and provenance."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from finetune import run_folder
from finetune.evaluation.catalogue import shown
from finetune.types import Block, Paragraph, RunRecords, Table, Verification


def verification(records: RunRecords) -> Iterator[Block]:
    """Show how each artifact was held against the trained network."""
    yield Paragraph(
        "Every file was asked about the validation pictures, from picture file to answer, and held against the trained "
        "network. To do so again: finetune verify " + shlex.quote(str(records.result.onnx))
    )
    header = ("target", "file", "pictures", "same answer", "largest difference", "metric", "trained", "exported")
    rows = tuple(_compared(found, found.metric in records.shares) for found in records.verification)
    yield Table((*header, "verdict"), rows, "Each artifact against the trained network")


def _compared(found: Verification, is_share: bool) -> tuple[str, ...]:
    values = (shown(value, is_share) for value in (found.value, found.exported_value))
    difference = f"{found.max_difference:.1e}"
    what = (found.target, found.file, f"{found.compared}", f"{found.agreement:.2%}", difference, found.metric)
    return (*what, *values, "; ".join(found.problems) or f"passed: {_allowed(found)}")


def _allowed(found: Verification) -> str:
    if found.max_drop_allowed is not None:
        return f"the {found.metric} may drop by {found.max_drop_allowed:g}"
    return f"{found.min_agreement:.0%} the same and {found.max_difference_allowed:g} are allowed"


def provenance(records: RunRecords) -> Iterator[Block]:
    """Show what the model was made of, under which licences, and how to make it again."""
    contract, data = records.contract, records.data
    yield Table(
        ("what", "name", "licence", "from"),
        (
            ("data", contract.dataset.name, contract.dataset.licence, contract.dataset.source),
            ("weights", contract.backbone.weights, contract.backbone.licence, contract.backbone.name),
            *_plugins(records),
        ),
        "What the model was made of",
    )
    yield Table(
        ("what", "is"),
        (
            ("run", contract.run_id),
            ("fingerprint of the data", contract.dataset.fingerprint),
            ("pictures left out", f"{len(data['refused'])} refused, {len(data['ignored'])} of other formats"),
            ("sha256 of the weights it began with", contract.backbone.sha256 or "none"),
            ("sha256 of the exported graph", contract.graph_sha256),
        ),
        "How to recognise it",
    )
    yield Table(("package", "version"), tuple(_versions(records.versions)), "Versions")
    command = f"finetune run --config {shlex.quote(str(records.run / run_folder.CONFIG))}"
    yield Paragraph(f"To repeat the run: {command}")


def _plugins(records: RunRecords) -> Iterator[tuple[str, str, str, str]]:
    for plugin in records.contract.plugins:
        used = ", ".join(plugin.used_for)
        yield f"plugin, for {used}", f"{plugin.distribution} {plugin.version}", plugin.licence, plugin.origin


def _versions(versions: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield from ((name, found) for name, found in versions.items() if isinstance(found, str))
