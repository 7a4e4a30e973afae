"""Turn a folder or a table of pictures into a verified, self-describing ONNX model.

``finetune.run(data="pictures")`` is the whole job; everything heavy is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.errors import FinetuneError
    from finetune.folds import cross_validate
    from finetune.run import run
    from finetune.types import RunResult

__version__ = "0.1.0"
__all__ = ["FinetuneError", "RunResult", "__version__", "cross_validate", "run"]


def __getattr__(name: str) -> Any:
    if name == "run":
        from finetune.run import run

        return run
    if name == "cross_validate":
        from finetune.folds import cross_validate

        return cross_validate
    if name == "FinetuneError":
        from finetune.errors import FinetuneError

        return FinetuneError
    if name == "RunResult":
        from finetune.types import RunResult

        return RunResult
    raise AttributeError(f"module 'finetune' has no attribute '{name}'")
