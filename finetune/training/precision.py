"""Which arithmetic training uses: bfloat16 where the processor multiplies it natively, else float32.

Only what is thrown away is computed in bfloat16: frozen activations of training pictures, and the steps of training.
Validation is always float32, as deployment is.
"""

from __future__ import annotations

import torch

from finetune.config import Precision

DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}


def training_dtype(asked: Precision) -> torch.dtype:
    """Return the type of matrix products in training; for 'auto' that which is faster on this processor."""
    return DTYPES["bf16" if asked == "auto" and _has_native_bf16() else "fp32" if asked == "auto" else asked]


def autocast(dtype: torch.dtype) -> torch.autocast:
    """Return a context in which torch computes in ``dtype`` what tolerates it; does nothing for float32."""
    return torch.autocast("cpu", dtype=torch.bfloat16, enabled=dtype == torch.bfloat16)


def _has_native_bf16() -> bool:
    # Measured at 224 px: 1.8 to 3.1 times faster with AVX-512 BF16 (BENCHMARKS.md). Without it, torch emulates.
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
