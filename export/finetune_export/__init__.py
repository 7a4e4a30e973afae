"""Run a model that finetune exported: pictures in, labels or values out, without torch.

Importing this package costs next to nothing; onnxruntime, numpy and Pillow are loaded with the first name that
needs them.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune_export.contract import Contract, read_contract
    from finetune_export.errors import (
        FinetuneError,
        ImageError,
        ModelError,
        RuntimeUnavailableError,
        TimeLimitError,
        UsageError,
    )
    from finetune_export.image_gate import Limits
    from finetune_export.prediction import Prediction
    from finetune_export.predictor import Predictor

__version__ = "0.1.0"

# Before onnxruntime is loaded: its builds since 1.31 would report to their maker, and leave an identifier in the home
# folder. A deployed model talks to nobody unless it is asked to.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = [
    "Contract",
    "FinetuneError",
    "ImageError",
    "Limits",
    "ModelError",
    "Prediction",
    "Predictor",
    "RuntimeUnavailableError",
    "TimeLimitError",
    "UsageError",
    "__version__",
    "read_contract",
]

_HOMES = {
    "Contract": "contract",
    "FinetuneError": "errors",
    "ImageError": "errors",
    "Limits": "image_gate",
    "ModelError": "errors",
    "Prediction": "prediction",
    "Predictor": "predictor",
    "RuntimeUnavailableError": "errors",
    "TimeLimitError": "errors",
    "UsageError": "errors",
    "read_contract": "contract",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
