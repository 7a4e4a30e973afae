"""What a run comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from finetune.types.common import Task


@dataclass(frozen=True, kw_only=True)
class RateCurve:
    """The loss while the learning rate grows, and the rate fastai's ``valley`` rule suggests."""

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    suggestion: float


@dataclass(frozen=True, kw_only=True)
class Verification:
    """An artifact held against the trained network, from picture file to answer, as ``finetune_export.verify`` does.

    ``agreement`` is the share (0..1) of ``compared`` pictures of which both say the same: the same top-1 label, the
    same labels given, or the same values. ``max_difference`` is the largest difference of any probability, or of any
    value in units of its scale, and NaN where an answer is; ``worst`` is the picture where that was. ``value`` and
    ``exported_value`` are the headline ``metric`` of the trained and of the exported model. What is allowed of each is
    None where the target is not judged by it. ``seconds`` is how long the artifact took to answer, decoding included.
    ``problems`` is empty when it passed.
    """

    target: str
    file: str
    compared: int
    agreement: float
    min_agreement: float | None
    max_difference: float
    max_difference_allowed: float | None
    worst: str
    metric: str
    value: float
    exported_value: float
    max_drop_allowed: float | None
    seconds: float
    problems: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether the artifact may be deployed."""
        return not self.problems


@dataclass(frozen=True, kw_only=True)
class RunResult:
    """What a run came to.

    ``value`` is the headline ``metric`` of the trained network on the validation pictures, ``interval`` its 95 %
    interval, ``exported_value`` the exported file's; ``scores`` are all metrics, ``test_scores`` those of the exported
    file on the test part, empty where there is none. ``ece_before`` and ``ece_after`` are the expected calibration
    errors without and with the ``temperature``, on the pictures that it was fitted to. ``phases`` are the ``monitor``
    metric of each phase's best epoch, ``kept`` the phase whose weights were exported. ``verdict`` says whether
    fine-tuning beat the probe, ``reasons`` why 'auto' went as far as it did. ``seconds`` are wall-clock, per stage and
    ``total``; ``onnx_bytes`` is the size of the file.
    """

    run: Path
    onnx: Path
    task: Task
    metric: str
    value: float
    interval: tuple[float, float] | None
    exported_value: float
    compared: int
    agreement: float
    max_difference: float
    scores: dict[str, float]
    test_scores: dict[str, float]
    test_interval: tuple[float, float] | None
    temperature: float
    ece_before: float | None
    ece_after: float | None
    strategy: str
    monitor: str
    phases: dict[str, float]
    kept: str
    verdict: str
    reasons: tuple[str, ...]
    dataset: str
    backbone: str
    weights: str
    labels: int
    train_images: int
    valid_images: int
    test_images: int
    onnx_bytes: int
    artifacts: dict[str, Path]
    seconds: dict[str, float]
    notes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Pretrained:
    """What a pretraining came to: the weight record, and how good the network in it is.

    ``record`` is the file, of ``record_bytes`` bytes, ``sha256`` the hash of its tensors and facts, ``package`` the
    folder of the plugin that carries it, None where none was asked for. ``value`` is the headline ``metric`` on the
    validation pictures of the network as it is in the file, ``interval`` its 95 % interval, ``full_precision_value``
    the same metric before rounding; ``scores`` are all metrics, ``test_scores`` those on the test part, empty where
    there is none. ``best_epoch`` of ``epochs`` was best by the ``monitor`` metric; ``kept`` says whether it is in the
    file ("best epoch"), or an average of the weights that was better ("average"). ``backbone`` is the architecture,
    with its ``parameters``; ``licence`` is of the weights. ``seconds`` are wall-clock, per stage and ``total``.
    """

    run: Path
    record: Path
    record_bytes: int
    sha256: str
    licence: str
    package: Path | None
    task: Task
    metric: str
    value: float
    full_precision_value: float
    interval: tuple[float, float] | None
    scores: dict[str, float]
    test_scores: dict[str, float]
    test_interval: tuple[float, float] | None
    monitor: str
    best_epoch: int
    epochs: int
    kept: str
    dataset: str
    backbone: str
    parameters: int
    labels: int
    train_images: int
    valid_images: int
    test_images: int
    seconds: dict[str, float]
    notes: tuple[str, ...]
