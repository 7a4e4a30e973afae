"""The one door to onnxruntime: opens a graph from its bytes, checks what it promises, and runs it.

Shapes: ``N`` pictures, ``H`` = ``W`` pixels, ``K`` labels, ``D`` features; only ``N`` is free.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from finetune_export.contract import Contract, Task
from finetune_export.errors import ModelError, RuntimeUnavailableError, TimeLimitError
from finetune_export.image import Pixels
from finetune_export.time_limit import limited

INPUT = "image"
CPU = "CPUExecutionProvider"
_SUFFIX = "ExecutionProvider"
_PACKAGES = {  # of onnxruntime, with providers that its plain package lacks; one of them is installed at a time
    "cuda": "onnxruntime-gpu",
    "tensorrt": "onnxruntime-gpu",
    "dml": "onnxruntime-directml",
    "openvino": "onnxruntime-openvino",
    "qnn": "onnxruntime-qnn",
}
_SOURCE_PLACE = re.compile(r"/\S*onnxruntime\S*:\d+ .*?\) ")
_FATAL_ONLY = 4  # errors are raised, and told by us
_CONFIGURATION = {
    # Otherwise, weights would be looked for in the working folder.
    "session.model_external_initializers_file_folder_path": os.devnull,
    # What is computed while loading is no larger than weights are; a small file could ask for gigabytes.
    "optimization.constant_folding_max_output_size_in_bytes": str(64 * 2**20),
}

Provider = str | tuple[str, Mapping[str, Any]]
"""A provider: its short or full name ("CUDA", "CUDAExecutionProvider"), or that and onnxruntime's options for it."""


class Session:
    """A graph that onnxruntime has loaded and that has the shapes its contract promises; safe to share by threads.

    ``providers`` are onnxruntime's, in order of preference, or a single one's name; the CPU by default. ``threads``
    are those of one run; onnxruntime decides by default. Raises ``RuntimeUnavailableError`` for a provider that is not
    there, ``ModelError`` for a graph that does not load or fit, and ``ValueError`` for other threads or providers.
    """

    def __init__(
        self, data: bytes, contract: Contract, providers: str | Sequence[Provider] | None, threads: int | None
    ) -> None:
        if threads is not None and (type(threads) is not int or threads < 1):
            raise ValueError(f"threads: {threads!r} is not allowed; it has to be a whole number of at least 1, or None")
        self._session = _open(data, _installed(providers or CPU), threads or 0)
        size = contract.preprocessing.image_size_px
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1:
            raise ModelError(f"it has {len(inputs)} inputs; it has to have one, {INPUT!r}")
        _check_node("input", inputs, INPUT, "tensor(uint8)", (size, size, 3))
        self._outputs = outputs_of(contract.task)
        answers, embedding = self._outputs
        _check_node("output", outputs, answers, "tensor(float)", (len(contract.labels),))
        (self.features,) = _check_node("output", outputs, embedding, "tensor(float)", ("D",))
        self._widths = (len(contract.labels), self.features)

    @property
    def providers(self) -> tuple[str, ...]:
        """The execution providers in use, in order of preference."""
        return tuple(self._session.get_providers())

    def run(self, pixels: Pixels, limit_s: float | None) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return answers (N, K) and embeddings (N, D), all finite, for pixels (N, H, W, 3).

        Raises ``TimeLimitError`` after ``limit_s`` seconds (never if None), and ``ModelError`` where the network fails.
        """
        options = onnxruntime.RunOptions()
        try:
            with limited(options, limit_s):
                answers, embeddings = self._session.run(self._outputs, {INPUT: pixels}, options)
        except TimeLimitError:
            raise
        except Exception as exc:  # onnxruntime has an exception class for each of its error codes
            raise ModelError(f"the network cannot be run ({_first_line(exc)})") from exc
        for name, values, width in zip(self._outputs, (answers, embeddings), self._widths, strict=True):
            if values.shape != (len(pixels), width) or not np.isfinite(values).all():
                raise ModelError(f"the network's {name} are not one row of finite numbers for each picture")
        return answers, embeddings


def outputs_of(task: Task) -> tuple[str, str]:
    """Return the names of a graph's outputs: the task's answers (N, K), and what the head sees (N, D)."""
    return ("values" if task == "regression" else "probabilities", "embedding")


def installed_providers() -> list[str]:
    """Return the short names of the execution providers that onnxruntime has here, best first: "CUDA", "CPU"."""
    return [short_name(provider) for provider in onnxruntime.get_available_providers()]


def short_name(provider: str) -> str:
    """Return a provider's name as people say it: "CPU" for "CPUExecutionProvider"."""
    return provider.removesuffix(_SUFFIX)


def _installed(asked: str | Sequence[Provider]) -> dict[str, dict[str, Any]]:
    """Return the providers' full names and options; raise ``RuntimeUnavailableError`` for one not installed."""
    pairs = [_name_and_options(each) for each in ([asked] if isinstance(asked, str) else asked)]
    return {_full_name(name): options for name, options in pairs}


def _name_and_options(provider: object) -> tuple[str, dict[str, Any]]:
    match provider:
        case str(name):
            return name, {}
        case (str(name), Mapping() as options):
            return name, dict(options)
    raise ValueError(
        f'providers: {provider!r} is not allowed; each is a name, or a pair as ("CUDA", {{"device_id": 0}})'
    )


def _full_name(asked: str) -> str:
    by_name: dict[str, str] = {short_name(name).lower(): name for name in onnxruntime.get_available_providers()}
    wanted = short_name(asked).lower()
    if wanted not in by_name:
        package = _PACKAGES.get(wanted)
        step = f"install {package} instead of onnxruntime" if package else "choose one of these"
        raise RuntimeUnavailableError(
            f"onnxruntime provider {asked!r} is not installed; available are {', '.join(installed_providers())}; {step}"
        )
    return by_name[wanted]


def _open(data: bytes, providers: Mapping[str, dict[str, Any]], threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = _FATAL_ONLY
    for key, value in _CONFIGURATION.items():
        options.add_session_config_entry(key, value)
    try:
        # Without enable_fallback=0, a failure is printed to stdout and tried again on the CPU.
        session = onnxruntime.InferenceSession(data, options, providers=[*providers.items()], enable_fallback=0)
    except Exception as exc:  # onnxruntime has an exception class for each of its error codes
        raise ModelError(
            f"onnxruntime {onnxruntime.__version__} cannot load it ({_first_line(exc)}); "
            "it is damaged, or needs a newer onnxruntime"
        ) from exc
    _check_providers(session.get_providers(), [*providers])
    session._model_bytes = None  # kept only for the fallback that is off: as much memory as the file has bytes
    return session


def _check_providers(active: list[str], asked: list[str]) -> None:
    """Refuse what onnxruntime does in silence when a provider is installed but does not start."""
    if idle := [name for name in asked if name not in active]:
        raise RuntimeUnavailableError(f"onnxruntime provider {idle[0]!r} did not start; active are {', '.join(active)}")


def _check_node(role: str, nodes: Sequence[Any], name: str, kind: str, sides: tuple[int | str, ...]) -> list[int]:
    """Return the sides of ``name``; raise ``ModelError`` unless it is there as (N, *sides), where "D" is any size."""
    found = {node.name: node for node in nodes}
    if name not in found:
        raise ModelError(f"its {role}s are {', '.join(found) or 'none'}; it has to have {name!r}")
    kind_found, (batch, *rest) = found[name].type, found[name].shape or [0]
    fits = len(rest) == len(sides) and all(
        isinstance(side, int) and allowed in (side, "D") for side, allowed in zip(rest, sides, strict=True)
    )
    if kind_found != kind or isinstance(batch, int) or not fits:
        wanted = ", ".join(map(str, ("N", *sides)))
        raise ModelError(f"its {role} {name!r} is {kind_found} {[batch, *rest]}; it has to be {kind} ({wanted})")
    return rest


def _first_line(exc: Exception) -> str:
    """Return what onnxruntime says, without the place in its source that it says it from."""
    line = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
    return _SOURCE_PLACE.sub("", line)[:200]
