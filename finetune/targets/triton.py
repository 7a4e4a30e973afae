"""The target ``triton``: a model repository for NVIDIA Triton Inference Server, and so for KServe.

The folder is what ``tritonserver --model-repository`` takes: one model, named after the data set, with the verified
file as version 1. Normalisation and the task's last step, such as softmax, are in the file, so a request carries plain
pixels as ``finetune_export.image.read_pixels`` returns them.

Source: the ``ModelConfig`` message of Triton's ``model_config.proto``, in protobuf's text format.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from finetune.run_folder import MODEL, write
from finetune.types import Artifact, ExportRequest
from finetune_export.predictor import Predictor
from finetune_export.session import outputs_of

FOLDER = "triton"
CONFIG = "config.pbtxt"
LABELS = "labels.txt"
VERSION = "1"
LONGEST_NAME = 63
_LINE_BREAKS = re.compile("[\n\v\f\r\x1c-\x1e\x85\u2028\u2029]")

_CONFIG = """\
name: "{name}"
backend: "onnxruntime"
max_batch_size: 32
input [
  {{ name: "image" data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] }}
]
output [
  {{ name: "{answers}" data_type: TYPE_FP32 dims: [ {labels} ]{named} }},
  {{ name: "{embedding}" data_type: TYPE_FP32 dims: [ {features} ] }}
]
version_policy {{ latest {{ num_versions: 1 }} }}
# Requests that arrive within two milliseconds of each other share a batch.
dynamic_batching {{ max_queue_delay_microseconds: 2000 }}
# The server reports itself ready only after it has run the smallest and the largest batch.
model_warmup [
  {{
    name: "one black picture" batch_size: 1
    inputs {{ key: "image" value {{ data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] zero_data: true }} }}
  }},
  {{
    name: "a full batch" batch_size: 32
    inputs {{ key: "image" value {{ data_type: TYPE_UINT8 dims: [ {size}, {size}, 3 ] zero_data: true }} }}
  }}
]
"""


def export(request: ExportRequest) -> Artifact:
    """Write the folder ``triton`` and return it, with its copy of the file as the torch-free predictor sees it."""
    assert request.onnx is not None, "every target but 'onnx' comes after the file"
    name = model_name(request.contract.dataset.name)
    folder = request.folder / FOLDER / name
    (folder / VERSION).mkdir(parents=True)
    model = folder / VERSION / MODEL
    write(model, request.onnx.read_bytes())
    predictor = Predictor(model)
    write(folder / LABELS, _label_file(predictor.labels, request).encode())
    write(folder / CONFIG, _config(name, predictor).encode())
    return Artifact(path=request.folder / FOLDER, answers=predictor.answers)


def model_name(dataset: str) -> str:
    """Return the name under which Triton serves the model: a to z, 0 to 9 and single hyphens, at most 63 of them.

    Accents are dropped; a name with no such letter or digit becomes ``model``.
    """
    plain = unicodedata.normalize("NFKD", dataset).encode("ascii", "ignore").decode().lower()
    return re.sub("[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_NAME].rstrip("-") or "model"


def label_line(label: str) -> str:
    r"""Return a label as one line of ``labels.txt``: its line breaks are written as escapes, for one as ``\n``."""
    return _LINE_BREAKS.sub(lambda found: found[0].encode("unicode_escape").decode(), label)


def _label_file(labels: Sequence[str], request: ExportRequest) -> str:
    """Return the labels, one on each line, in the order of the answers: Triton knows them by their number."""
    lines = [label_line(label) for label in labels]
    if changed := [line for line, label in zip(lines, labels, strict=True) if line != label]:
        many = f"the line breaks of {len(changed)} label(s) are escaped"
        request.note(f"Triton reads one label from each line; {many}, as in '{changed[0]}'.")
    return "".join(f"{line}\n" for line in lines)


def _config(name: str, predictor: Predictor) -> str:
    """Return ``config.pbtxt``; nothing in it but numbers and a name of plain letters comes from the run.

    The labels of values are not stated as such: Triton would rank them, as it does classes.
    """
    answers, embedding = outputs_of(predictor.task)
    return _CONFIG.format(
        name=name,
        size=predictor.contract.preprocessing.image_size_px,
        answers=answers,
        embedding=embedding,
        labels=len(predictor.labels),
        features=predictor.features,
        named="" if predictor.task == "regression" else f' label_filename: "{LABELS}"',
    )
