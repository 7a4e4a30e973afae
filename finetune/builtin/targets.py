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
    ExportTarget(
        name="int8",
        summary="One ONNX file in integers, for CPUs: a quarter of the size and faster; refused if it costs accuracy.",
        export="finetune.targets.int8:export",
        judged_by="metric",
    ),
    ExportTarget(
        name="fp16",
        summary="One ONNX file in half precision, for GPUs: half the size.",
        export="finetune.targets.fp16:export",
        judged_by="metric",
    ),
    ExportTarget(
        name="triton",
        summary="A model repository for Triton and KServe: configuration, labels, dynamic batching.",
        export="finetune.targets.triton:export",
    ),
    ExportTarget(
        name="web",
        summary="A web page that answers for pictures and the camera in the browser, offline.",
        export="finetune.targets.web:export",
    ),
    ExportTarget(
        name="hf",
        summary="The folder that Hugging Face tools open: config, preprocessor, onnx/model.onnx.",
        export="finetune.targets.hugging_face:export",
        judged_by="metric",
    ),
)


@hookimpl
def finetune_register_targets(register: Callable[[ExportTarget], None]) -> None:
    """Offer the targets that the project brings along."""
    for target in TARGETS:
        register(target)
