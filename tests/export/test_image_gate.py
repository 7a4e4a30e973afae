"""The catalogue of odd picture files: what each is, and whether it is accepted, accepted with a note, or refused."""

from __future__ import annotations

import io
import os
import random
import struct
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin

from finetune_export import image
from finetune_export.errors import FinetuneError, ImageError
from finetune_export.image import Limits

ANIMATED = "animated: only its first frame is used"


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


def noise(mode: str = "RGB", size: tuple[int, int] = (40, 30)) -> Image.Image:
    pixels = np.random.default_rng(1).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def jpeg(**options: object) -> bytes:
    return encoded(noise(), "JPEG", **options)


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, pixels: bytes = b"", *more: bytes) -> bytes:
    """Return an 8-bit grey PNG that announces any size, whatever it holds."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = (png_chunk(b"IHDR", header), *more, png_chunk(b"IDAT", zlib.compress(pixels)), png_chunk(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def bad_checksum() -> bytes:
    data = bytearray(encoded(noise(), "PNG"))
    data[-13] ^= 1  # the last byte of the pixels' checksum, in front of the 12 bytes of IEND
    return bytes(data)


def flipped_jpeg() -> bytes:
    data, draw = bytearray(jpeg()), random.Random(5)
    for _ in range(200):
        data[draw.randrange(len(data))] ^= draw.randrange(1, 256)
    return bytes(data)


def frames(kind: str) -> bytes:
    second = Image.new("RGB", (40, 30), "red")
    return encoded(noise(), kind, save_all=True, append_images=[second], duration=100)


def exif(orientation: int) -> bytes:
    block = Image.Exif()
    block[0x0112] = orientation
    return jpeg(exif=block)


def transparent_palette() -> bytes:
    return encoded(noise("P"), "PNG", transparency=0)


def text_bomb() -> bytes:
    return png(8, 8, bytes(72), png_chunk(b"zTXt", b"note\0\0" + zlib.compress(bytes(200_000_000), 9)))


def sixteen_bits() -> bytes:
    return encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50), "PNG")


def with_profile(data: bytes) -> bytes:
    return encoded(noise(), "JPEG", icc_profile=data)


UNKNOWN = "not a picture in a known format; allowed are JPEG, PNG, WEBP, BMP, GIF"
DAMAGED = "the picture is cut off or damaged"

REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the file is empty"),
    "one byte": (lambda: b"\xff", UNKNOWN),
    "text": (lambda: b"a cat\n" * 100, UNKNOWN),
    "web page": (lambda: b"<!DOCTYPE html><title>404</title>", UNKNOWN),
    "SVG with script": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><script>x()</script></svg>', UNKNOWN),
    "PDF": (lambda: b"%PDF-1.7\n%%EOF", UNKNOWN),
    "zip": (lambda: b"PK\x03\x04" + bytes(60), UNKNOWN),
    "random bytes": (lambda: random.Random(0).randbytes(5000), UNKNOWN),
    "random bytes after BM": (lambda: b"BM" + random.Random(0).randbytes(5000), DAMAGED),
    "JPEG cut in half": (lambda: jpeg()[: len(jpeg()) // 2], DAMAGED),
    "JPEG header only": (lambda: jpeg()[:100], DAMAGED),
    "JPEG magic only": (lambda: b"\xff\xd8\xff", DAMAGED),
    "JPEG without its last 2 bytes": (lambda: jpeg()[:-2], DAMAGED),
    "JPEG with 200 flipped bytes": (flipped_jpeg, DAMAGED),
    "PNG cut": (lambda: encoded(noise(), "PNG")[:-200], DAMAGED),
    "PNG without its end": (lambda: encoded(noise(), "PNG")[:-12], DAMAGED),
    "PNG with a bad checksum": (bad_checksum, DAMAGED),
    "WebP cut": (lambda: encoded(noise(), "WEBP")[:-100], DAMAGED),
    "GIF cut": (lambda: encoded(noise(), "GIF")[:-400], DAMAGED),
    "BMP cut": (lambda: encoded(noise(), "BMP")[:-100], DAMAGED),
    "PNG of 0 x 0": (lambda: png(0, 0), DAMAGED),
    "PNG of 2^31 x 2^31": (lambda: png(2**31, 2**31), "a side may have at most 32768"),
    "bomb of 169 megapixels": (lambda: png(13_000, 13_000), "at most 100000000 are allowed altogether"),
    "bomb of 400 megapixels": (lambda: png(20_000, 20_000), "at most 100000000 are allowed altogether"),
    "text of 200 MB in a PNG": (text_bomb, DAMAGED),
    "60000 x 1": (lambda: png(60_000, 1), "60000 x 1 pixels; a side may have at most 32768"),
    "32-bit TIFF": (lambda: encoded(noise("L").convert("F"), "TIFF"), UNKNOWN),
    "CMYK TIFF": (lambda: encoded(noise("CMYK"), "TIFF"), UNKNOWN),
    "many-page TIFF": (lambda: frames("TIFF"), UNKNOWN),
    "EPS": (lambda: encoded(noise(), "EPS"), UNKNOWN),
    "ICO": (lambda: encoded(noise(), "ICO"), UNKNOWN),
    "JPEG 2000": (lambda: encoded(noise(), "JPEG2000"), UNKNOWN),
}  # fmt: skip

ACCEPTED: dict[str, tuple[Callable[[], bytes], tuple[str, ...]]] = {
    "JPEG with PHP behind its end": (lambda: jpeg() + b"<?php system('id'); ?>", ()),
    "JPEG with a garbage colour profile": (lambda: with_profile(b"garbage" * 30), ()),
    **{f"EXIF orientation {turn}": (partial(exif, turn), ()) for turn in (1, 2, 3, 4, 5, 6, 7, 8, 99)},
    "progressive JPEG": (lambda: jpeg(progressive=True), ()),
    "1 x 1": (lambda: encoded(noise(size=(1, 1)), "PNG"), ("tiny: 1 x 1 pixels",)),
    "9 x 9": (lambda: encoded(noise(size=(9, 9)), "PNG"), ("tiny: 9 x 9 pixels",)),
    "32768 x 1": (lambda: encoded(noise(size=(32_768, 1)), "PNG"), ("tiny: 32768 x 1 pixels",)),
    "16-bit grey PNG": (sixteen_bits, ()),
    "1-bit PNG": (lambda: encoded(noise("1"), "PNG"), ()),
    "grey PNG": (lambda: encoded(noise("L"), "PNG"), ()),
    "grey PNG with alpha": (lambda: encoded(noise("LA"), "PNG"), ()),
    "palette PNG": (lambda: encoded(noise("P"), "PNG"), ()),
    "palette PNG with transparency": (transparent_palette, ()),
    "colour PNG with a transparent colour": (lambda: encoded(noise(), "PNG", transparency=(1, 2, 3)), ()),
    "PNG with alpha": (lambda: encoded(noise("RGBA"), "PNG"), ()),
    "CMYK JPEG": (lambda: encoded(noise("CMYK"), "JPEG"), ()),
    "grey JPEG": (lambda: encoded(noise("L"), "JPEG"), ()),
    "BMP": (lambda: encoded(noise(), "BMP"), ()),
    "GIF": (lambda: encoded(noise(), "GIF"), ()),
    "WebP": (lambda: encoded(noise(), "WEBP"), ()),
    "animated GIF": (lambda: frames("GIF"), (ANIMATED,)),
    "animated WebP": (lambda: frames("WEBP"), (ANIMATED,)),
    "animated PNG": (lambda: frames("PNG"), (ANIMATED,)),
    "GIF whose second frame is cut": (lambda: frames("GIF")[:-20], (ANIMATED,)),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_the_catalogue_refuses(case: str) -> None:
    build, reason = REFUSED[case]
    with pytest.raises(ImageError) as refused:
        image.load(build())
    assert reason in refused.value.reason
    assert refused.value.source == "<bytes>"
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("case", ACCEPTED)
def test_the_catalogue_accepts(case: str) -> None:
    build, notes = ACCEPTED[case]
    picture = image.load(build())
    assert picture.image.mode == "RGB"
    assert picture.notes == notes


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data:UserWarning", "ignore:Truncated File Read:UserWarning")
@pytest.mark.parametrize("block", [b"", b"II*\0", b"II*\0\x08\0\0\0\xff\xff", b"junk" * 9, b"MM\0*\xff\xff\xff\xff"])
def test_malformed_exif_counts_as_upright(block: bytes) -> None:
    data = jpeg()
    marker = b"\xff\xe1" + struct.pack(">H", len(block) + 8) + b"Exif\0\0" + block
    upright = image.load(data).image
    assert image.load(data[:2] + marker + data[2:]).image.tobytes() == upright.tobytes()


def test_the_limits_are_the_callers_to_set() -> None:
    with pytest.raises(ImageError, match=r"40 x 30 pixels; at most 1000 are allowed"):
        image.load(jpeg(), Limits(max_pixels=1000))
    with pytest.raises(ImageError, match=r"\d+ bytes; at most 100 are allowed"):
        image.load(jpeg(), Limits(max_bytes=100))
    assert image.load(jpeg(), Limits(max_pixels=1200, max_side_px=40)).image.size == (40, 30)
    with pytest.raises(ImageError, match="0 x 5 pixels; a picture has at least one"):
        image.load(Image.new("RGB", (0, 5)))
    with pytest.raises(ImageError, match="a side may have at most 39"):
        image.load(noise(), Limits(max_side_px=39))


def test_a_picture_between_pillows_limit_and_ours_is_accepted_without_a_warning() -> None:
    side = 9_600  # 92 megapixels; Pillow would warn from 89.5 on
    data = encoded(Image.new("1", (side, side)), "PNG")
    assert image.load(data).image.size == (side, side)


def test_every_format_passes_under_its_own_suffix(tmp_path: Path) -> None:
    for suffix, kind in image.PICTURE_SUFFIXES.items():
        path = tmp_path / f"picture{suffix.upper()}"
        path.write_bytes(encoded(noise(), kind))
        assert image.load(path).notes == ()
    assert set(image.PICTURE_SUFFIXES.values()) == set(image.FORMATS)


def test_a_wrong_suffix_is_noted_and_an_unknown_one_is_not(tmp_path: Path) -> None:
    for name, notes in [("a.jpg", ("named .jpg, but its content is PNG",)), ("b", ()), ("c.upload", ())]:
        (tmp_path / name).write_bytes(encoded(noise(), "PNG"))
        assert image.load(str(tmp_path / name)).notes == notes


def test_a_hidden_eps_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_bytes(encoded(noise(), "EPS"))
    with pytest.raises(ImageError, match=r"photo\.jpg: not a picture in a known format"):
        image.load(path)


def test_a_file_over_the_limit_is_not_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "huge.png"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse
    with pytest.raises(ImageError, match="1099511627776 bytes; at most 67108864 are allowed"):
        image.load(path)


def test_what_is_not_a_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "dangling.jpg").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.jpg").symlink_to(tmp_path / "loop.jpg")
    (tmp_path / "folder.jpg").mkdir()
    for name, reason in [
        ("pipe.jpg", "not a regular file"),
        ("folder.jpg", "not a regular file"),
        ("dangling.jpg", "the file cannot be read (No such file or directory)"),
        ("loop.jpg", "the file cannot be read (Too many levels of symbolic links)"),
        ("absent.jpg", "the file cannot be read (No such file or directory)"),
        ("nul\0.jpg", "the file cannot be read (embedded null byte)"),
    ]:
        with pytest.raises(ImageError) as refused:
            image.load(tmp_path / name)
        assert reason in refused.value.reason
    with pytest.raises(ImageError):
        image.load("")


def test_a_file_without_permission_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "secret.png"
    path.write_bytes(encoded(noise(), "PNG"))
    path.chmod(0)
    if os.geteuid() == 0:  # root may read everything, so the refusal has to be played

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ImageError, match=r"cannot be read \(Permission denied\)"):
        image.load(path)


def test_a_symlink_to_a_picture_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real.png").write_bytes(encoded(noise(), "PNG"))
    (tmp_path / "link.png").symlink_to(tmp_path / "real.png")
    assert image.load(tmp_path / "link.png").image.size == (40, 30)


def test_a_process_that_lets_cut_pictures_pass_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(FinetuneError, match="LOAD_TRUNCATED_IMAGES is on") as refused:
        image.load(jpeg()[:-2])
    with pytest.raises(FinetuneError, match="LOAD_TRUNCATED_IMAGES is on"):
        image.load(Image.open(io.BytesIO(jpeg()[:-2])))
    assert not isinstance(refused.value, ImageError)  # it is not the picture's fault


@pytest.mark.parametrize(
    ("kind", "step"),
    [(JpegImagePlugin.JpegImageFile, "_open"), (PngImagePlugin.PngImageFile, "verify"), (Image.Image, "getexif"),
     (ImageFile.ImageFile, "load")],
)  # fmt: skip
def test_a_lack_of_memory_is_not_the_pictures_fault(kind: type, step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(kind, step, fail)
    data = jpeg() if step == "_open" else encoded(noise(), "GIF") if kind is Image.Image else encoded(noise(), "PNG")
    with pytest.raises(MemoryError):
        image.load(data)


def test_the_catalogues_bad_checksum_is_one_that_decoding_alone_misses() -> None:
    PngImagePlugin.PngImageFile(io.BytesIO(bad_checksum())).load()
