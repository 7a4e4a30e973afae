"""One block of each kind, with names of many scripts and some that would be markup."""

from __future__ import annotations

import io

from PIL import Image

from finetune.types import Confusion, Figure, Gallery, Paragraph, Picture, PictureMap, Point, Table

from .conftest import HOSTILE, png

CHINESE = "非常长的中文类别名称用来测试表头是否会被截断" * 2
ARABIC = "اسم عربي طويل جدا لاختبار رؤوس الأعمدة كلها"
SCRIPT = "</script><script>alert(1)</script>"
NAMES = ("ant 10", "ant 9", CHINESE, ARABIC, HOSTILE, SCRIPT)
COUNTS = tuple(tuple(9 if row == column else (row * 5 + column) % 4 for column in range(6)) for row in range(6))


def jpeg(side_px: int = 24) -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (side_px, side_px), "olive").save(picture, format="jpeg")
    return picture.getvalue()


def picture(name: str = "a bee", image: bytes | None = None) -> Picture:
    return Picture(image=jpeg() if image is None else image, alt=name, lines=(f"is {name}",))


def point(x: float, y: float, group: str = "bees", *, stands_out: bool = False) -> Point:
    return Point(x=x, y=y, group=group, picture=picture(f"at {x} {y}"), stands_out=stands_out)


SCORES = Table(
    ("label", "pictures", "recall"),
    ((NAMES[0], "1,000", "9.5%"), (NAMES[1], "20", "–"), (HOSTILE, "3", "80.0%"), (ARABIC, "20", "10.5%")),
    "Each label",
)
FIGURE = Figure(png(1200), "A curve that falls", png(800))
GALLERY = Gallery(
    (
        picture(HOSTILE),
        Picture(image=None, alt="a picture that was moved", lines=("its line",)),
        Picture(image=jpeg(), overlay=jpeg(), alt="a bee"),
    ),
    "The worst",
)
CONFUSION = Confusion(NAMES, COUNTS, "What is taken for what")
MAP = PictureMap((point(0, 0), point(1, 0, SCRIPT), point(0, 1), point(1, 1, "ants", stands_out=True)), "All of them")
ALL = (Paragraph("It works."), SCORES, FIGURE, GALLERY, CONFUSION, MAP)
