"""The built-in export target: one self-describing ONNX file."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.run_folder import MODEL, write
from finetune.types import Artifact, ExportRequest, ExportTarget


@hookimpl
def finetune_register_targets(register: Callable[[ExportTarget], None]) -> None:
    """Offer the ONNX file."""
    register(
        ExportTarget(
            name="onnx",
            summary="One ONNX file, fp32, with preprocessing, labels and self-check inside, for onnxruntime.",
            export="finetune.builtin.onnx_target:export",
        )
    )


def export(request: ExportRequest) -> Artifact:
    """Write ``model.onnx`` and return it as the torch-free predictor sees it."""
    from finetune.to_onnx import to_onnx
    from finetune_export.predictor import Predictor

    path = request.folder / MODEL
    write(path, to_onnx(request.network, request.contract))
    return Artifact(path=path, probabilities=Predictor(path).probabilities)
