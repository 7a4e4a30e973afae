"""OpenVINO models that finetune exported: ``Predictor`` runs them, without torch and without finetune.

Importing this package costs next to nothing; openvino is loaded with the first name that needs it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from finetune_openvino.predictor import Predictor

__all__ = ["Predictor"]


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from finetune_openvino import predictor

    return getattr(predictor, name)


def __dir__() -> list[str]:
    return list(__all__)
