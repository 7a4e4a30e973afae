"""Pictures as torch sees them: uint8 tensors, made by the one preprocessing that deployment uses, too.

Shapes: images uint8 (3, S, S), RGB; targets int64 (), the index of the label.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset
from torchvision.transforms import RandomResizedCrop

from finetune.types import Example
from finetune_export import image
from finetune_export.contract import Preprocessing

CROP_SCALE = (0.6, 1.0)
"""Share of a training picture's area that a random crop keeps; the upper end shows the whole picture."""
CROP_RATIO = (3 / 4, 4 / 3)
MIRRORED_SHARE = 0.5


class ValidationPictures(TorchDataset[tuple[Tensor, Tensor]]):
    """Pictures exactly as the deployed model will see them."""

    def __init__(self, examples: Sequence[Example], labels: Sequence[str], preprocessing: Preprocessing) -> None:
        self.examples = examples
        self.labels = tuple(labels)
        self.preprocessing = preprocessing
        index = {label: position for position, label in enumerate(self.labels)}
        self.targets = [index[example.label] for example in examples]

    def __len__(self) -> int:
        return len(self.examples)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        pixels = image.read_pixels(self.examples[index].path, self.preprocessing)
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.tensor(self.targets[index])


class TrainingPictures(ValidationPictures):
    """Pictures cut at random (position, size, shape; as in Szegedy et al. 2015, section 6) and mirrored or not.

    JPEG files are decoded at the smallest scale that still fills the crop, 3 to 5 times faster on camera photos.
    """

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        size = self.preprocessing.image_size_px
        picture = image.load(self.examples[index].path, draft_px=round(size / CROP_SCALE[0] ** 0.5)).image
        top, left, height, width = RandomResizedCrop.get_params(picture, CROP_SCALE, CROP_RATIO)
        pixels = image.resize(picture, (left, top, left + width, top + height), size)
        if torch.rand(()) < MIRRORED_SHARE:
            pixels = pixels[:, ::-1].copy()
        return torch.from_numpy(pixels).permute(2, 0, 1).contiguous(), torch.tensor(self.targets[index])
