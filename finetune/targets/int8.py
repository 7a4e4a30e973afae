"""The target ``int8``: the float32 file on integers, a quarter as large and two to three times as fast on a CPU.

Where the metric falls by more than it may, the layers that suffer most from it are put back to float. Which ones those
are is measured on training pictures, without their labels; the validation pictures decide only how many.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from finetune.targets.derived import derive, read_graph
from finetune.targets.integer_input import with_integer_input
from finetune.targets.measuring import answers
from finetune.targets.quantisation import Calibration, calibrate, quantise, weighted
from finetune.types import Artifact, ExportRequest
from finetune_export.contract import Preprocessing
from finetune_export.image import Pixels, read_pixels

FILE = "model.int8.onnx"
CALIBRATION_PICTURES = 128
BATCH_SIZE = 16
RANKING_BATCHES = 1
GROUPS = 16
"""Into how many groups of consecutive layers a network is divided, each of which is put back as a whole."""
PUT_BACK = (1, 2, 4, 8)
"""How many groups are put back, one number after the other, until the metric is kept."""

Group = tuple[onnx.NodeProto, ...]


def export(request: ExportRequest) -> Artifact:
    """Write ``model.int8.onnx``, with as few layers in float as the metric allows.

    Where even the last attempt loses too much it is returned all the same, for the run to refuse it.
    """
    preprocessing = request.contract.preprocessing
    batches = _batches(request, preprocessing)
    model = with_integer_input(read_graph(request), preprocessing)
    calibration = calibrate(model, batches)
    artifact, found = derive(request, quantise(model, calibration), "int8", FILE)
    if found.passed:
        return artifact
    worst = _worst_first(model, calibration, batches[:RANKING_BATCHES], request.contract.units)
    put_back: Sequence[Group] = ()
    for count in (count for count in PUT_BACK if count < len(worst)):  # a network all in float is not int8
        put_back = worst[:count]
        names = [node.name for group in put_back for node in group]
        artifact, found = derive(request, quantise(model, calibration, names), "int8", FILE)
        if found.passed:
            break
    if put_back:
        request.note(_told(model.graph, put_back, kept=found.passed))
    return artifact


def _batches(request: ExportRequest, preprocessing: Preprocessing) -> list[Pixels]:
    """Return training pictures, evenly spaced and so of all folders, as batches that each hold some of every part."""
    paths = request.training_images
    count = min(CALIBRATION_PICTURES, len(paths))
    chosen = [paths[place] for place in np.linspace(0, len(paths) - 1, count).round().astype(int)]
    number = -(-count // BATCH_SIZE)
    return [np.stack([read_pixels(path, preprocessing) for path in chosen[start::number]]) for start in range(number)]


def groups(graph: onnx.GraphProto) -> list[Group]:
    """Return the graph's nodes in at most ``GROUPS`` runs that begin with a layer and have as many layers each."""
    layers = weighted(graph)
    first = [layers[i].name for i in sorted({int(i) for i in np.linspace(0, len(layers), GROUPS, endpoint=False)})]
    nodes = list(graph.node)
    starts = [place for place, node in enumerate(nodes) if node.name in first]
    return [tuple(nodes[start:end]) for start, end in zip(starts, [*starts[1:], len(nodes)], strict=True)]


def _worst_first(
    model: onnx.ModelProto, calibration: Calibration, batches: Sequence[Pixels], units: Sequence[float]
) -> list[Group]:
    """Return the groups, those first whose quantisation alone changes the answers most, measured in their units."""
    expected = answers(model, batches)
    found = groups(model.graph)

    def harm(group: Group) -> float:
        others = [node.name for other in found if other is not group for node in other]
        change = answers(quantise(model, calibration, others), batches) - expected
        return float((np.abs(change) / np.array(units)).mean())

    return sorted(found, key=harm, reverse=True)


def _told(graph: onnx.GraphProto, put_back: Sequence[Group], *, kept: bool) -> str:
    layers = {node.name: node.input[1].removeprefix("network.").removesuffix(".weight") for node in weighted(graph)}
    names = [[layers[node.name] for node in group if node.name in layers] for group in put_back]
    runs = ", ".join(group[0] if len(group) == 1 else f"{group[0]} to {group[-1]}" for group in names)
    outcome = "to keep the metric" if kept else "and the metric still falls too far"
    return f"{FILE}: {sum(map(len, names))} of {len(layers)} layers were put back to float, {outcome}: {runs}"
