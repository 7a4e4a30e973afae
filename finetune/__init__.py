"""Turn a folder or a table of pictures into a verified, self-describing ONNX model.

``finetune.run(data="pictures")`` is the whole job; everything heavy is imported when it is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.errors import FinetuneError
    from finetune.explaining import explain
    from finetune.folds import cross_validate
    from finetune.opening import open_learner
    from finetune.pretraining import pretrain
    from finetune.run import run
    from finetune.types import Pretrained, RunResult

__version__ = "0.1.0"
__all__ = [
    "FinetuneError",
    "Pretrained",
    "RunResult",
    "__version__",
    "cross_validate",
    "explain",
    "open_learner",
    "pretrain",
    "run",
]


_HOMES = {
    "FinetuneError": "finetune.errors",
    "Pretrained": "finetune.types",
    "RunResult": "finetune.types",
    "cross_validate": "finetune.folds",
    "explain": "finetune.explaining",
    "open_learner": "finetune.opening",
    "pretrain": "finetune.pretraining",
    "run": "finetune.run",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'finetune' has no attribute '{name}'")
    return getattr(import_module(_HOMES[name]), name)
