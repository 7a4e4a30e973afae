"""torch module → one self-contained ONNX file; the only room that calls ``torch.onnx``.

The file takes ``image``: uint8 (N, S, S, 3), RGB, straight from ``finetune_export.image``, and answers
``probabilities``: float32 (N, K), or ``values`` for regression, and ``embedding``: float32 (N, D). Normalisation and
the task's last step, such as calibration and softmax, are in the graph; only the batch axis is dynamic.
``to_plain_onnx`` writes the form that tools with a preprocessing of their own expect: ``pixel_values`` to ``logits``.
Where a backbone has a form for export, the graph is of that; what it is held against is the network as trained.
"""

from __future__ import annotations

import copy
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import cast

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from finetune.errors import ModelError
from finetune.networks.answering import Answering
from finetune.networks.network import Network, unchanged
from finetune.plugins import blaming
from finetune_export import golden, model_file
from finetune_export.contract import CONTRACT_KEY, GOLDEN_KEY, Contract
from finetune_export.session import INPUT, outputs_of

OPSET, IR_VERSION = 18, 8
"""The oldest opset the exporter writes without a conversion, and the version of the format that came with it.

Any onnxruntime since 1.14 runs them; the exporter itself would state a newer version of the format.
"""


class Deployed(nn.Module):
    """The network with everything that belongs between pixels and the answers of its task.

    Maps uint8 (N, S, S, 3) to answers float32 (N, K) and embedding float32 (N, D).
    """

    mean: Tensor
    std: Tensor

    def __init__(self, network: Network, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.answering = _answering(contract)
        shape = (1, 3, 1, 1)
        self.register_buffer("mean", torch.tensor(contract.preprocessing.mean).reshape(shape))
        self.register_buffer("std", torch.tensor(contract.preprocessing.std).reshape(shape))

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Return answers (N, K) and embedding (N, D) of uint8 images (N, S, S, 3)."""
        scaled = image.permute(0, 3, 1, 2).float() / 255  # (N, 3, S, S)
        embedding = self.network.embed((scaled - self.mean) / self.std)  # (N, D)
        logits = self.network.classify(embedding)  # (N, K)
        return self.answering(logits), embedding


class Plain(nn.Module):
    """The network between pixels that others have normalised and logits that others turn into probabilities.

    Maps float32 (N, 3, S, S) to logits float32 (N, K), which the calibration has already divided by its temperature.
    For regression others take the logits as they are, so these are the values in their own units.
    """

    def __init__(self, network: Network, contract: Contract) -> None:
        super().__init__()
        self.network = network
        self.answering = _answering(contract)

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Return logits (N, K) of normalised images (N, 3, S, S)."""
        logits: Tensor = self.network(pixel_values)  # (N, K)
        is_final = self.answering.task == "regression"
        return self.answering(logits) if is_final else logits / self.answering.temperature


def _answering(contract: Contract) -> Answering:
    return Answering(contract.task, contract.calibration.temperature, contract.scaling)


def to_onnx(network: Network, contract: Contract) -> bytes:
    """Return the ONNX file of a trained network (eval mode, CPU), contract and golden pairs inside.

    The golden pairs' expected answers come from torch, so that any copy of the file can be held against
    the network it was exported from. Raises ``ModelError`` when the network cannot be expressed in ONNX.
    """
    deployed = Deployed(network, contract).eval()
    size = contract.preprocessing.image_size_px
    # Two pictures, so that the exporter does not take the batch size for a constant 1.
    example = torch.zeros(2, size, size, 3, dtype=torch.uint8)
    graph = _graph(Deployed(in_export_form(network), contract).eval(), {INPUT: example}, [*outputs_of(contract.task)])
    stated = replace(contract, graph_sha256=model_file.read(graph).graph_sha256)
    pairs = golden.make(contract.preprocessing, lambda pixels: _answers(deployed, pixels))
    return model_file.with_metadata(graph, _metadata(stated, golden.dump(pairs)))


def to_plain_onnx(network: Network, contract: Contract) -> bytes:
    """Return the ONNX file of a trained network (eval mode, CPU) without preprocessing, softmax or metadata.

    It takes ``pixel_values``: float32 (N, 3, S, S), normalised, and answers ``logits``: float32 (N, K), calibrated, or
    values in their own units.
    Raises ``ModelError`` when the network cannot be expressed in ONNX.
    """
    size = contract.preprocessing.image_size_px
    example = torch.zeros(2, 3, size, size)  # two pictures: as above
    return _graph(Plain(in_export_form(network), contract).eval(), {"pixel_values": example}, ["logits"])


def in_export_form(network: Network) -> Network:
    """Return the network (eval mode) under the form of its body that the backbone has for export; itself if none.

    What it was made of stays as it is. Raises ``PluginError`` where the backbone's function fails.
    """
    if network.for_export is unchanged:
        return network
    with blaming("The form for export of the backbone"):
        body = network.for_export(copy.deepcopy(network.body))
    return Network(cast(nn.Sequential, body), network.head, {}, network.channels_last)


def _graph(module: nn.Module, example: dict[str, Tensor], outputs: list[str]) -> bytes:
    """Return a module as a checked ONNX file; ``example`` is its one input under the name it will have."""
    model = _without_traces(_exported(module, example, outputs))
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString(deterministic=True)  # type: ignore[no-any-return]


def _exported(module: nn.Module, example: dict[str, Tensor], outputs: list[str]) -> onnx.ModelProto:
    try:
        with _quiet_exporter():
            program = torch.onnx.export(
                module,
                tuple(example.values()),
                dynamo=True,
                opset_version=OPSET,
                input_names=list(example),
                output_names=outputs,
                dynamic_shapes={name: {0: torch.export.Dim("N")} for name in example},
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        first_line = str(error).strip().splitlines()[0]
        raise ModelError(f"The network cannot be written as ONNX: {first_line}. Choose another --backbone.") from error
    assert program is not None, "with dynamo=True the exporter returns the program"
    return program.model_proto


@contextmanager
def _quiet_exporter() -> Iterator[None]:
    """Keep the exporter's warnings about its own internals from the user; failures still raise."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)


def _without_traces(model: onnx.ModelProto) -> onnx.ModelProto:
    """Remove the exporter's notes, which name source files and folders of the machine that trained the model."""
    for holder in (
        model,
        model.graph,
        *model.graph.node,
        *model.graph.value_info,
        *model.graph.input,
        *model.graph.output,
    ):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for initializer in model.graph.initializer:
        del initializer.metadata_props[:]
        initializer.doc_string = ""
    return model


def _answers(deployed: Deployed, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        answers, _ = deployed(torch.from_numpy(pixels))
    return answers.numpy()  # type: ignore[no-any-return]


def _metadata(contract: Contract, golden_pairs: str) -> dict[str, str]:
    """Return our two keys, and the plain ones that other readers of ONNX image models look for.

    To them, ``classify`` means that one label of several is right. Of another task, their ``task`` has its own name,
    which they refuse, instead of reading the answers as what they are not.
    """
    return {
        CONTRACT_KEY: contract.to_json(),
        GOLDEN_KEY: golden_pairs,
        "task": "classify" if contract.task == "single-label" else contract.task,
        "names": str(dict(enumerate(contract.labels))),
        "imgsz": str([contract.preprocessing.image_size_px] * 2),
    }
