"""How the random views of a picture differ from what deployment sees: a policy by the name that ``--augment`` has.

A view is a pure function of picture, policy and generator. Nothing here reads or writes a global random state: views
are made by several threads at once, and a run that is continued has to see what it would have seen. Shapes: ``S`` is
the side of a view in pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageEnhance
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as transforms

from finetune.config import Augmentation
from finetune_export import image
from finetune_export.contract import Preprocessing

Pixels = NDArray[np.uint8]
Matrix = NDArray[np.float64]

CROP_SCALE = (0.6, 1.0)
"""Share of a picture's area that a random cut shows."""
CROP_RATIO = (3 / 4, 4 / 3)
MIRRORED_SHARE = 0.5
LIGHT = 0.2
"""Brightness and contrast of a 'light' view are multiplied by 1 - LIGHT to 1 + LIGHT."""
DECODED_SCALE = CROP_SCALE[0] ** -0.5
"""How many times a view's side the shorter side of a picture is, so that the smallest cut is not enlarged."""


def view_rules(policy: Augmentation) -> str:
    """Return what the views of a policy depend on beside picture and preprocessing.

    What was kept under other rules is not used: whoever changes how a view is made counts up the number at the end.
    """
    return f"{policy}: {_RULES[policy]}"


def random_view(
    policy: Augmentation, picture: Image.Image, preprocessing: Preprocessing, chance: np.random.Generator
) -> Pixels:
    """Return a view of an upright RGB picture by a policy that is not 'none': uint8 (S, S, 3)."""
    return _POLICIES[policy](picture, preprocessing, chance)


# ── light ───────────────────────────────────────────────────────────────────────────────────────────


def _light(picture: Image.Image, preprocessing: Preprocessing, chance: np.random.Generator) -> Pixels:
    """Return a picture cut, mirrored and lit at random."""
    pixels = _cut(picture, preprocessing.image_size_px, chance)
    brightness, contrast = chance.uniform(1 - LIGHT, 1 + LIGHT, 2)
    lit = ImageEnhance.Contrast(ImageEnhance.Brightness(Image.fromarray(pixels)).enhance(brightness)).enhance(contrast)
    return np.array(lit)


def _cut(picture: Image.Image, size_px: int, chance: np.random.Generator) -> Pixels:
    """Return a picture cut (as in Szegedy et al. 2015, section 6) and mirrored at random."""
    pixels = image.resize(picture, _random_box(picture.width, picture.height, chance), size_px)
    return pixels[:, ::-1] if chance.random() < MIRRORED_SHARE else pixels


def _random_box(width: int, height: int, chance: np.random.Generator) -> tuple[float, float, float, float]:
    area = width * height * chance.uniform(*CROP_SCALE)
    ratio = math.exp(chance.uniform(*np.log(CROP_RATIO)))
    across, down = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = chance.uniform(0, width - across), chance.uniform(0, height - down)
    return left, top, left + across, top + down


# ── trivial ─────────────────────────────────────────────────────────────────────────────────────────

MAGNITUDES = 31
"""How strong an operation may be: evenly spaced from not at all to its most."""


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One of TrivialAugment's: ``apply`` to a picture with a magnitude from ``least`` to ``most``.

    That of a ``signed`` one is negative in half of all cases.
    """

    apply: Callable[[Image.Image, float], Image.Image]
    least: float = 0.0
    most: float = 0.0
    signed: bool = False


def _affine(
    picture: Image.Image, *, shift: tuple[int, int] = (0, 0), shear: tuple[float, float] = (0.0, 0.0)
) -> Image.Image:
    """Return a picture moved by pixels, or sheared by tangents around its upper left corner."""
    turned: Image.Image = transforms.affine(
        picture,
        angle=0.0,
        translate=list(shift),
        scale=1.0,
        shear=[math.degrees(math.atan(tangent)) for tangent in shear],
        interpolation=InterpolationMode.BILINEAR,
        center=[0, 0] if any(shear) else None,
    )
    return turned


OPERATIONS: Mapping[str, Operation] = {
    "Identity": Operation(apply=lambda picture, _: picture),
    "ShearX": Operation(apply=lambda picture, much: _affine(picture, shear=(much, 0.0)), most=0.99, signed=True),
    "ShearY": Operation(apply=lambda picture, much: _affine(picture, shear=(0.0, much)), most=0.99, signed=True),
    "TranslateX": Operation(apply=lambda picture, px: _affine(picture, shift=(int(px), 0)), most=32, signed=True),
    "TranslateY": Operation(apply=lambda picture, px: _affine(picture, shift=(0, int(px))), most=32, signed=True),
    "Rotate": Operation(
        apply=lambda picture, degrees: transforms.rotate(picture, degrees, InterpolationMode.BILINEAR),
        most=135,
        signed=True,
    ),
    "Brightness": Operation(
        apply=lambda picture, much: transforms.adjust_brightness(picture, 1 + much), most=0.99, signed=True
    ),
    "Color": Operation(
        apply=lambda picture, much: transforms.adjust_saturation(picture, 1 + much), most=0.99, signed=True
    ),
    "Contrast": Operation(
        apply=lambda picture, much: transforms.adjust_contrast(picture, 1 + much), most=0.99, signed=True
    ),
    "Sharpness": Operation(
        apply=lambda picture, much: transforms.adjust_sharpness(picture, 1 + much), most=0.99, signed=True
    ),
    "Posterize": Operation(apply=lambda picture, bits: transforms.posterize(picture, round(bits)), least=8, most=2),
    "Solarize": Operation(apply=transforms.solarize, least=255, most=0),
    "AutoContrast": Operation(apply=lambda picture, _: transforms.autocontrast(picture)),
    "Equalize": Operation(apply=lambda picture, _: transforms.equalize(picture)),
}
"""The wide space of TrivialAugment (Müller & Hutter 2021, table 7), as torchvision's ``TrivialAugmentWide`` has it."""


def operated(picture: Image.Image, name: str, magnitude: int, *, negative: bool = False) -> Image.Image:
    """Return a picture after an operation at one of ``MAGNITUDES`` (0: the least), negative where that has a sense."""
    operation = OPERATIONS[name]
    much = float(torch.linspace(operation.least, operation.most, MAGNITUDES)[magnitude])  # rounded as torchvision's
    return operation.apply(picture, -much if negative and operation.signed else much)


def _trivial(picture: Image.Image, preprocessing: Preprocessing, chance: np.random.Generator) -> Pixels:
    """Return a picture cut and mirrored as a 'light' one, then changed by one operation."""
    cut = Image.fromarray(_cut(picture, preprocessing.image_size_px, chance))
    name = tuple(OPERATIONS)[chance.integers(len(OPERATIONS))]
    magnitude, negative = int(chance.integers(MAGNITUDES)), chance.random() < 0.5
    return np.array(operated(cut, name, magnitude, negative=negative))


# ── fastai ──────────────────────────────────────────────────────────────────────────────────────────

AFFINE_SHARE = LIGHTING_SHARE = 0.75
MOST_DEGREES, MOST_ZOOM, MOST_WARP, MOST_LIGHTING = 10.0, 1.1, 0.2, 0.2
CORNERS: Matrix = np.array([[-1.0, -1.0], [-1.0, 1.0], [1.0, -1.0], [1.0, 1.0]])


@dataclass(frozen=True, kw_only=True)
class Augmented:
    """What fastai's ``aug_transforms`` draws for one picture; the defaults change nothing.

    ``zoom_at`` is the centre of the zoom (0..1, 0..1), ``warp`` the tilt across and down. ``brightness`` is the level
    (0..1) that middle grey is set to, ``contrast`` the factor on what is between grey and black or white.
    """

    mirrored: bool = False
    degrees: float = 0.0
    zoom: float = 1.0
    zoom_at: tuple[float, float] = (0.5, 0.5)
    warp: tuple[float, float] = (0.0, 0.0)
    brightness: float = 0.5
    contrast: float = 1.0


def _drawn(chance: np.random.Generator) -> Augmented:
    def perhaps(share: float, least: float, most: float, neutral: float) -> float:
        value, is_on = chance.uniform(least, most), chance.random() < share
        return value if is_on else neutral

    steepest = -math.log(1 - MOST_LIGHTING)
    return Augmented(
        mirrored=chance.random() < MIRRORED_SHARE,
        degrees=perhaps(AFFINE_SHARE, -MOST_DEGREES, MOST_DEGREES, 0.0),
        zoom=perhaps(AFFINE_SHARE, 1.0, MOST_ZOOM, 1.0),
        zoom_at=(chance.random(), chance.random()),
        warp=(perhaps(AFFINE_SHARE, -MOST_WARP, MOST_WARP, 0.0), perhaps(AFFINE_SHARE, -MOST_WARP, MOST_WARP, 0.0)),
        brightness=perhaps(LIGHTING_SHARE, 0.5 * (1 - MOST_LIGHTING), 0.5 * (1 + MOST_LIGHTING), 0.5),
        contrast=math.exp(perhaps(LIGHTING_SHARE, -steepest, steepest, 0.0)),
    )


def _fastai(picture: Image.Image, preprocessing: Preprocessing, chance: np.random.Generator) -> Pixels:
    """Return what deployment sees, but turned, zoomed, tilted and lit at random.

    It is resized to more than the view's side first, as fastai recommends ("presizing"): what is resampled twice at the
    same size is blurred.
    """
    size = preprocessing.image_size_px
    box = image.centre_box(picture.width, picture.height, preprocessing.crop_fraction)
    return augmented(image.resize(picture, box, round(size * DECODED_SCALE)), size, _drawn(chance))


def augmented(pixels: Pixels, size_px: int, drawn: Augmented) -> Pixels:
    """Return square pixels as fastai's ``aug_transforms(size=size_px)`` makes them: uint8 (S, S, 3).

    There may be up to twice as many across as are asked for; of more, fastai would take means first. Follows
    ``fastai.vision.augment``: one bilinear resampling for the whole geometry, what is beyond the edges reflected, then
    light and contrast in the space of logits.
    """
    side = len(pixels)
    source = _from_unit(side) @ _tilt(drawn.warp) @ _turn(drawn) @ np.linalg.inv(_from_unit(size_px))
    margin = _overshoot_px(source, size_px, side)
    source = np.array([[1, 0, margin], [0, 1, margin], [0, 0, 1]]) @ source
    reflected = np.pad(pixels, ((margin, margin), (margin, margin), (0, 0)), mode="reflect")
    resampled = Image.fromarray(reflected).transform(
        (size_px, size_px),
        Image.Transform.PERSPECTIVE,
        (source / source[2, 2]).ravel()[:8].tolist(),
        Image.Resampling.BILINEAR,
    )
    return np.array(resampled.point(_lit_levels(drawn.brightness, drawn.contrast) * 3))


def _from_unit(side_px: int) -> Matrix:
    """Return the map from -1..1, the centres of the outermost pixels, to Pillow's coordinates."""
    half = max(side_px - 1, 1) / 2
    return np.array([[half, 0, half + 0.5], [0, half, half + 0.5], [0, 0, 1]])


def _turn(drawn: Augmented) -> Matrix:
    """Return mirroring, rotation and zoom as one map from where pixels come to be to where they are taken from."""
    angle, step = math.radians(drawn.degrees), 1 / drawn.zoom
    across, down = ((1 - step) * (2 * centre - 1) for centre in drawn.zoom_at)
    sine, cosine = math.sin(angle), math.cos(angle)
    rotated = np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]])
    zoomed = np.array([[step, 0, across], [0, step, down], [0, 0, 1]])
    mirrored = np.diag([-1.0 if drawn.mirrored else 1.0, 1.0, 1.0])
    return np.array(mirrored @ rotated @ zoomed)


def _tilt(warp: tuple[float, float]) -> Matrix:
    """Return the perspective that maps tilted corners to those of the square: eight equations for eight unknowns."""
    across, down = warp
    tilted = CORNERS - CORNERS.prod(axis=1, keepdims=True) * (down, across)
    rows = []
    for (x, y), (u, v) in zip(tilted, CORNERS, strict=True):
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
    unknown = np.linalg.solve(np.array(rows), CORNERS.ravel())
    return np.append(unknown, 1.0).reshape(3, 3).astype(np.float64)


def _overshoot_px(source: Matrix, size_px: int, side_px: int) -> int:
    """Return by how much what is taken reaches beyond the pixels; a perspective is farthest out in its corners."""
    ends = (0.5, size_px - 0.5)
    corners = source @ np.array([[x, y, 1] for x in ends for y in ends]).T
    reached = corners[:2] / corners[2]
    return math.ceil(max(-float(reached.min()), float(reached.max()) - side_px, 0)) + 1


def _lit_levels(brightness: float, contrast: float) -> list[int]:
    """Return what each level from 0 to 255 becomes."""
    level = np.clip(np.arange(256) / 255, 1e-7, 1 - 1e-7)
    logits = (np.log(level / (1 - level)) + math.log(brightness / (1 - brightness))) * contrast
    lit: list[int] = np.round(255 / (1 + np.exp(-logits))).astype(int).tolist()
    return lit


# ── all of them ─────────────────────────────────────────────────────────────────────────────────────

_CUT_RULES = f"crop {CROP_SCALE} {CROP_RATIO}, mirrored {MIRRORED_SHARE}"
_RULES: Mapping[Augmentation, str] = {
    "none": "as deployed, 1",
    "light": f"{_CUT_RULES}, light {LIGHT}, 1",
    "trivial": f"{_CUT_RULES}, one of {', '.join(OPERATIONS)} in {MAGNITUDES} magnitudes, 1",
    "fastai": f"mirrored {MIRRORED_SHARE}, affine {AFFINE_SHARE} {MOST_DEGREES} {MOST_ZOOM} {MOST_WARP}, "
    f"lighting {LIGHTING_SHARE} {MOST_LIGHTING}, from {DECODED_SCALE}, 1",
}
_POLICIES: Mapping[Augmentation, Callable[[Image.Image, Preprocessing, np.random.Generator], Pixels]] = {
    "light": _light,
    "trivial": _trivial,
    "fastai": _fastai,
}
