"""One picture of a dog, from its number: everything in it follows from (seed, breed, index)."""

from __future__ import annotations

import hashlib
import io
from random import Random

import numpy as np
from PIL import Image

from finetune_dogbreeds.breeds import Breed
from finetune_dogbreeds.canvas import FINER, Canvas
from finetune_dogbreeds.clutter import clutter
from finetune_dogbreeds.drawing import Dog, draw_dog, fit
from finetune_dogbreeds.light import photograph, pick_light
from finetune_dogbreeds.scene import pick_scene

JPEG_QUALITY = 88


def draw(breed: Breed, index: int, seed: int) -> Image.Image:
    """Return picture ``index`` of a breed or a kind, RGB, about 136 × 128 pixels: the same one on every call."""
    random = _random(breed, index, seed)
    size = 132 + random.randrange(-8, 17), 128 + random.randrange(-8, 9)
    scene = pick_scene(size, random)
    canvas = Canvas(scene.background, pick_light(random), np.random.Generator(np.random.PCG64(random.getrandbits(128))))
    canvas.pixels *= (1 + canvas.grain(1.5, 1.5, 0.02))[..., None]
    dog = Dog.pick(breed, random)
    draw_dog(canvas, fit(dog, size, random, scene.horizon).times(FINER), dog, random)
    clutter(canvas, random)
    picture = photograph(canvas, random)
    return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else picture


def jpeg(picture: Image.Image) -> bytes:
    """Return the picture as a JPEG file."""
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=JPEG_QUALITY)
    return file.getvalue()


def _random(breed: Breed, index: int, seed: int) -> Random:
    # Python's own hash() of text differs from process to process.
    return Random(int.from_bytes(hashlib.sha256(f"{seed}/{breed.name}/{index}".encode()).digest()))
