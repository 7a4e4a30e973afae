"""The built-in export targets."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import ExportTarget

TARGETS = (
    ExportTarget(
        name="onnx",
        summary="One ONNX file, fp32, with preprocessing, labels and self-check inside, for onnxruntime.",
        export="finetune.targets.onnx_file:export",
    ),
)


@hookimpl
def finetune_register_targets(register: Callable[[ExportTarget], None]) -> None:
    """Offer the targets that the project brings along."""
    for target in TARGETS:
        register(target)
