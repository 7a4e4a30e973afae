"""Things that lie in front of the dog; lengths are shares of the picture's height, y upwards from its lower edge."""

from __future__ import annotations

from random import Random

from finetune_dogbreeds.canvas import FINER, Canvas, Layer
from finetune_dogbreeds.coat import mix, vary
from finetune_dogbreeds.geometry import Disc, Frame


def clutter(canvas: Canvas, random: Random) -> None:
    """Lay things in front: a ball, a bowl, a bone, grass; sometimes nothing."""
    width, height = canvas.size
    frame = Frame(0, FINER * height, FINER * height)
    layer = Layer(canvas.size, frame)
    for thing in random.sample((_ball, _bowl, _bone, _grass, _grass), random.choice((0, 1, 1, 2))):
        thing(layer, random.uniform(0.05, 0.95) * width / height, random)
    canvas.lay(layer, 0.45)


def _ball(layer: Layer, x: float, random: Random) -> None:
    colour = random.choice(((196, 60, 52), (60, 110, 180), (214, 190, 60), (150, 190, 70), (220, 130, 50)))
    at = Disc(x, random.uniform(0.05, 0.12), random.uniform(0.035, 0.06))
    layer.disc(at, vary(colour, random))
    layer.line([(at.x - at.r, at.y), (at.x, at.y + 0.3 * at.r), (at.x + at.r, at.y)], 0.01, (236, 232, 226))


def _bowl(layer: Layer, x: float, random: Random) -> None:
    colour = vary(random.choice(((80, 120, 170), (180, 70, 70), (190, 190, 194))), random)
    low = random.uniform(0.02, 0.06)
    layer.polygon([(x - 0.11, low), (x + 0.11, low), (x + 0.085, low + 0.07), (x - 0.085, low + 0.07)], colour)
    layer.disc(Disc(x, low + 0.07, 0.085), mix(colour, (40, 30, 26), 0.6), 0.25)


def _bone(layer: Layer, x: float, random: Random) -> None:
    y, tilt = random.uniform(0.04, 0.1), random.uniform(-0.03, 0.03)
    layer.line([(x - 0.05, y - tilt), (x + 0.05, y + tilt)], 0.022, (232, 224, 204))
    for side in (-1, 1):
        for up in (-0.012, 0.012):
            layer.disc(Disc(x + 0.055 * side, y + tilt * side + up, 0.017), (232, 224, 204))


def _grass(layer: Layer, x: float, random: Random) -> None:
    green = vary((88, 104, 52), random, 16)
    for _ in range(14):
        foot, high = x + random.gauss(0, 0.06), random.uniform(0.05, 0.16)
        tip = (foot + random.uniform(-0.05, 0.05), high)
        layer.polygon([(foot - 0.006, -0.01), (foot + 0.006, -0.01), tip], vary(green, random))
