"""What the files of a finished run hold, as little as they can: a model with its contract, a result and a proof."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from onnx import TensorProto, helper

from finetune.evaluation.catalogue import HEADLINE
from finetune.types import RunResult, Task, Verification
from finetune_export import model_file
from finetune_export.contract import CONTRACT_KEY, BackboneOrigin, Contract, DatasetOrigin, Preprocessing


def model_of(labels: Sequence[str], data: DatasetOrigin, backbone: str = "tiny", **contract: Any) -> bytes:
    """Return a file with a contract, and hardly a graph."""
    graph = helper.make_graph(
        [helper.make_node("Identity", ["image"], ["probabilities"])],
        "none",
        *([helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N"])] for name in ("image", "probabilities")),
    )
    file = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    known: dict[str, Any] = {"run_id": "a-run", "metrics": {}, "versions": {}, **contract}
    made = Contract(
        labels=tuple(labels),
        preprocessing=Preprocessing(image_size_px=8, crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3),
        backbone=BackboneOrigin(name=backbone, weights="none", licence="Apache-2.0"),
        dataset=data,
        graph_sha256=model_file.read(file).graph_sha256,
        **known,
    )
    return model_file.with_metadata(file, {CONTRACT_KEY: made.to_json()})


def drawn_data(name: str, train_images: int, valid_images: int) -> DatasetOrigin:
    """Return where a data set came from that was drawn for a test."""
    return DatasetOrigin(
        **{"name": name, "source": "drawn", "licence": "CC0-1.0", "fingerprint": "0" * 64},
        **{"train_images": train_images, "valid_images": valid_images},
    )


def result_of(
    folder: Path, value: float, valid_images: int, task: Task = "single-label", /, **changes: Any
) -> RunResult:
    """Return what a run came to, with these ``changes``."""
    metric, is_values = HEADLINE[task], task == "regression"
    made = RunResult(
        **{"run": folder, "onnx": folder / "model.onnx", "task": task, "metric": metric, "value": value},
        **{"interval": (value - 0.1, value + 0.1), "exported_value": value, "compared": valid_images, "agreement": 1.0},
        **{"max_difference": 1e-7, "scores": {metric: value}, "test_scores": {}, "test_interval": None},
        **{"temperature": 1.25, "ece_before": None if is_values else 0.21, "ece_after": None if is_values else 0.11},
        **{"strategy": "probe", "monitor": metric, "phases": {"frozen": value}, "kept": "frozen", "verdict": "Kept."},
        **{"reasons": (), "dataset": "insects", "backbone": "tiny", "weights": "none", "labels": 3, "notes": ()},
        **{"train_images": 1, "valid_images": valid_images, "test_images": 0, "onnx_bytes": 1},
        **{"seconds": {"prepare": 1.0, "total": 3.0}, "artifacts": {"onnx": folder / "model.onnx"}},
    )
    return replace(made, **changes)


def verified(compared: int, seconds: float) -> Verification:
    """Return the proof of a file that answers as its network does."""
    return Verification(
        **{"target": "onnx", "file": "model.onnx", "compared": compared, "agreement": 1.0, "min_agreement": 1.0},
        **{"max_difference": 1e-7, "max_difference_allowed": 1e-4, "worst": "0.png", "metric": "accuracy"},
        **{"value": 0.5, "exported_value": 0.5, "max_drop_allowed": None, "seconds": seconds},
    )
