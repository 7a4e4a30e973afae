"""The runtime: the answers of finetune_export's predictor, from another engine."""

from __future__ import annotations

import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

import finetune_export
from finetune_export import ImageError, ModelError, TimeLimitError
from finetune_export.verify import compare
from finetune_openvino import Predictor, ir
from finetune_openvino.engine import Network

SIDE = 32


def noise(count: int, seed: int = 0) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (count, SIDE, SIDE, 3), np.uint8)


def test_predictions_are_those_of_the_other_runtime(each: Any) -> None:
    ours, theirs = Predictor(each.folder), finetune_export.Predictor(each.onnx)
    found, expected = ours.predict(each.pictures), theirs.predict(each.pictures)
    assert [(p.source, p.task, p.labels, p.given, p.abstains) for p in found] == [
        (p.source, p.task, p.labels, p.given, p.abstains) for p in expected
    ]
    agreement = compare(theirs.answers(each.pictures), ours.answers(each.pictures), ours.contract)
    assert (agreement.agreement, agreement.max_difference < 1e-4) == (1.0, True)
    np.testing.assert_allclose(ours.embeddings(each.pictures), theirs.embeddings(each.pictures), atol=1e-4)


def test_it_has_every_attribute_of_the_predictor_that_it_stands_in_for(each: Any) -> None:
    ours, theirs = Predictor(each.folder), finetune_export.Predictor(each.onnx)
    assert vars(ours).keys() == vars(theirs).keys()
    assert (ours.labels, ours.task, ours.features) == (theirs.labels, theirs.task, theirs.features)
    assert (ours.path, ours.providers, ours.notes) == (each.folder / "model.xml", ("OpenVINO",), ())


def test_the_xml_file_opens_as_well_as_its_folder(small: Any) -> None:
    expected = Predictor(small.folder).answers(small.pictures)
    np.testing.assert_array_equal(Predictor(small.folder / ir.MODEL).answers(small.pictures), expected)


def test_two_files_alone_are_enough(small: Any, tmp_path: Path) -> None:
    for name in (ir.MODEL, ir.WEIGHTS):
        (tmp_path / name).write_bytes((small.folder / name).read_bytes())
    assert Predictor(tmp_path).contract == Predictor(small.folder).contract


def test_it_computes_in_float32_whatever_the_processor_would_rather(small: Any) -> None:
    model = ir.read(small.folder / ir.MODEL)
    assert Network(model.xml, model.weights, model.contract, None).arithmetic == "f32"


def test_answers_do_not_depend_on_the_batch_beyond_the_last_digits(each: Any) -> None:
    predictor, pixels = Predictor(each.folder), noise(20)
    at_once = predictor.run(pixels)[0]
    one_by_one = np.concatenate([predictor.run(pixels[i : i + 1])[0] for i in range(20)])
    assert compare(at_once, one_by_one, predictor.contract).max_difference < 1e-5


def test_threads_share_a_predictor_and_get_their_own_answers(one: Any) -> None:
    predictor = Predictor(one.folder, threads=1)
    batches = [noise(1 + i % 4, seed=i) for i in range(24)]
    expected = [predictor.run(batch)[0] for batch in batches]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda batch: predictor.run(batch)[0], batches))
    for ours, theirs in zip(found, expected, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_an_answer_stays_what_it_was_when_the_next_is_asked_for(small: Any) -> None:
    predictor = Predictor(small.folder)
    first = predictor.run(noise(2))[0]
    kept = first.copy()
    predictor.run(noise(2, seed=1))
    np.testing.assert_array_equal(first, kept)


def test_pickled_it_opens_the_files_again_with_the_same_options(small: Any) -> None:
    predictor = Predictor(small.folder, threads=1, max_run_s=5.0)
    again = pickle.loads(pickle.dumps(predictor))
    assert type(again) is Predictor
    assert (again.path, again._max_run_s) == (predictor.path, 5.0)
    np.testing.assert_array_equal(again.run(noise(2))[0], predictor.run(noise(2))[0])


def test_a_picture_that_is_refused_is_an_error_or_is_left_out(one: Any, tmp_path: Path) -> None:
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 and no more")
    predictor, sources = Predictor(one.folder), [tmp_path / "broken.jpg", one.pictures[0]]
    with pytest.raises(ImageError, match=r"broken\.jpg"):
        predictor.predict(sources)
    errors: list[ImageError] = []
    (prediction,) = predictor.predict(sources, errors=errors)
    assert (prediction.source, len(errors)) == (str(one.pictures[0]), 1)


def test_no_pictures_have_no_answers(small: Any) -> None:
    predictor = Predictor(small.folder)
    predictor.run(noise(3))
    answers, embeddings = predictor.run(noise(0))
    assert (answers.shape, embeddings.shape) == ((0, 2), (0, predictor.features))
    assert predictor.predict([]) == []


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (np.zeros((1, 3, 3, 3), np.uint8), "uint8 (1, 3, 3, 3)"),
        (np.zeros((SIDE, SIDE, 3), np.uint8), "uint8 (32, 32, 3)"),
        (np.zeros((1, SIDE, SIDE, 3), np.float32), "float32 (1, 32, 32, 3)"),
    ],
    ids=["small", "single", "float"],
)
def test_pixels_of_another_form_are_refused_and_not_answered_with_the_last_ones(
    small: Any, pixels: NDArray[Any], found: str
) -> None:
    predictor = Predictor(small.folder)
    predictor.run(noise(1))
    with pytest.raises(ModelError) as caught:
        predictor.run(pixels)
    wanted = f"the network cannot be run (pixels are {found}; they have to be uint8 (N, 32, 32, 3))"
    assert str(caught.value) == f"{small.folder / ir.MODEL}: {wanted}"


def test_pixels_in_any_order_of_memory_and_read_only_are_taken_as_they_are(small: Any) -> None:
    predictor, pixels = Predictor(small.folder), noise(2)
    turned = np.asfortranarray(pixels)
    turned.flags.writeable = False
    np.testing.assert_array_equal(predictor.run(turned)[0], predictor.run(pixels)[0])
    np.testing.assert_array_equal(predictor.run(pixels[::-1])[0], predictor.run(pixels)[0][::-1])


def test_a_run_that_takes_too_long_is_ended_and_the_next_answers(one: Any) -> None:
    predictor = Predictor(one.folder, check=False, threads=1, max_run_s=0.001)
    with pytest.raises(TimeLimitError, match=r"longer than 0\.001 s for one run, which is the limit; give it fewer"):
        predictor.run(noise(1024))
    patient = Predictor(one.folder, check=False, threads=1, max_run_s=None)
    with pytest.raises(TimeLimitError):
        predictor.run(noise(1024, seed=1))
    predictor._max_run_s = 60.0
    np.testing.assert_array_equal(predictor.run(noise(2))[0], patient.run(noise(2))[0])


@pytest.mark.parametrize("threads", [0, -1, 1.0, True], ids=str)
def test_other_numbers_of_threads_are_refused(small: Any, threads: Any) -> None:
    with pytest.raises(ValueError, match=f"threads: {threads!r} is not allowed; it has to be a whole number"):
        Predictor(small.folder, threads=threads)


@pytest.mark.parametrize("limit", [0, -1.0, float("nan"), float("inf")], ids=str)
def test_other_time_limits_are_refused(small: Any, limit: float) -> None:
    with pytest.raises(ValueError, match=r"max_run_s: .* is not allowed; it has to be over 0 and finite, or None"):
        Predictor(small.folder, max_run_s=limit)
