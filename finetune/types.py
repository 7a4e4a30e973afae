"""The domain types: what plugins register, what the rooms hand to each other. No torch in here.

Plugins register *facts*, not objects: a name, a summary, and ``"package.module:function"`` strings that are
imported on first use, so that listing everything that is installed costs almost nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

from finetune.config import RunOptions

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from finetune_export.contract import Contract

Task = Literal["single-label", "multi-label", "regression"]
"""What pictures show and models answer; the contract's own, without the numpy that importing it from there loads."""
Part = Literal["train", "valid", "test"]


class Reporter(Protocol):
    """Where a long job says how it is getting on; the command line draws bars, a script may stay silent."""

    def note(self, text: str) -> None:
        """Say one plain sentence that the user should read."""

    def begin(self, title: str, total: int | None = None) -> None:
        """Start a job of ``total`` steps (None: unknown), ending the one before."""

    def advance(self, steps: int = 1, detail: str = "") -> None:
        """Count ``steps`` more of the current job, with a few words on its state."""

    def end(self) -> None:
        """End the current job."""


# ── data sets ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Example:
    """One picture and what it shows, in the form that the data set's task has.

    A single ``label``; or ``labels``, which may be none at all; or ``values``, finite numbers in the order of the data
    set's labels. ``part`` is where the data set says that the picture belongs; None for all pictures but those of a
    'test' part, or for none. ``group`` is what must not be divided between parts: the patient, the animal, the scene.
    """

    path: Path
    label: str = ""
    labels: tuple[str, ...] = ()
    values: tuple[float, ...] = ()
    part: Part | None = None
    group: str | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """Pictures at hand, ready to be audited and split.

    ``labels`` is the order of the network's outputs; for regression, the names of the values. ``source`` and
    ``licence`` go into every model trained on it, so they name where the pictures come from, and never a path of this
    machine. ``notes`` are sentences that the run repeats to the user, for one: that a sample stands in for the real
    set, and how to get the real one. ``ignored`` are files that lay among the pictures and are none by their name.
    """

    name: str
    examples: tuple[Example, ...]
    labels: tuple[str, ...]
    source: str
    licence: str
    task: Task = "single-label"
    notes: tuple[str, ...] = ()
    ignored: tuple[Path, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Where a table has what, as the user said it; None or empty: where it usually is.

    ``task`` is None where the form of the labels decides. Rows of pictures that are not there are left out where
    ``skip_missing`` is set, and refused otherwise.
    """

    task: Task | None = None
    image: str | None = None
    labels: tuple[str, ...] = ()
    separator: str | None = None
    part: str | None = None
    group: str | None = None
    skip_missing: bool = False


@dataclass(frozen=True, kw_only=True)
class Source:
    """One place where a data set's pictures come from, with the recipe that suits it.

    ``accepts_data``: a copy at hand, given with ``--data``, is taken for this source. ``accepts_name``: what is
    published under a name, given with ``--name``, is fetched from it. ``has_columns``: it is a table, of which
    ``--label-col`` and its like are asked.
    """

    name: str
    summary: str
    accepts_data: bool = False
    accepts_name: bool = False
    has_columns: bool = False
    recipe: RunOptions = field(default_factory=RunOptions)


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Options under a name, for one: those of a published system; asked for with ``--recipe``."""

    name: str
    summary: str
    options: RunOptions


@dataclass(frozen=True, kw_only=True)
class DatasetRequest:
    """What a data set's ``load`` function is asked for.

    ``data`` is the user's own copy (then nothing may be downloaded), ``name`` the one under which it is published;
    ``cache`` is a folder that belongs to this data set alone and survives between runs. ``columns`` say what a table
    has where.
    """

    source: str
    data: Path | None
    cache: Path
    reporter: Reporter
    name: str | None = None
    columns: Columns = field(default_factory=Columns)


@dataclass(frozen=True, kw_only=True)
class DatasetSpec:
    """A registered data set; ``load`` names a ``(DatasetRequest) -> Dataset`` function.

    The first source is the default. A recipe that is asked for is laid over the source's own.
    """

    name: str
    summary: str
    sources: tuple[Source, ...]
    load: str
    recipes: tuple[Recipe, ...] = ()
    needs_data: bool = False


# ── backbones ───────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Weights:
    """A set of pretrained weights: where it is, whose it is, and how to know that it arrived whole.

    ``sha256`` is the hash in hexadecimal, or its first digits where the publisher states only those.
    """

    name: str
    url: str
    sha256: str
    licence: str
    source: str


@dataclass(frozen=True, kw_only=True)
class Backbone:
    """A registered backbone; ``build`` names a ``(Backbone, image_size_px) -> BackboneModel`` function.

    ``mean`` and ``std`` are per channel, RGB, on pixels scaled to 0..1. ``crop_fraction`` is the share of the
    shorter side that the centre crop keeps. ``parameters`` counts the whole published network, its own head included.
    """

    name: str
    family: str
    summary: str
    build: str
    parameters: int
    image_size_px: int = 224
    min_image_size_px: int = 32
    image_size_multiple_px: int = 1
    crop_fraction: float = 0.875
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    weights: Weights | None = None


# ── export targets ──────────────────────────────────────────────────────────────────────────────────


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

    These are probabilities, or for regression values in their own units.
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


# ── results ─────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, kw_only=True)
class Verification:
    """An artifact held against the trained network, from picture file to answer, as ``finetune_export.verify`` does.

    ``agreement`` is the share (0..1) of ``compared`` pictures of which both say the same: the same top-1 label, the
    same labels given, or the same values. ``max_difference`` is the largest difference of any probability, or of any
    value in units of its scale, and NaN where an answer is; ``worst`` is the picture where that was. ``value`` and
    ``exported_value`` are the headline ``metric`` of the trained and of the exported model. What is allowed of each is
    None where the target is not judged by it. ``problems`` is empty when it passed.
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
