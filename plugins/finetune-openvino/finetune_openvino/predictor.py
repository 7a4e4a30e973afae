"""The predictor: an IR and OpenVINO, from pictures to the answers of the model's task. Without torch and finetune."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import finetune_export
from finetune_export import golden
from finetune_export.errors import naming
from finetune_export.image import Limits
from finetune_export.machine import give_back_freed_memory
from finetune_export.predictor import MAX_RUN_S
from finetune_openvino import ir
from finetune_openvino.engine import Network


class Predictor(finetune_export.Predictor):
    """A folder that the target ``openvino`` wrote, checked and ready to answer as ``finetune_export.Predictor`` does.

    ``path`` is the folder, or its XML file. It is read once and refused with ``ModelError`` if it is damaged or
    foreign, its files do not belong to each other, or (with ``check``) it answers its golden pairs differently from the
    day it was exported. ``threads`` are those of one run, all cores by default; as many runs as there are cores for are
    under way at once. ``limits`` say how large a picture may be, ``Limits()`` by default. A run that takes longer than
    ``max_run_s`` seconds raises ``TimeLimitError``; None is no limit.

    It computes in float32 on the CPU, whatever else the processor has. Safe to share by threads, and to pickle:
    pickled, it is its path and options, and opens the files again.

    Attributes are those of ``finetune_export.Predictor``; ``path`` is the XML file's.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        check: bool = True,
        threads: int | None = None,
        limits: Limits | None = None,
        max_run_s: float | None = MAX_RUN_S,
    ) -> None:
        # The attributes are those of the base class, whose own construction opens an ONNX file.
        self._again = partial(  # type: ignore[assignment]  # of the base class, which this is
            Predictor, check=check, threads=threads, limits=limits, max_run_s=max_run_s
        )
        if max_run_s is not None and not 0 < max_run_s < math.inf:
            raise ValueError(
                f"max_run_s: {max_run_s} is not allowed; it has to be over 0 and finite, or None for no limit"
            )
        self.path = ir.locate(path)
        self.notes: tuple[str, ...] = ()
        self._limits = limits or Limits()
        self._max_run_s = max_run_s
        with naming(self.path):
            model = ir.read(self.path)
            self.contract, self.labels = model.contract, model.contract.labels
            self._session = Network(model.xml, model.weights, model.contract, threads)  # type: ignore[assignment]
            self.providers, self.features = ("OpenVINO",), self._session.features
            if check:
                self.notes = golden.check(
                    golden.parse(model.golden), self.contract, lambda pixels: self._run(pixels)[0]
                )
        del model
        give_back_freed_memory()
