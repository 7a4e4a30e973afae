from __future__ import annotations

import hashlib
import random
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from finetune.config import Augmentation
from finetune.data import pictures as pictures_module
from finetune.data.pictures import Pictures
from finetune.errors import DataError
from finetune.networks.network import Network
from finetune.targets.to_onnx import Deployed
from finetune.types import Example
from finetune_export import image
from finetune_export.contract import BackboneOrigin, Contract, DatasetOrigin, Preprocessing

SIZE = 24
LABELS = ("cat", "dog")
PREPROCESSING = Preprocessing(
    image_size_px=SIZE, crop_fraction=0.875, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)
)
VIEWS = (1, 2, 3)
every_policy = pytest.mark.parametrize("augment", get_args(Augmentation))
random_policies = pytest.mark.parametrize("augment", ["light", "fastai", "trivial"])


def pictures_of(paths: Sequence[Path], augment: Augmentation = "light") -> Pictures:
    hashes = [hashlib.sha256(path.read_bytes()).hexdigest() for path in paths]
    return Pictures([Example(path=path) for path in paths], hashes, PREPROCESSING, augment)


@pytest.fixture
def paths(picture_folder: Callable[..., Path], picture: Callable[..., Image.Image]) -> list[Path]:
    """Six pictures of two classes, one that EXIF turns, and one in grey with transparency."""
    root = picture_folder(count=3, size=(200, 150))
    turned = Image.Exif()
    turned[0x0112] = 6
    picture(1, size=(200, 150)).save(root / "dog" / "turned.jpg", exif=turned)
    picture(1, size=(200, 150)).convert("LA").save(root / "dog" / "grey.png")
    return sorted(root.rglob("*.*"))


# ── view 0 ──────────────────────────────────────────────────────────────────────────────────────────


@every_policy
def test_view_0_has_the_pixels_of_deployment_bit_for_bit(paths: list[Path], augment: Augmentation) -> None:
    pictures = pictures_of(paths, augment)

    assert len(pictures) == 8
    for index, path in enumerate(paths):
        assert np.array_equal(pictures.pixels(index, 0), image.read_pixels(path, PREPROCESSING))


def test_view_0_is_the_same_after_a_training_view_was_decoded_at_a_smaller_scale(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    picture(size=(800, 600)).save(tmp_path / "photo.jpg")
    pictures = pictures_of([tmp_path / "photo.jpg"])

    pictures.pixels(0, 1)

    assert np.array_equal(pictures.pixels(0, 0), image.read_pixels(tmp_path / "photo.jpg", PREPROCESSING))


def test_images_are_normalised_exactly_as_the_deployed_network_does_it(paths: list[Path]) -> None:
    pictures = pictures_of(paths)
    wanted = [(0, 0), (7, 0), (3, 2)]
    seeing = Network(nn.Sequential(nn.Identity()), seeing_head(), {})  # its embedding is what the body is given

    with torch.no_grad():
        pixels = np.stack([pictures.pixels(index, view) for index, view in wanted])
        _, expected = Deployed(seeing, contract())(torch.from_numpy(pixels))

    images = pictures.images(wanted)
    assert (images.dtype, tuple(images.shape)) == (torch.float32, (3, 3, SIZE, SIZE))
    assert torch.equal(images, expected)


def seeing_head() -> nn.Sequential:
    return nn.Sequential(OrderedDict(pool=nn.Identity(), classifier=nn.Flatten()))


def contract() -> Contract:
    return Contract(
        labels=LABELS,
        preprocessing=PREPROCESSING,
        backbone=BackboneOrigin(name="none", weights="none", licence=""),
        dataset=DatasetOrigin(
            name="drawn", source="drawn", licence="CC0-1.0", fingerprint="0" * 64, train_images=4, valid_images=4
        ),
        run_id="a",
        metrics={"accuracy": 1.0},
        versions={"finetune": "0"},
    )


def test_images_lie_in_memory_as_channels_last_convolutions_want_them(paths: list[Path]) -> None:
    assert pictures_of(paths).images([(0, 0), (1, 1)]).is_contiguous(memory_format=torch.channels_last)


# ── the other views ─────────────────────────────────────────────────────────────────────────────────


def views_of(pictures: Pictures, index: int) -> list[bytes]:
    return [pictures.pixels(index, view).tobytes() for view in VIEWS]


def test_without_augmentation_every_view_has_the_pixels_of_deployment(paths: list[Path]) -> None:
    pictures = pictures_of(paths, "none")

    for index in range(len(pictures)):
        assert views_of(pictures, index) == [pictures.pixels(index, 0).tobytes()] * len(VIEWS)


@pytest.mark.parametrize("augment", ["light", "fastai"])  # one of the trivial operations does nothing
def test_views_of_a_picture_differ_from_each_other_and_from_what_deployment_sees(
    paths: list[Path], augment: Augmentation
) -> None:
    pictures = pictures_of(paths, augment)

    for index in range(len(pictures)):
        assert len({pictures.pixels(index, 0).tobytes(), *views_of(pictures, index)}) == 1 + len(VIEWS)


@random_policies
def test_a_view_does_not_depend_on_path_or_order_or_seed(
    paths: list[Path], tmp_path: Path, augment: Augmentation
) -> None:
    expected = [views_of(pictures_of(paths, augment), index) for index in range(len(paths))]
    moved = [Path(shutil.copy(path, tmp_path / f"{number}{path.suffix}")) for number, path in enumerate(paths)]
    torch.manual_seed(8)
    np.random.seed(8)
    random.seed(8)

    elsewhere = pictures_of(moved[::-1], augment)
    found = [views_of(elsewhere, index) for index in range(len(paths))]

    assert found[::-1] == expected


def test_a_view_does_not_depend_on_which_views_were_made_before(paths: list[Path]) -> None:
    forwards, backwards = pictures_of(paths), pictures_of(paths)

    expected = [forwards.pixels(0, view).tobytes() for view in VIEWS]
    found = [backwards.pixels(0, view).tobytes() for view in reversed(VIEWS)]

    assert found[::-1] == expected


@random_policies
def test_views_draw_nothing_from_the_generators_of_training(paths: list[Path], augment: Augmentation) -> None:
    before = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()

    pictures_of(paths, augment).images([(index, view) for index in range(len(paths)) for view in range(8)])

    assert torch.equal(torch.get_rng_state(), before[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == before[1:]


@random_policies
def test_many_threads_make_the_views_that_one_makes(
    paths: list[Path], monkeypatch: pytest.MonkeyPatch, augment: Augmentation
) -> None:
    alone = pictures_of(paths, augment)
    wanted = [(index, view) for view in VIEWS for index in range(len(paths))]
    expected = torch.cat([alone.images([pair]) for pair in wanted])
    monkeypatch.setattr(pictures_module, "DECODERS", 8)

    assert torch.equal(pictures_of(paths, augment).images(wanted), expected)


ANOTHER_PROCESS = """
import sys
from pathlib import Path
from finetune.data.pictures import Pictures
from finetune.types import Example
from finetune_export.contract import Preprocessing

path, sha256, size, crop_fraction = sys.argv[1:]
sizes = {"image_size_px": int(size), "crop_fraction": float(crop_fraction)}
preprocessing = Preprocessing(**sizes, mean=(0, 0, 0), std=(1, 1, 1))
for augment in ("light", "fastai", "trivial"):
    pictures = Pictures([Example(path=Path(path))], [sha256], preprocessing, augment)
    sys.stdout.buffer.write(pictures.pixels(0, 2).tobytes())
"""


def test_another_process_makes_the_same_views(paths: list[Path]) -> None:
    here = {augment: pictures_of(paths, augment) for augment in ("light", "fastai", "trivial")}
    said = [str(paths[0]), here["light"].sha256[0], str(SIZE), str(PREPROCESSING.crop_fraction)]

    there = subprocess.run([sys.executable, "-c", ANOTHER_PROCESS, *said], check=True, capture_output=True).stdout

    assert there == b"".join(pictures.pixels(0, 2).tobytes() for pictures in here.values())


def test_the_same_picture_in_other_bytes_is_cut_in_another_way(
    tmp_path: Path, picture: Callable[..., Image.Image]
) -> None:
    for level in (1, 9):
        picture(size=(64, 64)).save(tmp_path / f"{level}.png", compress_level=level)
    pictures = pictures_of([tmp_path / "1.png", tmp_path / "9.png"])

    assert pictures.pixels(0, 0).tobytes() == pictures.pixels(1, 0).tobytes()
    assert pictures.pixels(0, 1).tobytes() != pictures.pixels(1, 1).tobytes()


@every_policy
@pytest.mark.parametrize("size", [(1, 1), (1, 5000), (5000, 1)])
def test_a_thin_picture_has_all_its_views(
    tmp_path: Path, picture: Callable[..., Image.Image], size: tuple[int, int], augment: Augmentation
) -> None:
    picture(size=size).save(tmp_path / "thin.png")

    assert pictures_of([tmp_path / "thin.png"], augment).images([(0, 0), (0, 1), (0, 2)]).shape == (3, 3, SIZE, SIZE)


@random_policies
def test_some_views_are_mirrored_and_some_are_not(tmp_path: Path, augment: Augmentation) -> None:
    half = np.zeros((64, 64, 3), np.uint8)
    half[:, 32:] = 255  # dark left, bright right
    Image.fromarray(half).save(tmp_path / "half.png")
    pictures = pictures_of([tmp_path / "half.png"], augment)

    bright_right = [bool(view[:, -1].mean() > view[:, 0].mean()) for view in (pictures.pixels(0, v) for v in range(33))]

    assert bright_right[0]
    assert 8 <= sum(bright_right[1:]) <= 24


def test_every_view_shows_the_picture_upright(tmp_path: Path) -> None:
    half = np.zeros((640, 640, 3), np.uint8)
    half[:, 320:] = 255  # dark left, bright right; shown turned by 90 degrees, dark above, bright below
    turned = Image.Exif()
    turned[0x0112] = 6
    Image.fromarray(half).save(tmp_path / "turned.jpg", exif=turned)
    pictures = pictures_of([tmp_path / "turned.jpg"])

    for view in range(8):
        rows = pictures.pixels(0, view).mean(axis=(1, 2))
        assert rows[-1] > rows[0] + 50


# ── decoding and keeping ────────────────────────────────────────────────────────────────────────────


def test_training_views_are_decoded_at_a_smaller_scale_and_look_like_those_of_the_whole_photo(
    tmp_path: Path, picture: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    picture(size=(60, 45)).resize((1200, 900), Image.Resampling.BICUBIC).save(tmp_path / "photo.jpg", quality=95)
    quick, asked, load = pictures_of([tmp_path / "photo.jpg"]), [], image.load
    views = np.stack([quick.pixels(0, view) for view in VIEWS]).astype(int)

    def exactly(source: Path, limits: None = None, *, draft_px: int | None = None) -> image.Picture:
        asked.append(draft_px)
        return load(source, limits)

    monkeypatch.setattr(image, "load", exactly)
    whole = pictures_of([tmp_path / "photo.jpg"])
    difference = np.abs(views - np.stack([whole.pixels(0, view) for view in VIEWS]))

    assert asked == [31]  # decoded once; a crop of 0.6 of a 31 px square still has the 24 px that are asked for
    assert 0 < difference.mean() < 4
    assert np.abs(views - views[::-1]).mean() > 10  # what another crop would have come to


def test_decoded_pictures_are_kept_at_no_more_than_the_size_that_training_needs(
    tmp_path: Path, picture: Callable[..., Image.Image], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "MOST_KEPT_BYTES", 4 * 41 * 31)  # of 1200 x 900, at a shorter side of 31
    for name in ("photo.jpg", "photo.png"):
        picture(size=(1200, 900)).save(tmp_path / name)
        pictures = pictures_of([tmp_path / name])
        expected = views_of(pictures, 0)
        (tmp_path / name).unlink()

        assert views_of(pictures, 0) == expected


def kept_by(pictures: Pictures) -> list[int]:
    """Return which training pictures need no file any more, now that there is none."""
    for example in pictures.examples:
        example.path.unlink()
    kept = []
    for index in range(len(pictures)):
        try:
            pictures.pixels(index, 1)
        except DataError:
            continue
        kept.append(index)
    return kept


def test_no_more_decoded_pictures_are_kept_than_there_is_room_for(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pictures_module, "MOST_KEPT_BYTES", int(2.5 * 4 * 31 * 31))
    made = pictures_of(sorted(pictures.rglob("*.*")))
    for index in range(len(made)):
        made.pixels(index, 1)

    assert kept_by(made) == [0, 1]


def test_a_picture_whose_views_are_made_at_once_is_decoded_once_and_takes_its_room_once(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded, load = [], image.load
    monkeypatch.setattr(image, "load", lambda data, **options: decoded.append(data) or load(data, **options))
    monkeypatch.setattr(pictures_module, "MOST_KEPT_BYTES", 8 * 4 * 31 * 31)
    monkeypatch.setattr(pictures_module, "DECODERS", 8)
    made = pictures_of(sorted(pictures.rglob("*.*")))

    made.images([(index, view) for index in range(len(made)) for view in range(1, 9)])

    assert sorted(decoded) == sorted(example.path.read_bytes() for example in made.examples)
    assert kept_by(made) == list(range(8))


def test_without_free_memory_nothing_is_kept_and_the_views_are_the_same(
    pictures: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(pictures.rglob("*.*"))
    expected = views_of(pictures_of(paths), 0)
    monkeypatch.setattr(pictures_module, "_free_memory_bytes", lambda: 0)
    made = pictures_of(paths)

    assert views_of(made, 0) == expected
    assert kept_by(made) == []


# ── pictures that go away ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("view", [0, 1])
def test_a_picture_that_went_away_is_a_data_error_that_names_it(paths: list[Path], view: int) -> None:
    pictures = pictures_of(paths)
    paths[0].unlink()

    with pytest.raises(DataError) as caught:
        pictures.images([(1, view), (0, view)])

    text = str(caught.value)
    assert text.startswith(f"{paths[0]}: the file cannot be read")
    assert text.endswith(". It was readable before; leave the pictures alone while training.")
    assert "\n" not in text


@pytest.mark.parametrize("view", [0, 1])
def test_a_picture_whose_content_changed_is_refused_so_that_nothing_is_kept_under_its_old_name(
    view: int, paths: list[Path]
) -> None:
    made = pictures_of(paths)
    shutil.copy(paths[1], paths[0])

    with pytest.raises(DataError) as caught:
        made.pixels(0, view)

    assert str(caught.value) == f"{paths[0]}: its content has changed. Leave the pictures alone while training."
