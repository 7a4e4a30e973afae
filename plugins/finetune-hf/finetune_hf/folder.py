"""What the target ``hf`` wrote, held against the model beside it: nothing was changed since, and nothing is missing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from finetune.errors import ModelError
from finetune.networks.answering import Answering
from finetune.run_folder import MODEL, sha256_of
from finetune.targets.hugging_face import CARD, CONFIG, OURS, PLAIN, PREPROCESSOR, config, preprocessor_config
from finetune_export import golden, model_file, model_gate
from finetune_export.contract import GOLDEN_KEY, Contract
from finetune_export.errors import naming
from finetune_export.image import Pixels

_PLAIN = f"{PLAIN}/{MODEL}"


def checked_files(folder: Path, model: Path, contract: Contract) -> Mapping[str, Path]:
    """Return the files to publish, without the card, by their names on the hub; ``model`` is the verified file.

    Anything else that lies in the folder is not among them. Raises ``ModelError`` where one of them is missing, or is
    not what the target writes for this model.
    """
    names = (CONFIG, PREPROCESSOR, _PLAIN, OURS)
    if missing := [name for name in (*names, CARD) if not (folder / name).is_file()]:
        raise ModelError(f"{folder} has no {missing[0]}, which the target 'hf' writes. Export it again.")
    if sha256_of(folder / OURS) != sha256_of(model):
        raise ModelError(f"{folder / OURS} is not the verified {model}. Export it again.")
    for name, expected in ((CONFIG, config(contract)), (PREPROCESSOR, preprocessor_config(contract.preprocessing))):
        if _json(folder / name) != json.loads(json.dumps(expected)):
            raise ModelError(f"{folder / name} was changed since it was verified. Export it again.")
    with naming(folder / _PLAIN):
        _check_plain(folder / _PLAIN, model, contract)
    return {name: folder / name for name in names}


def _json(path: Path) -> object:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        return None


def _check_plain(plain: Path, model: Path, contract: Contract) -> None:
    """Refuse a graph for others' tools that answers the golden pairs differently from the verified file."""
    data = model_file.read(plain).data
    model_gate.check(data)
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])

    def answers(pixels: Pixels) -> NDArray[np.float32]:
        values = {"pixel_values": _normalised(pixels, contract)}
        return _final(session.run(["logits"], values)[0], contract)

    golden.check(golden.parse(model_file.read(model).text(GOLDEN_KEY)), contract, answers)


def _normalised(pixels: Pixels, contract: Contract) -> NDArray[np.float32]:
    """Return uint8 (N, S, S, 3) as others' preprocessing has it: float32 (N, 3, S, S)."""
    mean, std = (np.array(numbers, np.float32) for numbers in (contract.preprocessing.mean, contract.preprocessing.std))
    return ((pixels.astype(np.float32) / np.float32(255) - mean) / std).transpose(0, 3, 1, 2)


def _final(logits: NDArray[np.float32], contract: Contract) -> NDArray[np.float32]:
    """Return the answers that calibrated logits (N, K) stand for; those of a regression are the values already."""
    if contract.task == "regression":
        return logits
    answers: NDArray[np.float32] = Answering(contract.task)(torch.from_numpy(logits)).numpy()
    return answers
