"""Weight records: what a file of weights that ``finetune pretrain`` wrote says of itself."""

from __future__ import annotations

from dataclasses import dataclass

from finetune.types.common import Task


@dataclass(frozen=True, kw_only=True)
class WeightRecord:
    """A pretrained network's facts; they travel in the metadata of the ``.safetensors`` file that holds its tensors.

    ``architecture`` is the registered backbone that was trained, of the distribution ``offered_by``, with its
    ``family``, ``parameters`` and sizes in pixels; sizes, ``crop_fraction``, ``mean`` and ``std`` are those it was
    trained with (see ``Backbone``). ``labels`` are the classes of its head, in order, and ``head`` its kind.
    ``licence`` is of the weights, ``dataset_licence`` of the pictures; ``fingerprint`` tells their content.
    ``metrics`` are of the validation pictures, by the tensors as they are in the file. ``command`` made it, with
    ``versions`` of what shaped it. ``sha256`` is of the tensors (their names, types, shapes and bytes)
    and of all that is said here.
    """

    name: str
    architecture: str
    offered_by: str
    family: str
    parameters: int
    image_size_px: int
    min_image_size_px: int
    image_size_multiple_px: int
    crop_fraction: float
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    task: Task
    labels: tuple[str, ...]
    head: str
    dataset: str
    source: str
    dataset_licence: str
    fingerprint: str
    train_images: int
    valid_images: int
    licence: str
    metrics: dict[str, float]
    command: str
    seed: int
    versions: dict[str, str]
    sha256: str
