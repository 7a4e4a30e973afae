"""The one door to openvino: converts a graph, opens one on the CPU, and runs it. It reports to nobody.

Shapes: ``N`` pictures, ``H`` = ``W`` pixels, ``K`` labels, ``D`` features; only ``N`` is free.
"""

from __future__ import annotations

import math
import sys
import tempfile
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from finetune_export.contract import Contract
from finetune_export.errors import ModelError, TimeLimitError
from finetune_export.image import Pixels
from finetune_export.machine import cores
from finetune_export.session import INPUT, outputs_of
from finetune_openvino.ir import ELEMENT, KEYS, MODEL, WEIGHTS

_TELEMETRY = "openvino_telemetry"
_LONGEST_MS = 2**31 - 1


def _imported() -> Any:
    """Import openvino without the package through which already that import would report to its maker.

    Whoever never refused is counted as willing: an identifier is left in the home folder, and an event is sent. Where
    the package cannot be imported, openvino goes on with a stand-in of its own that does nothing.
    """
    there = {_TELEMETRY: sys.modules[_TELEMETRY]} if _TELEMETRY in sys.modules else {}
    sys.modules[_TELEMETRY] = None  # type: ignore[assignment]  # that is how Python is told that there is none
    try:
        return import_module("openvino")
    finally:
        del sys.modules[_TELEMETRY]
        sys.modules.update(there)


openvino = _imported()
VERSION: str = openvino.__version__.split("-")[0]
"""Of openvino, without the commit that it was built from."""


def convert(graph: bytes) -> tuple[bytes, bytes]:
    """Return an ONNX graph as OpenVINO's XML and weights, in float32 as they were, with empty texts in the element.

    The same graph gives the same bytes. Raises ``ModelError`` for one with an operator that OpenVINO does not know.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / MODEL
        try:
            # read_model and not convert_model: that one belongs to the tools, which report what they are used for.
            model = _core().read_model(graph)
            _name_operators(model)
            _fold_constants(model)
            for key in KEYS:
                model.set_rt_info("", [ELEMENT, key])
            openvino.save_model(model, path, compress_to_fp16=False)  # by default, weights would be halved in silence
        except RuntimeError as exc:
            raise ModelError(f"openvino {VERSION} cannot convert it ({_cause(exc)}); try a newer openvino") from exc
        return path.read_bytes(), (Path(folder) / WEIGHTS).read_bytes()


def _name_operators(model: Any) -> None:
    """Name those without a name by their place: OpenVINO would by how many the process has made before them."""
    for place, operator in enumerate(model.get_ordered_ops()):
        if operator.get_friendly_name() == operator.get_name():
            operator.set_friendly_name(f"{operator.get_type_name()}/{place}")


def _fold_constants(model: Any) -> None:
    """Compute once what depends on no picture, shapes above all: two thirds of the operators that reading makes."""
    passes = import_module("openvino.passes")
    manager = passes.Manager()
    manager.register_pass(passes.ConstantFolding())
    manager.run_passes(model)


class Network:
    """A graph that OpenVINO has opened on the CPU and that has the shapes its contract promises.

    Safe to share by threads: as many runs are under way at once as there are cores for ``threads`` each, all cores by
    default; others wait for their turn. Raises ``ModelError`` for a graph that does not open or fit, and ``ValueError``
    for other threads.
    """

    def __init__(self, xml: bytes, weights: bytes, contract: Contract, threads: int | None) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ValueError(f"threads: {threads!r} is not allowed; it has to be a whole number of at least 1, or None")
        self._model = _open(xml, weights, threads or cores())
        self._side = contract.preprocessing.image_size_px
        _check_port("input", self._model.inputs, INPUT, "u8", (self._side, self._side, 3))
        self._outputs = outputs_of(contract.task)
        answers, embedding = self._outputs
        _check_port("output", self._model.outputs, answers, "f32", (len(contract.labels),))
        (self.features,) = _check_port("output", self._model.outputs, embedding, "f32", ("D",))
        self._widths = (len(contract.labels), self.features)
        self._idle: deque[Any] = deque()  # requests hold the buffers of a run, and serve one at a time

    @property
    def arithmetic(self) -> str:
        """What the processor computes with: "f32"."""
        return str(self._model.get_property("INFERENCE_PRECISION_HINT").to_string())

    def run(self, pixels: Pixels, limit_s: float | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return answers (N, K) and embeddings (N, D), all finite, for pixels (N, H, W, 3).

        Raises ``TimeLimitError`` after ``limit_s`` seconds (never if None), and ``ModelError`` where the network fails.
        """
        self._check_pixels(pixels)
        if not len(pixels):
            answers, embeddings = (np.empty((0, width), np.float32) for width in self._widths)
            return answers, embeddings
        try:
            request = self._idle.pop()
        except IndexError:
            request = self._model.create_infer_request()
        answers, embeddings = self._rows(request, pixels, limit_s)
        self._idle.append(request)  # one that failed or was late is not used again
        return answers, embeddings

    def _rows(self, request: Any, pixels: Pixels, limit_s: float | None) -> list[NDArray[np.float32]]:
        try:
            request.start_async({INPUT: np.ascontiguousarray(pixels)}, share_inputs=True)
            in_time = _wait(request, limit_s)
            rows = [np.array(request.get_tensor(name).data) for name in self._outputs] if in_time else []
        except RuntimeError as exc:
            raise ModelError(f"the network cannot be run ({_cause(exc)})") from exc
        if not in_time:
            raise TimeLimitError(
                f"the network took longer than {limit_s:g} s for one run, which is the limit; "
                "give it fewer pictures at a time, or more time"
            )
        for name, values, width in zip(self._outputs, rows, self._widths, strict=True):
            if values.shape != (len(pixels), width) or not np.isfinite(values).all():
                raise ModelError(f"the network's {name} are not one row of finite numbers for each picture")
        return rows

    def _check_pixels(self, pixels: Pixels) -> None:
        """Refuse other pixels here: OpenVINO may answer them with what it answered the last ones."""
        side = self._side
        if pixels.dtype != np.uint8 or pixels.shape[1:] != (side, side, 3):
            found = f"{pixels.dtype} {pixels.shape}"
            raise ModelError(
                f"the network cannot be run (pixels are {found}; they have to be uint8 (N, {side}, {side}, 3))"
            )


def _wait(request: Any, limit_s: float | None) -> bool:
    """Wait for a run, and return whether it ended in time; one that did not is ended after the operator it is in."""
    if limit_s is None:
        request.wait()
        return True
    if request.wait_for(min(math.ceil(limit_s * 1e3), _LONGEST_MS)):
        return True
    request.cancel()
    with suppress(RuntimeError):  # which says that it was cancelled; until then, it reads the pixels
        request.wait()
    return False


@cache
def _core() -> Any:
    """Return the one core of this process, which is never let go of.

    Its CPU plugin gives the thread that loads it a stack for signal handlers. Where another thread drops the last core,
    that stack is freed and still in use: the next signal, a Ctrl-C for one, would kill the process.
    """
    return openvino.Core()


def _open(xml: bytes, weights: bytes, threads: int) -> Any:
    streams = max(1, cores() // threads)
    options = {
        # Its own choice is shorter arithmetic where the processor has it: probabilities that differ by a tenth.
        "INFERENCE_PRECISION_HINT": "f32",
        "NUM_STREAMS": streams,
        "INFERENCE_NUM_THREADS": streams * threads,  # of all streams together
        # Two processes that pin their threads would pin them to the same cores.
        "ENABLE_CPU_PINNING": False,
    }
    try:
        core = _core()
        return core.compile_model(core.read_model(xml, weights), "CPU", options)
    except RuntimeError as exc:
        raise ModelError(
            f"openvino {VERSION} cannot load it ({_cause(exc)}); it is damaged, or needs a newer openvino"
        ) from exc


def _check_port(role: str, ports: Sequence[Any], name: str, kind: str, sides: tuple[int | str, ...]) -> list[int]:
    """Return the sides of ``name``; raise ``ModelError`` unless it is there as (N, *sides), where "D" is any size."""
    found = {each: port for port in ports for each in port.get_names()}
    if name not in found or (role == "input" and len(ports) != 1):
        raise ModelError(f"its {role}s are {', '.join(sorted(found)) or 'none'}; it has to have {name!r}")
    batch, *rest = found[name].get_partial_shape()
    kind_found = found[name].get_element_type().get_type_name()
    fits = len(rest) == len(sides) and all(
        side.is_static and allowed in (side.get_length(), "D") for side, allowed in zip(rest, sides, strict=True)
    )
    if kind_found != kind or batch.is_static or not fits:
        wanted = ", ".join(map(str, ("N", *sides)))
        raise ModelError(
            f"its {role} {name!r} is {kind_found} {found[name].get_partial_shape()}; it has to be {kind} ({wanted})"
        )
    return [side.get_length() for side in rest]


def _cause(exc: Exception) -> str:
    """Return what openvino says, without the places in its source that it passed through, and without its advice."""
    lines = [line.strip() for line in str(exc).splitlines() if line.strip()]
    listed = [line.removeprefix("-- ") for line in lines if line.startswith("-- ")]
    return (listed or lines[-1:] or [type(exc).__name__])[0][:200]
