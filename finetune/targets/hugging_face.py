"""The target ``hf``: a folder as Hugging Face's tools expect one, which can be pushed to the Hub as it is.

``config.json``, ``preprocessor_config.json`` and ``onnx/model.onnx`` are what transformers, optimum and transformers.js
read; ``finetune.onnx`` is the verified, self-describing file, and ``README.md`` the model card.

For regression the logits are the values, as transformers' own models have it.

No model type of transformers stands for "a graph". The configuration names one with the same interface,
``pixel_values`` to ``logits``, that all three tools take, and says nothing of the network's layers.

Hugging Face's image processor resizes the whole picture and then cuts at whole pixels, and it drops transparency where
``finetune_export.image`` puts white behind it. So this target is judged by the metric, through ``pixel_values``, which
does what the image processor does.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL import Image, ImageOps

from finetune.run_folder import MODEL, to_json, write
from finetune.targets.hugging_face_card import card
from finetune.targets.to_onnx import to_plain_onnx
from finetune.types import Artifact, ExportRequest, Task
from finetune_export.contract import Contract, Preprocessing
from finetune_export.errors import ImageError
from finetune_export.image import Limits
from finetune_export.image_gate import open_picture, read_file, refusing_damage

FOLDER = "hf"
CONFIG = "config.json"
PREPROCESSOR = "preprocessor_config.json"
CARD = "README.md"
OURS = "finetune.onnx"
"""The self-describing file: not ``model.onnx``, which optimum would take instead of the one in its folder."""
PLAIN = "onnx"
"""The folder in which transformers.js and optimum look for the graph; in there it is called ``model.onnx``, too."""

BATCH_SIZE = 16
PROBLEM_TYPES: Mapping[Task, str] = {
    "single-label": "single_label_classification",
    "multi-label": "multi_label_classification",
    "regression": "regression",
}
"""What transformers calls the tasks; it decides whether pipelines take a softmax or a sigmoid of the logits."""


def export(request: ExportRequest) -> Artifact:
    """Write the folder ``hf`` and return it, asked in Hugging Face's way: its preprocessing, its graph, its softmax."""
    assert request.onnx is not None, "every target but 'onnx' comes after the file"
    folder, contract = request.folder / FOLDER, request.contract
    (folder / PLAIN).mkdir(parents=True)
    plain = to_plain_onnx(request.network, contract)
    write(folder / PLAIN / MODEL, plain)
    write(folder / OURS, request.onnx.read_bytes())
    _write_json(folder / CONFIG, config(contract))
    _write_json(folder / PREPROCESSOR, preprocessor_config(contract.preprocessing))
    session = onnxruntime.InferenceSession(plain, providers=["CPUExecutionProvider"])
    artifact = Artifact(path=folder, answers=partial(_answers, session, contract))
    write(folder / CARD, card(contract, request.judge(artifact)).encode())
    return artifact


def _write_json(path: Path, content: dict[str, Any]) -> None:
    write(path, f"{to_json(content)}\n".encode())


# ── what the tools read ─────────────────────────────────────────────────────────────────────────────


def config(contract: Contract) -> dict[str, Any]:
    """Return ``config.json``: what a tool needs to name the outputs, and to choose ``onnx/model.onnx``."""
    return {
        "architectures": ["ResNetForImageClassification"],
        "model_type": "resnet",
        "problem_type": PROBLEM_TYPES[contract.task],
        "image_size": contract.preprocessing.image_size_px,
        "num_channels": 3,
        "num_labels": len(contract.labels),
        "id2label": {str(i): label for i, label in enumerate(contract.labels)},
        "label2id": {label: i for i, label in enumerate(contract.labels)},
        "transformers.js_config": {"dtype": "fp32"},
    }


def preprocessor_config(preprocessing: Preprocessing) -> dict[str, Any]:
    """Return ``preprocessor_config.json``: CLIP's image processor, which can resize the shorter side and then cut."""
    size = preprocessing.image_size_px
    return {
        "image_processor_type": "CLIPImageProcessor",
        "do_convert_rgb": True,
        "do_resize": True,
        "size": {"shortest_edge": shortest_edge_px(preprocessing)},
        "resample": int(Image.Resampling.BILINEAR),
        "do_center_crop": True,
        "crop_size": {"height": size, "width": size},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_normalize": True,
        "image_mean": list(preprocessing.mean),
        "image_std": list(preprocessing.std),
    }


def shortest_edge_px(preprocessing: Preprocessing) -> int:
    """Return the length of a picture's shorter side before the cut, in whole pixels."""
    return round(preprocessing.image_size_px / preprocessing.crop_fraction)


# ── the proof: what the tools compute ───────────────────────────────────────────────────────────────


def pixel_values(source: Path, preprocessing: Preprocessing, limits: Limits | None = None) -> NDArray[np.float32]:
    """Return a picture as Hugging Face's image processor (the Pillow one) makes it: float32 (3, S, S), normalised.

    Raises ``ImageError`` for a picture that is refused, or so long that the resized whole would pass the limits.
    """
    limits = limits or Limits()
    image = _upright_rgb(source, limits)
    whole = _resized(image, preprocessing)
    if whole[0] * whole[1] > limits.max_pixels:
        raise ImageError(str(source), _too_long(image.size, whole, limits))
    pixels = np.asarray(_centre(image.resize(whole, Image.Resampling.BILINEAR), preprocessing), np.float32)  # (S, S, 3)
    mean, std = np.array(preprocessing.mean, np.float32), np.array(preprocessing.std, np.float32)
    return ((pixels / np.float32(255) - mean) / std).transpose(2, 0, 1)


def _upright_rgb(source: Path, limits: Limits) -> Image.Image:
    """Decode a picture as transformers' ``load_image`` does: turned as EXIF says, then converted to RGB."""
    picture = open_picture(read_file(source, limits), str(source), limits)
    with refusing_damage(str(source)), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow advises to keep the transparency of a palette
        return ImageOps.exif_transpose(picture).convert("RGB")


def _resized(image: Image.Image, preprocessing: Preprocessing) -> tuple[int, int]:
    """Return width and height of the whole picture once its shorter side has the length asked for."""
    edge, shorter = shortest_edge_px(preprocessing), min(image.size)
    width, height = (edge if side == shorter else edge * side // shorter for side in image.size)
    return width, height


def _too_long(size: tuple[int, int], whole: tuple[int, int], limits: Limits) -> str:
    return (
        f"{size[0]} x {size[1]} pixels; Hugging Face's image processor would make {whole[0]} x {whole[1]} of them, and "
        f"at most {limits.max_pixels} are allowed; leave the picture or the target 'hf' out"
    )


def _centre(whole: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    """Cut the square in the middle out of the resized whole, at whole pixels."""
    size = preprocessing.image_size_px
    left, top = (whole.width - size) // 2, (whole.height - size) // 2
    return whole.crop((left, top, left + size, top + size))


def _answers(session: Any, contract: Contract, paths: Sequence[Path]) -> NDArray[np.float32]:
    """Return what the tools make of the plain graph's logits for each picture file, float32 (N, K)."""
    rows = []
    for start in range(0, len(paths), BATCH_SIZE):
        batch = paths[start : start + BATCH_SIZE]
        pixels = np.stack([pixel_values(path, contract.preprocessing) for path in batch])
        rows.append(_FINAL[contract.task](session.run(["logits"], {"pixel_values": pixels})[0]))
    return np.concatenate(rows)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]


def _sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    return ((1 + np.tanh(logits / 2)) / 2).astype(np.float32)  # overflows for no logit


def _unchanged(values: NDArray[np.float32]) -> NDArray[np.float32]:
    return values


_FINAL: Mapping[Task, Callable[[NDArray[np.float32]], NDArray[np.float32]]] = {
    "single-label": _softmax,
    "multi-label": _sigmoid,
    "regression": _unchanged,
}
