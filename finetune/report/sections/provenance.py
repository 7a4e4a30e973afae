"""What the model was made of, under which licences, and how to make it again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping

from finetune import run_folder
from finetune.types import Block, Paragraph, RunRecords, Table


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
        sortable=False,
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
        sortable=False,
    )
    yield Table(("package", "version"), tuple(_versions(records.versions)), "Versions", sortable=False)
    command = shlex.join(["finetune", "run", "--config", str(records.run / run_folder.CONFIG)])
    yield Paragraph("To repeat the run:", command)


def _plugins(records: RunRecords) -> Iterator[tuple[str, str, str, str]]:
    for plugin in records.contract.plugins:
        used = ", ".join(plugin.used_for)
        yield f"plugin, for {used}", f"{plugin.distribution} {plugin.version}", plugin.licence, plugin.origin


def _versions(versions: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    yield from ((name, found) for name, found in versions.items() if isinstance(found, str))
