"""Paper and paint: layers drawn with Pillow at twice the size, lit and laid over each other with numpy."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from finetune_dogbreeds.geometry import Chain, Disc, Frame, smooth

Fill = int | tuple[int, int, int]
Plane = NDArray[np.float32]
"""One value per pixel, float32 (H, W)."""

FINER = 2
"""Layers are drawn this many times larger and reduced, which smooths their edges."""


class Brush:
    """Draws shapes of the plane on one Pillow image, through a frame."""

    def __init__(self, image: Image.Image, frame: Frame) -> None:
        self.image = image
        self.frame = frame
        self._draw = ImageDraw.Draw(image)

    def disc(self, disc: Disc, fill: Fill, flat: float = 1.0) -> None:
        """Draw a filled circle, or an ellipse ``flat`` times as high as wide."""
        x, y = self.frame.point(disc.x, disc.y)
        rx, ry = disc.r * self.frame.scale, disc.r * flat * self.frame.scale
        self._draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill)

    def limb(self, chain: Chain, fill: Fill) -> None:
        """Draw a chain of discs as one smooth limb."""
        discs = smooth(chain) if len(chain) > 1 else chain
        for a, b in zip(discs, (*discs[1:], discs[-1]), strict=True):
            self.disc(a, fill)
            if abs(b.x - a.x) + abs(b.y - a.y) > 0.3 * a.r:
                self._link(a, b, fill)

    def _link(self, a: Disc, b: Disc, fill: Fill) -> None:
        length = math.hypot(b.x - a.x, b.y - a.y) or 1.0
        nx, ny = (a.y - b.y) / length, (b.x - a.x) / length
        corners = ((a, 1), (b, 1), (b, -1), (a, -1))
        self.polygon([(d.x + side * nx * d.r, d.y + side * ny * d.r) for d, side in corners], fill)

    def polygon(self, points: list[tuple[float, float]], fill: Fill) -> None:
        """Draw a filled polygon."""
        self._draw.polygon([self.frame.point(x, y) for x, y in points], fill=fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: Fill) -> None:
        """Draw a line, its width in units of the plane, at least one pixel."""
        pixels = [self.frame.point(x, y) for x, y in points]
        self._draw.line(pixels, fill=fill, width=max(1, round(width * self.frame.scale)), joint="curve")

    def tufts(self, chain: Chain, length: float, random: Random) -> None:
        """Let hair stand off a limb, outwards and hanging, tufts of about ``length``; for masks."""
        for disc in smooth(chain, 5):
            for _ in range(3):
                angle = random.uniform(0, 2 * math.pi)
                self._tuft(disc, angle, length * random.uniform(0.5, 1.3) * (0.75 - 0.45 * math.sin(angle)))

    def _tuft(self, disc: Disc, angle: float, length: float) -> None:
        def rim(turn: float, share: float) -> tuple[float, float]:
            return disc.x + share * disc.r * math.cos(angle + turn), disc.y + share * disc.r * math.sin(angle + turn)

        x, y = rim(0.0, 1.0)
        tip = (x + 0.8 * length * math.cos(angle) - 0.25 * length, y + 0.6 * length * math.sin(angle) - 0.6 * length)
        self.polygon([rim(0.45, 0.9), tip, rim(-0.45, 0.9)], 255)

    def curls(self, chain: Chain, radius: float, random: Random) -> None:
        """Edge a limb with curls of about ``radius``; for masks."""
        for disc in smooth(chain, 5):
            for _ in range(5):
                angle = random.uniform(0, 2 * math.pi)
                x, y = disc.x + disc.r * math.cos(angle), disc.y + disc.r * math.sin(angle)
                self.disc(Disc(x, y, radius * random.uniform(0.6, 1.2)), 255)


class Layer:
    """A mask and the colours under it; what is not in the mask stays transparent."""

    def __init__(self, size: tuple[int, int], frame: Frame, colour: tuple[int, int, int] | Brush = (0, 0, 0)) -> None:
        """Start an empty layer of one colour, or under which something was painted already."""
        finer = (size[0] * FINER, size[1] * FINER)
        self.mask = Brush(Image.new("L", finer), frame)
        self.colour = colour if isinstance(colour, Brush) else Brush(Image.new("RGB", finer, colour), frame)

    def limb(self, chain: Chain, fill: tuple[int, int, int]) -> None:
        """Draw a limb in mask and colour."""
        self.mask.limb(chain, 255)
        self.colour.limb(chain, fill)

    def disc(self, disc: Disc, fill: tuple[int, int, int], flat: float = 1.0) -> None:
        """Draw a disc in mask and colour."""
        self.mask.disc(disc, 255, flat)
        self.colour.disc(disc, fill, flat)

    def polygon(self, points: list[tuple[float, float]], fill: tuple[int, int, int]) -> None:
        """Draw a polygon in mask and colour."""
        self.mask.polygon(points, 255)
        self.colour.polygon(points, fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: tuple[int, int, int]) -> None:
        """Draw a line in mask and colour."""
        self.mask.line(points, width, 255)
        self.colour.line(points, width, fill)

    def box(self) -> tuple[int, int, int, int] | None:
        """Return what the mask covers, in pixels of the picture (left, top, right, bottom); None: nothing."""
        box = self.mask.image.getbbox()
        if box is None:
            return None
        return box[0] // FINER, box[1] // FINER, -(-box[2] // FINER), -(-box[3] // FINER)

    def planes(self, box: tuple[int, int, int, int]) -> tuple[Plane, Plane]:
        """Return mask (H, W; 0..1) and colour (H, W, 3; 0..255) inside the box, at the picture's size."""
        left, top, right, bottom = (FINER * edge for edge in box)
        mask, colour = (brush.image.reduce(FINER, (left, top, right, bottom)) for brush in (self.mask, self.colour))
        return np.asarray(mask, np.float32) / np.float32(255), np.asarray(colour, np.float32)


class Canvas:
    """The picture while it is painted: float32 (H, W, 3), 0..255, lit from ``light`` (pixels count downwards)."""

    def __init__(self, background: Image.Image, light: tuple[float, float], noise: np.random.Generator) -> None:
        self.pixels = np.array(background, np.float32)
        self.size = (self.pixels.shape[1], self.pixels.shape[0])
        self.light = light
        self.noise = noise

    def lay(self, layer: Layer, relief: float = 0.0, texture: Plane | None = None, shade: float = 1.0) -> None:
        """Lay a layer over the picture, rounded by ``relief``, grained by ``texture`` (about 0), times ``shade``."""
        if (box := layer.box()) is None:
            return
        mask, colour = layer.planes(box)
        lit = shade * (1 + relief * self._slope(mask).clip(-0.8, 1.0)) if relief else np.full_like(mask, shade)
        window = (slice(box[1], box[3]), slice(box[0], box[2]))
        if texture is not None:
            # Relative on pale coats, and still visible on black ones.
            colour = colour + (colour + 40) * texture[window][..., None]
        under = self.pixels[window]
        under += mask[..., None] * (colour * lit[..., None] - under)

    def darken(self, brush: Brush, by: float, blur: float) -> None:
        """Darken what a mask covers, softly: a shadow on the ground."""
        mask = soften(np.asarray(brush.image.reduce(FINER), np.float32) / np.float32(255), blur)
        self.pixels *= (1 - by * mask)[..., None]

    def _slope(self, mask: Plane) -> Plane:
        """Return how much each pixel of a rounded body turns towards the light, about -1..1."""
        total = np.zeros_like(mask)
        for radius, weight in ((min(self.size) / 12, 2.5), (min(self.size) / 40, 1.1)):
            # The margin lets the edges of the window count as edges of the body.
            margin = math.ceil(1.5 * radius)
            soft = soften(np.pad(mask, margin), radius)
            inner = slice(margin, -margin)
            right = soft[inner, margin + 1 : 1 - margin or None] - soft[inner, margin - 1 : -1 - margin]
            down = soft[margin + 1 : 1 - margin or None, inner] - soft[margin - 1 : -1 - margin, inner]
            total -= weight * radius / 2 * (right * self.light[0] + down * self.light[1])
        return total

    def grain(self, across: float, along: float, strength: float) -> Plane:
        """Return smooth random values whose spots are ``across`` by ``along`` pixels."""
        width, height = self.size
        small = self.noise.standard_normal((round(height / along) + 1, round(width / across) + 1), np.float32)
        grown = Image.fromarray(small).resize(self.size, Image.Resampling.BICUBIC)
        return np.float32(strength) * np.asarray(grown, np.float32)


def soften(plane: Plane, radius: float) -> Plane:
    """Return the plane blurred over about ``radius`` pixels, in float precision."""
    height, width = plane.shape
    small = (max(2, round(width / radius)), max(2, round(height / radius)))
    image = Image.fromarray(plane).resize(small, Image.Resampling.HAMMING)
    return np.asarray(image.resize((width, height), Image.Resampling.BICUBIC), np.float32)
