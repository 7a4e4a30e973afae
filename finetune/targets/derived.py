"""A model file made from the float32 one: its graph in other arithmetic, its own contract and golden pairs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from finetune.run_folder import write
from finetune.types import Artifact, ExportRequest, Verification
from finetune_export import golden, model_file
from finetune_export.contract import CONTRACT_KEY, GOLDEN_KEY, Contract, Precision
from finetune_export.predictor import MAX_RUN_S, Predictor
from finetune_export.session import Session


def read_graph(request: ExportRequest) -> onnx.ModelProto:
    """Return the verified float32 graph, with the type and shape of every tensor and without metadata."""
    assert request.onnx is not None, "only the target 'onnx' is asked before there is a verified file"
    model = onnx.load(request.onnx)
    del model.metadata_props[:]
    return onnx.shape_inference.infer_shapes(model, strict_mode=True)


def derive(
    request: ExportRequest, model: onnx.ModelProto, precision: Precision, name: str
) -> tuple[Artifact, Verification]:
    """Write a graph as the model file ``name``, and return it with the verification that the run would come to.

    The contract states the precision and the file's own metric. The golden pairs hold the graph's own answers, so
    that what they forgive is the difference between two machines and not that between two kinds of arithmetic.
    Raises ``ModelError`` for a graph that does not run, ``ResourceError`` where the file cannot be written.
    """
    del model.metadata_props[:]
    del model.graph.value_info[:]  # of the graph that it was; the checker infers them anew
    onnx.checker.check_model(model, full_check=True)
    graph = model.SerializeToString(deterministic=True)
    contract = replace(request.contract, precision=precision, graph_sha256=model_file.read(graph).graph_sha256)
    assert request.onnx is not None
    metadata = {**model_file.read(request.onnx).metadata, GOLDEN_KEY: _golden_pairs(graph, contract)}
    path = request.folder / name
    found = request.judge(_written(path, graph, contract, metadata))
    own = replace(contract, metrics={**contract.metrics, found.metric: found.exported_value})
    return _written(path, graph, own, metadata), found


def _golden_pairs(graph: bytes, contract: Contract) -> str:
    session = Session(graph, contract, None, None)
    pairs = golden.make(contract.preprocessing, lambda pixels: session.run(pixels, MAX_RUN_S)[0])
    return golden.dump(pairs)


def _written(path: Path, graph: bytes, contract: Contract, metadata: dict[str, str]) -> Artifact:
    write(path, model_file.with_metadata(graph, metadata | {CONTRACT_KEY: contract.to_json()}))
    return Artifact(path=path, answers=Predictor(path).answers)
