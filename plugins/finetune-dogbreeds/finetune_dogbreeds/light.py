"""The light of a picture, and the camera that takes it."""

from __future__ import annotations

import math
from random import Random

import numpy as np
from PIL import Image

from finetune_dogbreeds.canvas import Canvas, soften


def pick_light(random: Random) -> tuple[float, float]:
    """Return where the light comes from by chance: right and down, in pixels; always from above."""
    return random.uniform(-0.6, 0.6), -random.uniform(0.6, 1.0)


def photograph(canvas: Canvas, random: Random) -> Image.Image:
    """Return the finished picture, RGB: exposure, warmth, a fall-off of light across it, and a camera's noise."""
    width, height = canvas.size
    warm, exposure = random.uniform(-0.07, 0.07), random.uniform(0.8, 1.12)
    gains = np.array([exposure * (1 + warm), exposure, exposure * (1 - warm)], np.float32)
    turn, depth = random.uniform(0, 2 * math.pi), random.uniform(0.0, 0.25)
    rows, columns = np.mgrid[-0.5 : 0.5 : height * 1j, -0.5 : 0.5 : width * 1j].astype(np.float32)
    fall = 1 + depth * (math.cos(turn) * columns + math.sin(turn) * rows)
    noise = canvas.noise.standard_normal((height, width, 1), np.float32) * random.uniform(1.0, 4.5)
    dapple = 1 + random.choice((0.0, 0.0, 0.12)) * soften(canvas.grain(12, 12, 1.0), 4)
    lit = canvas.pixels * gains * (fall * dapple)[..., None] + noise
    return Image.fromarray(np.clip(lit + 0.5, 0, 255).astype(np.uint8))
