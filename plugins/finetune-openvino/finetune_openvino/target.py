"""The target ``openvino``: the verified file as OpenVINO's own two, with the contract and the golden pairs in them.

The golden answers are the verified file's, which another runtime gave. So whoever opens the folder compares the two,
on the machine that counts.
"""

from __future__ import annotations

from dataclasses import replace

from finetune.run_folder import write
from finetune.types import Artifact, ExportRequest
from finetune_export import model_file
from finetune_export.contract import GOLDEN_KEY
from finetune_export.errors import naming
from finetune_openvino import engine, ir
from finetune_openvino.predictor import Predictor

FOLDER = "openvino"


def export(request: ExportRequest) -> Artifact:
    """Write the folder ``openvino`` and return it, asked through ``Predictor``.

    The same file, with the same openvino, gives the same bytes. Raises ``ModelError`` for a graph that openvino cannot
    convert, ``ResourceError`` where the folder cannot be written.
    """
    assert request.onnx is not None, "every target but 'onnx' comes after the file"
    file = model_file.read(request.onnx)
    with naming(request.onnx):
        xml, weights = engine.convert(model_file.with_metadata(file.data, {}))
    contract = replace(request.contract, graph_sha256=ir.graph_sha256(xml, weights)).to_json()
    folder = request.folder / FOLDER
    folder.mkdir()
    write(folder / ir.MODEL, ir.with_texts(xml, contract, file.text(GOLDEN_KEY)))
    write(folder / ir.WEIGHTS, weights)
    write(folder / ir.CONTRACT, contract.encode())
    return Artifact(path=folder, answers=Predictor(folder).answers)
