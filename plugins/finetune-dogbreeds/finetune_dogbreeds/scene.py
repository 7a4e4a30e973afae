"""Where a picture is taken; lengths are shares of its height, y upwards from the horizon."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from random import Random

from PIL import Image, ImageFilter

from finetune_dogbreeds.breeds import Colour
from finetune_dogbreeds.canvas import FINER, Brush
from finetune_dogbreeds.coat import mix, vary
from finetune_dogbreeds.geometry import Disc, Frame

_HOUSES: tuple[Colour, ...] = ((176, 112, 88), (202, 182, 150), (150, 150, 156), (190, 160, 120))
_WALLPAPERS: tuple[Colour, ...] = ((206, 196, 176), (162, 180, 186), (196, 166, 150), (176, 190, 160))
_VIEWS: tuple[Colour, ...] = ((150, 190, 220), (120, 150, 110), (210, 190, 140))
_RUGS: tuple[Colour, ...] = ((150, 70, 66), (70, 96, 126), (190, 176, 150), (96, 120, 92))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scene:
    """A place: its ``background`` without the dog, ``horizon`` in pixels from the top."""

    background: Image.Image
    horizon: float


class _Place:
    """A sheet to paint a place on: (0, 0) is the left end of the horizon, heights are 1."""

    def __init__(self, size: tuple[int, int], random: Random) -> None:
        self.random = random
        self.horizon = random.uniform(0.42, 0.66)
        self.width, height = FINER * size[0], FINER * size[1]
        self.wide = self.width / height
        self.image = Image.new("RGB", (self.width, height))
        self.brush = Brush(self.image, Frame(0, self.horizon * height, height))

    def fade(self, top: Colour, bottom: Colour, low: float, high: float) -> None:
        """Fill the band between two heights with a fade."""
        steps = 16
        for i in range(steps):
            y = high + (low - high) * i / steps
            self.box(0, low, self.wide, y, mix(top, bottom, i / (steps - 1)))

    def box(self, left: float, low: float, right: float, high: float, fill: Colour) -> None:
        """Draw an upright rectangle."""
        self.brush.polygon([(left, low), (right, low), (right, high), (left, high)], fill)

    def sky(self, top: Colour, bottom: Colour) -> None:
        """Fill everything above the horizon."""
        self.fade(top, bottom, 0.0, self.horizon)

    def ground(self, far: Colour, near: Colour) -> None:
        """Fill everything below the horizon."""
        self.fade(far, near, self.horizon - 1, 0.0)

    def hills(self, colour: Colour, high: float) -> None:
        """Draw rolling ground along the horizon."""
        for _ in range(4):
            x, r = self.random.uniform(0, self.wide), self.random.uniform(0.25, 0.6)
            self.brush.disc(Disc(x, high * r * 0.3 - 0.3 * r, r), vary(colour, self.random), 0.4)

    def joints(self, colour: Colour, start: float) -> None:
        """Draw the joints of planks or paving, running towards the viewer from the height ``start``."""
        for i in range(10):
            self.brush.line([(self.wide * i / 9, start), (self.wide * (i / 5 - 0.4), -0.7)], 0.006, colour)

    def speckle(self, colour: Colour, count: int, radius: float) -> None:
        """Strew small flat spots over the ground, larger towards the viewer."""
        for _ in range(count):
            near = self.random.random()
            at = Disc(self.random.uniform(0, self.wide), -near * (1 - self.horizon), radius * (0.3 + near))
            self.brush.disc(at, vary(colour, self.random, 16), 0.4)


def _meadow(sheet: _Place) -> None:
    random = sheet.random
    green = vary((112, 146, 66), random, 18)
    sheet.sky(vary((126, 172, 214), random, 20), vary((206, 222, 226), random))
    sheet.hills(mix(green, (90, 120, 110), 0.4), random.uniform(0.3, 0.9))
    sheet.ground(mix(green, (200, 200, 120), 0.25), mix(green, (40, 70, 20), 0.2))
    sheet.speckle(mix(green, (60, 90, 30), 0.5), 90, 0.02)
    sheet.speckle(random.choice(((236, 220, 90), (240, 240, 240), (214, 120, 150))), random.randrange(30), 0.009)


def _beach(sheet: _Place) -> None:
    random = sheet.random
    sand = vary((216, 192, 146), random, 14)
    sheet.sky(vary((110, 170, 218), random, 20), (214, 228, 232))
    sheet.fade(vary((58, 122, 160), random, 20), (140, 188, 190), -0.12, 0.0)
    sheet.fade((236, 238, 234), sand, -0.15, -0.12)
    sheet.fade(mix(sand, (130, 110, 80), 0.3), sand, sheet.horizon - 1, -0.15)
    sheet.speckle(mix(sand, (120, 96, 66), 0.4), 70, 0.014)


def _street(sheet: _Place) -> None:
    random = sheet.random
    stone = vary((138, 134, 130), random, 18)
    sheet.sky((176, 190, 202), (214, 218, 220))
    x = -random.uniform(0, 0.3)
    while x < sheet.wide:
        wide, wall = random.uniform(0.3, 0.55), vary(random.choice(_HOUSES), random)
        sheet.box(x, -0.02, x + wide, random.uniform(0.4, 0.8), wall)
        for column in range(3):
            at = x + wide * (0.12 + 0.3 * column)
            sheet.box(at, 0.14, at + 0.16 * wide, 0.3, random.choice(((66, 78, 92), (190, 186, 150), (90, 100, 110))))
        x += wide
    sheet.ground(mix(stone, (90, 90, 90), 0.3), stone)
    sheet.box(0, -0.1, sheet.wide, -0.075, mix(stone, (240, 240, 235), 0.5))
    sheet.joints(mix(stone, (70, 70, 70), 0.5), -0.1)


def _room(sheet: _Place) -> None:
    random = sheet.random
    wall = vary(random.choice(_WALLPAPERS), random)
    floor = vary((150, 108, 70), random, 22)
    sheet.sky(wall, mix(wall, (90, 80, 70), 0.15))
    sheet.ground(mix(floor, (60, 40, 26), 0.25), floor)
    sheet.joints(mix(floor, (40, 26, 16), 0.5), 0.0)
    sheet.box(0, 0, sheet.wide, 0.035, mix(wall, (250, 250, 250), 0.6))
    left, low = random.uniform(0.05, 0.6), random.uniform(0.16, 0.24)
    sheet.box(left - 0.02, low - 0.02, left + 0.4, low + 0.32, mix(wall, (250, 250, 250), 0.7))
    sheet.box(left, low, left + 0.38, low + 0.3, vary(random.choice(_VIEWS), random))
    rug = Disc(random.uniform(0.3, 0.8), -0.3, random.uniform(0.4, 0.6))
    sheet.brush.disc(rug, vary(random.choice(_RUGS), random), 0.34)


def _snow(sheet: _Place) -> None:
    random = sheet.random
    snow = vary((226, 232, 238), random, 10)
    sheet.sky(vary((160, 182, 206), random, 22), (222, 226, 230))
    _firs(sheet, (66, 88, 82), random.randrange(4, 9))
    sheet.ground(mix(snow, (170, 186, 206), 0.4), snow)
    sheet.speckle(mix(snow, (180, 194, 214), 0.6), 50, 0.035)


def _forest(sheet: _Place) -> None:
    random = sheet.random
    soil = vary((108, 92, 58), random, 16)
    sheet.sky(vary((92, 120, 84), random, 18), (150, 166, 120))
    for _ in range(random.randrange(7, 13)):
        x, thick = random.uniform(0, sheet.wide), random.uniform(0.02, 0.06)
        sheet.box(x, -0.03, x + thick, 1.0, vary((78, 62, 48), random, 16))
    sheet.ground(mix(soil, (80, 110, 50), 0.5), soil)
    sheet.speckle(vary((150, 102, 50), random), 70, 0.02)
    sheet.speckle((88, 112, 52), 40, 0.022)


def _autumn(sheet: _Place) -> None:
    random = sheet.random
    grass = vary((134, 134, 66), random, 14)
    sheet.sky(vary((190, 196, 200), random, 20), (226, 216, 196))
    for _ in range(10):
        x, r = random.uniform(0, sheet.wide), random.uniform(0.1, 0.22)
        crown = random.choice(((190, 110, 40), (206, 160, 60), (160, 76, 40), (120, 116, 50)))
        sheet.brush.disc(Disc(x, random.uniform(0.1, 0.3), r), vary(crown, random))
    sheet.ground(mix(grass, (180, 140, 70), 0.4), grass)
    sheet.speckle((190, 110, 44), 70, 0.018)


def _firs(sheet: _Place, colour: Colour, count: int) -> None:
    for _ in range(count):
        x, high = sheet.random.uniform(0, sheet.wide), sheet.random.uniform(0.16, 0.4)
        green = vary(colour, sheet.random)
        for level in range(3):
            low, half = 0.26 * high * level - 0.02, (0.26 - 0.06 * level) * high
            sheet.brush.polygon([(x - half, low), (x + half, low), (x, low + 0.5 * high)], green)


_PLACES: tuple[Callable[[_Place], None], ...] = (_meadow, _beach, _street, _room, _snow, _forest, _autumn)


def pick_scene(size: tuple[int, int], random: Random) -> Scene:
    """Return a place by chance, slightly out of focus, for a picture of ``size`` (width, height) pixels."""
    sheet = _Place(size, random)
    random.choice(_PLACES)(sheet)
    _things_behind(sheet)
    blurred = sheet.image.reduce(FINER).filter(ImageFilter.GaussianBlur(random.uniform(0.3, 1.3)))
    return Scene(background=blurred, horizon=sheet.horizon * size[1])


def _things_behind(sheet: _Place) -> None:
    thing = sheet.random.choice((_bush, _fence, _post, None, None))
    if thing is not None:
        thing(sheet)


def _bush(sheet: _Place) -> None:
    random = sheet.random
    x, colour = random.uniform(0, sheet.wide), vary((66, 98, 52), random, 20)
    for _ in range(26):
        at = Disc(x + random.gauss(0, 0.1), abs(random.gauss(0, 0.08)) - 0.03, random.uniform(0.03, 0.06))
        sheet.brush.disc(at, vary(colour, random, 18))


def _fence(sheet: _Place) -> None:
    random = sheet.random
    wood, high = vary((150, 120, 88), random, 24), random.uniform(0.12, 0.22)
    for i in range(9):
        x = sheet.wide * i / 8
        sheet.box(x - 0.012, -0.04, x + 0.012, high, wood)
    for level in (0.35, 0.8):
        sheet.box(0, level * high, sheet.wide, level * high + 0.025, vary(wood, random, 8))


def _post(sheet: _Place) -> None:
    random = sheet.random
    x, colour = random.uniform(0, sheet.wide), vary((84, 80, 78), random, 20)
    sheet.box(x, -0.05, x + 0.025, random.uniform(0.3, 0.6), colour)
