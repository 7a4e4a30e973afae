"""The target ``onnx``: one self-describing file in float32, which every other target starts from."""

from __future__ import annotations

from finetune.run_folder import MODEL, write
from finetune.targets.to_onnx import to_onnx
from finetune.types import Artifact, ExportRequest
from finetune_export.predictor import Predictor


def export(request: ExportRequest) -> Artifact:
    """Write ``model.onnx`` and return it as the torch-free predictor sees it."""
    path = request.folder / MODEL
    write(path, to_onnx(request.network, request.contract))
    return Artifact(path=path, answers=Predictor(path).answers)
