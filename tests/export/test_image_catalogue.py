"""The catalogue of odd pictures, I01 to I52: what each file is, and what becomes of it.

Every file is read with the limits of training and the command line, and with those of a service. A verdict is
accepted, accepted with notes, or refused with a reason.
"""

from __future__ import annotations

import io
import os
import random
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from finetune_export import image
from finetune_export.errors import ImageError
from finetune_export.image import Limits

LIMITS = {"default": Limits(), "service": Limits(max_bytes=10 * 2**20, max_pixels=25_000_000)}
SIZE = (40, 30)


# ── the files ───────────────────────────────────────────────────────────────────────────────────────


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = SIZE) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def picture(kind: str, mode: str = "RGB", size: tuple[int, int] = SIZE, **options: object) -> Callable[[], bytes]:
    return lambda: encoded(noise(mode, size), kind, **options)


def without(cut: int, kind: str) -> Callable[[], bytes]:
    return lambda: encoded(noise(), kind)[:-cut]


def half_a_jpeg() -> bytes:
    data = encoded(noise(), "JPEG")
    return data[: len(data) // 2]


def flipped_jpeg() -> bytes:
    data, draw = bytearray(encoded(noise(), "JPEG")), random.Random(5)
    for _ in range(200):
        data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    return bytes(data)


def with_orientation(value: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = value
    return encoded(noise(), "JPEG", exif=block)


def with_broken_exif() -> bytes:
    data, block = encoded(noise(), "JPEG"), b"Exif\0\0" + b"MM\0*\xff\xff\xff\xff"
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(block) + 2) + block + data[2:]


def bad_checksum() -> bytes:
    data = bytearray(encoded(noise(), "PNG"))
    data[-13] ^= 1  # the last byte of the pixels' checksum, in front of the 12 bytes of IEND
    return bytes(data)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def black(width: int, height: int, *more: bytes, rows: int | None = None) -> bytes:
    """Return a whole PNG of one bit a pixel, made row by row: kilobytes for hundreds of megapixels."""
    packer, row = zlib.compressobj(9), bytes(1 + (width + 7) // 8)
    pixels = b"".join(packer.compress(row) for _ in range(height if rows is None else rows)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0))
    return b"".join([b"\x89PNG\r\n\x1a\n", header, *more, chunk(b"IDAT", pixels), chunk(b"IEND", b"")])


def text_bomb() -> bytes:
    return black(8, 8, chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 9)))


def sixteen_bits() -> bytes:
    return encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG")


def frames(kind: str) -> Callable[[], bytes]:
    second = Image.new("RGB", SIZE, "red")
    return lambda: encoded(noise(), kind, save_all=True, append_images=[second], duration=100)


def symlink_to(target: str) -> Callable[[Path], object]:
    return lambda path: path.symlink_to(path.with_name(target))


# ── the verdicts ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Case:
    """A file and its verdict: refused with a reason, or accepted with notes; ``by_service`` where that one differs."""

    content: Callable[[], bytes] | None
    refused: str = ""
    notes: tuple[str, ...] = ()
    size: tuple[int, int] = SIZE
    by_service: str = ""
    name: str = "picture"
    place: Callable[[Path], object] | None = None

    def write(self, folder: Path) -> Path:
        path = folder / self.name
        if self.place:
            self.place(path)
        else:
            assert self.content
            path.write_bytes(self.content())
        return path

    def refusal(self, limits: str) -> str:
        return self.refused or (self.by_service if limits == "service" else "")


UNKNOWN = "not a picture in a known format; allowed are JPEG, PNG, WEBP, BMP, GIF"
DAMAGED = "the picture is cut off or damaged ("
TOO_MANY = " pixels; at most 25000000 are allowed altogether"
ANIMATED = ("animated: only its first frame is used",)
MISSING = "the file cannot be read (No such file or directory)"

CATALOGUE: dict[str, Case] = {
    "I01 empty": Case(lambda: b"", "the file is empty"),
    "I02 one byte": Case(lambda: b"\xff", UNKNOWN),
    "I03 text": Case(lambda: b"a cat\n" * 100, UNKNOWN),
    "I04 web page of a 404": Case(lambda: b"<!DOCTYPE html><title>404</title>", UNKNOWN, name="picture.jpg"),
    "I05 SVG with a script": Case(lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>x()</script>', UNKNOWN),
    "I06 PDF": Case(lambda: b"%PDF-1.7\n%%EOF", UNKNOWN),
    "I07 zip": Case(lambda: b"PK\x03\x04" + bytes(60), UNKNOWN),
    "I08 5 KB of random bytes": Case(lambda: random.Random(0).randbytes(5000), UNKNOWN),
    "I09 JPEG cut in half": Case(half_a_jpeg, DAMAGED),
    "I10 JPEG header only": Case(lambda: encoded(noise(), "JPEG")[:100], DAMAGED),
    "I11 JPEG without its last 2 bytes": Case(without(2, "JPEG"), DAMAGED),
    "I12 JPEG with 200 flipped bytes": Case(flipped_jpeg, DAMAGED),
    "I13 JPEG with PHP behind its end": Case(lambda: encoded(noise(), "JPEG") + b"<?php system('id'); ?>"),
    "I14 garbage as colour profile": Case(picture("JPEG", icc_profile=b"garbage" * 30)),
    **{f"I15 EXIF orientation {turn}": Case(partial(with_orientation, turn)) for turn in (1, 2, 3, 4)},
    **{f"I15 EXIF orientation {turn}": Case(partial(with_orientation, turn), size=(30, 40)) for turn in (5, 6, 7, 8)},
    "I16 EXIF orientation 99": Case(partial(with_orientation, 99)),
    "I17 malformed EXIF block": Case(with_broken_exif),
    "I18 PNG cut": Case(without(200, "PNG"), DAMAGED),
    "I19 PNG with a bad checksum": Case(bad_checksum, DAMAGED),
    "I20 PNG of 0 x 0": Case(lambda: black(0, 0), DAMAGED),
    "I21 PNG of 2^31 x 2^31": Case(
        lambda: black(2**31, 2**31, rows=0), "2147483648 x 2147483648 pixels; a side may have at most 32768"
    ),
    "I22 26 megapixels": Case(
        lambda: black(5_100, 5_100), size=(5_100, 5_100), by_service=f"5100 x 5100{TOO_MANY}"
    ),
    "I23 89 megapixels": Case(
        lambda: black(9_430, 9_430), size=(9_430, 9_430), by_service=f"9430 x 9430{TOO_MANY}"
    ),
    "I24 169 megapixels": Case(lambda: black(13_000, 13_000), "13000 x 13000 pixels; at most "),
    "I25 400 megapixels": Case(lambda: black(20_000, 20_000), "20000 x 20000 pixels; at most "),
    "I26 200 MB of text in a PNG": Case(text_bomb, DAMAGED),
    "I27 1 x 1": Case(picture("PNG", size=(1, 1)), notes=("tiny: 1 x 1 pixels",), size=(1, 1)),
    "I28 60000 x 1": Case(lambda: black(60_000, 1), "60000 x 1 pixels; a side may have at most 32768"),
    "I29 9 x 9": Case(picture("PNG", size=(9, 9)), notes=("tiny: 9 x 9 pixels",), size=(9, 9)),
    "I30 16-bit grey PNG": Case(sixteen_bits),
    "I31 TIFF of 32-bit integers": Case(picture("TIFF", "I"), UNKNOWN),
    "I31 TIFF of 32-bit floats": Case(picture("TIFF", "F"), UNKNOWN),
    "I32 1-bit PNG": Case(picture("PNG", "1")),
    "I33 grey PNG": Case(picture("PNG", "L")),
    "I34 grey PNG with alpha": Case(picture("PNG", "LA")),
    "I35 palette PNG": Case(picture("PNG", "P")),
    "I36 palette PNG with transparency": Case(picture("PNG", "P", transparency=0)),
    "I37 colour PNG with alpha": Case(picture("PNG", "RGBA")),
    "I38 CMYK JPEG": Case(picture("JPEG", "CMYK")),
    "I39 YCbCr TIFF": Case(picture("TIFF", "YCbCr"), UNKNOWN),
    "I40 LAB TIFF": Case(lambda: encoded(Image.new("LAB", SIZE), "TIFF"), UNKNOWN),
    "I41 RGBX TIFF": Case(picture("TIFF", "RGBX"), UNKNOWN),
    "I42 TIFF of many pages": Case(frames("TIFF"), UNKNOWN),
    "I43 animated GIF": Case(frames("GIF"), notes=ANIMATED),
    "I44 animated WebP": Case(frames("WEBP"), notes=ANIMATED),
    "I45 EPS named .jpg": Case(picture("EPS"), UNKNOWN, name="picture.jpg"),
    "I46 PNG named .jpg": Case(picture("PNG"), notes=("named .jpg, but its content is PNG",), name="picture.jpg"),
    "I47 ICO": Case(picture("ICO"), UNKNOWN),
    "I47 JPEG 2000": Case(picture("JPEG2000"), UNKNOWN),
    "I47 AVIF": Case(lambda: b"\0\0\0\x20ftypavif\0\0\0\0avifmif1miafMA1B" + bytes(200), UNKNOWN),
    "I48 BMP": Case(picture("BMP")),
    "I49 named pipe": Case(None, "not a regular file; a picture has to be one", place=os.mkfifo, name="pipe.jpg"),
    "I50 folder": Case(None, "not a regular file; a picture has to be one", place=Path.mkdir, name="folder.jpg"),
    "I51 dangling symlink": Case(None, MISSING, place=symlink_to("nowhere"), name="link.jpg"),
    "I51 looping symlink": Case(None, "(Too many levels of symbolic links)", place=symlink_to("link"), name="link"),
}  # fmt: skip

PRIVATE = "I52 without permission"  # a test of its own: it has to give up root's rights
BOMBS = [case for case in CATALOGUE if "I21" <= case[:3] <= "I26"]


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning")  # Pillow's word on I17
@pytest.mark.parametrize("limits", LIMITS)
@pytest.mark.parametrize("case", CATALOGUE)
def test_the_catalogue_has_its_verdicts(case: str, limits: str, tmp_path: Path) -> None:
    path = CATALOGUE[case].write(tmp_path)
    if reason := CATALOGUE[case].refusal(limits):
        with pytest.raises(ImageError) as refused:
            image.load(path, LIMITS[limits])
        assert refused.value.exit_code == 3
        assert reason in refused.value.reason
        assert str(refused.value) == f"{path}: {refused.value.reason}"
        assert "\n" not in str(refused.value)
    else:
        loaded = image.load(path, LIMITS[limits])
        assert loaded.notes == CATALOGUE[case].notes
        assert (loaded.image.mode, loaded.image.size) == ("RGB", CATALOGUE[case].size)


def test_the_catalogue_has_every_number() -> None:
    assert {case.split()[0] for case in (*CATALOGUE, PRIVATE)} == {f"I{number:02}" for number in range(1, 53)}


@contextmanager
def without_roots_rights() -> Iterator[None]:
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)  # nobody: root may read every file
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)  # the folders above are closed to nobody, too
    tmp_path.chmod(0o755)
    for name, mode in ("private.png", 0o000), ("public.png", 0o644):
        Path(name).write_bytes(encoded(noise(), "PNG"))
        Path(name).chmod(mode)
    with without_roots_rights():
        assert image.load("public.png").image.size == SIZE
        with pytest.raises(ImageError, match=r"^private\.png: the file cannot be read \(Permission denied\)$"):
            image.load("private.png")


MEASURE = """
import resource, sys
from finetune_export import image
from finetune_export.errors import ImageError

def peak_kib():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

before = peak_kib()
for path in sys.argv[1:]:
    try:
        image.load(path, image.Limits(max_bytes=10 * 2**20, max_pixels=25_000_000))
    except ImageError:
        continue
    sys.exit(path)
print(peak_kib() - before)
"""


def test_bombs_are_refused_before_they_are_decoded(tmp_path: Path) -> None:
    """The smallest of them would take 26 MB as grey and 78 MB as colour, the largest 400 and 1,200."""
    paths = []
    for case in BOMBS:
        (tmp_path / case[:3]).mkdir()
        paths.append(str(CATALOGUE[case].write(tmp_path / case[:3])))
    done = subprocess.run([sys.executable, "-c", MEASURE, *paths], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(paths) == 6
    assert int(done.stdout) < 16 * 1024
