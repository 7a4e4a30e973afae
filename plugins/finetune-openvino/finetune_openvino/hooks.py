"""What the plugin offers: one export target. Light: openvino is loaded when a model is exported."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import ExportTarget

FINETUNE_API = "1.0"

OPENVINO = ExportTarget(
    name="openvino",
    summary="OpenVINO's two files, fp32, with contract and self-check inside, and a runtime for CPUs without torch.",
    export="finetune_openvino.target:export",
)


@hookimpl
def finetune_register_targets(register: Callable[[ExportTarget], None]) -> None:
    """Offer ``openvino``."""
    register(OPENVINO)
