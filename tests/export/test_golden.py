from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from finetune_export import golden, image, strict_json
from finetune_export.contract import Contract, Scaling, Task
from finetune_export.errors import ModelError
from finetune_export.golden import Golden


def network(pixels: image.Pixels) -> NDArray[np.float32]:
    """Answer with the share of each colour."""
    sums = pixels.astype(np.float32).sum(axis=(1, 2)) + 1
    shares: NDArray[np.float32] = sums / sums.sum(axis=1, keepdims=True)
    return shares


@pytest.fixture
def pairs(contract: Contract) -> tuple[Golden, ...]:
    return golden.make(contract.preprocessing, network)


def test_the_test_pictures_are_the_same_each_time_and_small() -> None:
    files = golden.pictures()
    assert files == golden.pictures()
    assert sum(map(len, files.values())) < 20_000


def test_the_test_pictures_take_every_way_through_the_preprocessing() -> None:
    opened = {name: Image.open(io.BytesIO(file)) for name, file in golden.pictures().items()}
    assert {name: each.mode for name, each in opened.items()} == {
        "colour.png": "RGB",
        "turned.jpg": "RGB",
        "transparent.png": "RGBA",
        "grey16.png": "I;16",
        "tall.png": "RGB",
    }
    assert opened["turned.jpg"].getexif()[0x0112] == 6
    assert len({each.size for each in opened.values()}) == 5


def test_pairs_survive_the_round_trip(pairs: tuple[Golden, ...]) -> None:
    assert golden.parse(golden.dump(pairs)) == pairs


def test_the_network_that_made_them_passes(pairs: tuple[Golden, ...], contract: Contract) -> None:
    assert golden.check(pairs, contract, network) == ()


def test_a_small_difference_passes_and_a_larger_one_does_not(pairs: tuple[Golden, ...], contract: Contract) -> None:
    assert golden.check(pairs, contract, lambda pixels: network(pixels) + np.float32(9e-4)) == ()
    with pytest.raises(ModelError, match=r"golden picture colour\.png: a probability differs by 0\.0011"):
        golden.check(pairs, contract, lambda pixels: network(pixels) + np.float32(1.1e-3))


def test_values_may_differ_by_a_share_of_their_scale(
    contract_of: Callable[[Task], Contract],
) -> None:
    ours = contract_of("regression")
    assert ours.scaling
    scale, offset = np.array(ours.scaling.scale, np.float32), np.array(ours.scaling.offset, np.float32)
    pairs = golden.make(ours.preprocessing, lambda pixels: network(pixels) * scale + offset)
    assert golden.check(pairs, ours, lambda pixels: (network(pixels) + 9e-4) * scale + offset) == ()
    with pytest.raises(
        ModelError, match=r"colour\.png: a value differs by 0\.0011 of its scale from the one at export"
    ):
        golden.check(pairs, ours, lambda pixels: (network(pixels) + 1.1e-3) * scale + offset)


def test_what_float32_rounds_off_at_a_large_offset_is_excused_and_no_more(
    contract_of: Callable[[Task], Contract],
) -> None:
    ours = replace(contract_of("regression"), scaling=Scaling(offset=(3000.0,) * 3, scale=(0.1,) * 3))
    step = np.spacing(np.float32(3000))
    assert step > 1e-3 * 0.1, "else no excuse would be needed"

    def years(pixels: image.Pixels) -> NDArray[np.float32]:
        return network(pixels) * np.float32(0.1) + np.float32(3000)

    pairs = golden.make(ours.preprocessing, years)
    for steps in (-2, -1, 1, 2):
        assert golden.check(pairs, ours, lambda pixels, by=steps * step: years(pixels) + by) == ()
    with pytest.raises(ModelError, match=r"colour\.png: a value differs by 0\.0024 of its scale"):
        golden.check(pairs, ours, lambda pixels: years(pixels) + 3 * step)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("task", "what"), [("single-label", "a probability"), ("regression", "a value")])
def test_an_answer_that_is_not_a_number_is_refused(
    odd: float, task: Task, what: str, contract_of: Callable[[Task], Contract]
) -> None:
    ours = contract_of(task)
    pairs = golden.make(ours.preprocessing, network)
    with pytest.raises(ModelError, match=f"{what} differs by (nan|inf)"):
        golden.check(pairs, ours, lambda pixels: network(pixels) * np.float32(odd))


def test_another_number_of_answers_is_refused(pairs: tuple[Golden, ...], contract: Contract) -> None:
    with pytest.raises(ModelError, match=r"colour\.png: 2 answers, 3 at export"):
        golden.check(pairs, contract, lambda pixels: network(pixels)[:, :2])


def test_other_preprocessing_is_refused(pairs: tuple[Golden, ...], contract: Contract) -> None:
    other = replace(contract, preprocessing=replace(contract.preprocessing, crop_fraction=0.8))
    with pytest.raises(ModelError, match=r"colour\.png: its pixels differ from those at export"):
        golden.check(pairs, other, network)


def test_other_pixels_are_excused_for_jpeg_alone(pairs: tuple[Golden, ...], contract: Contract) -> None:
    for pair in pairs:
        other = (replace(pair, pixels_sha256="0" * 64),)
        if pair.name == "turned.jpg":
            notes = golden.check(other, contract, network)
            assert notes == ("golden picture turned.jpg: JPEG decodes to other pixels on this machine than at export",)
        else:
            with pytest.raises(ModelError, match="its pixels differ"):
                golden.check(other, contract, network)


def test_a_damaged_picture_is_refused(pairs: tuple[Golden, ...], contract: Contract) -> None:
    with pytest.raises(ModelError, match=r"golden picture colour\.png: the picture is cut off or damaged"):
        golden.check([replace(pairs[0], file=pairs[0].file[:-20])], contract, network)


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({"pairs": []}, "finetune.golden: no golden pairs"),
        ({"pairs": [{"name": "a"}]}, 'key "file" is missing'),
        ({"pairs": {}}, "finetune.golden.pairs: {} is not allowed; it has to be a list"),
        ({"answers": []}, 'unknown key "answers"'),
        (
            {"pairs": [{"name": "a", "file": "?", "pixels_sha256": "", "answers": []}]},
            'finetune.golden.pairs[0].file: "?" is not allowed; it has to be base64 text',
        ),
    ],
)
def test_what_is_not_golden_is_refused(payload: dict[str, object], message: str) -> None:
    with pytest.raises(ModelError) as refused:
        golden.parse(strict_json.seal(payload))
    assert message in str(refused.value)


def test_pairs_that_were_changed_are_refused(pairs: tuple[Golden, ...]) -> None:
    with pytest.raises(ModelError, match="changed after it was written"):
        golden.parse(golden.dump(pairs).replace("turned.jpg", "TURNED.JPG"))
