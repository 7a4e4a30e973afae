"""Export targets: what they are given, what they write, and how that is judged."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from finetune.types.results import Verification

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune_export.contract import Contract


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """What a target's ``export`` function is given.

    ``network`` is the trained ``finetune.networks.network.Network`` in eval mode on the CPU. ``onnx`` is the
    verified fp32 file; it is None only for the ``onnx`` target, which writes it. The artifact, one file or one
    folder, goes into ``folder`` under a name of the target's choice; the run moves it to its place once its
    answers were compared.

    ``judge`` tells how an artifact would fare in that comparison, so that a target can try again. What it learns from
    it may decide how much of the network is left as it was, and nothing finer: the pictures are the validation set.
    ``note`` says something to the person at the terminal.

    A target reads what it is given and changes none of it: not the network, its mode, ``onnx`` or the pictures. It
    writes nothing elsewhere, prints nothing to stdout, reaches no network, leaves the random state alone, and puts no
    path of ``folder`` into the artifact.
    """

    network: Any
    contract: Contract
    folder: Path
    onnx: Path | None
    training_images: tuple[Path, ...]
    judge: Callable[[Artifact], Verification]
    note: Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What a target wrote, and how to ask it: ``answers(paths)`` is float32 (N, K), from files to the task's answers.

    These are probabilities, or for regression values in their own units; the same each time, for one picture or many.
    The artifact carries the contract: in a model file of ours, or as ``contract.json`` (``Contract.to_json``) in its
    folder; only precision, graph_sha256 and metrics may differ from the one that was given.
    """

    path: Path
    answers: Callable[[Sequence[Path]], NDArray[np.float32]]


@dataclass(frozen=True, kw_only=True)
class ExportTarget:
    """A registered export target; ``export`` names an ``(ExportRequest) -> Artifact`` function.

    An artifact counts only when its answers agree with the trained network's. Where it is ``judged_by`` its answers,
    the share (0..1) of pictures of which it says the same is at least ``min_agreement``, and no answer differs by more
    than ``max_difference``: a probability as it is, a value in units of its scale. The same is, by the task, the top-1
    label, the labels given, or all values; ``finetune_export.verify`` compares. Where other arithmetic makes other
    answers, it is judged by the task's headline metric, which may drop by at most ``--max-drop``; agreement and
    differences are still measured and written down.
    """

    name: str
    summary: str
    export: str
    judged_by: Literal["answers", "metric"] = "answers"
    min_agreement: float = 1.0
    max_difference: float = 1e-4
