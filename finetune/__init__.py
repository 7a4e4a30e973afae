"""Turn a folder or a table of pictures into a verified, self-describing ONNX model.

``finetune.run(data="pictures")`` is the whole job; everything heavy is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.errors import FinetuneError
    from finetune.folds import cross_validate
    from finetune.pretraining import pretrain
    from finetune.run import run
    from finetune.types import Pretrained, RunResult

__version__ = "0.1.0"
__all__ = ["FinetuneError", "Pretrained", "RunResult", "__version__", "cross_validate", "pretrain", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from finetune.run import run

        return run
    if name == "pretrain":
        from finetune.pretraining import pretrain

        return pretrain
    if name == "cross_validate":
        from finetune.folds import cross_validate

        return cross_validate
    if name == "FinetuneError":
        from finetune.errors import FinetuneError

        return FinetuneError
    if name in ("Pretrained", "RunResult"):
        from finetune import types

        return getattr(types, name)
    raise AttributeError(f"module 'finetune' has no attribute '{name}'")
