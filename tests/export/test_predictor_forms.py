"""The forms that pictures, models and answers may come in: arrays, streams, folders, pickles, abstention."""

from __future__ import annotations

import io
import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from finetune_export.contract import Contract, read_contract
from finetune_export.errors import ImageError, ModelError, TimeLimitError
from finetune_export.image import Limits, Source
from finetune_export.predictor import Prediction, Predictor


@pytest.fixture
def predictor(model_path: Path) -> Predictor:
    return Predictor(model_path)


# ── arrays ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("shape", "kind"),
    [((20, 30, 3), np.uint8), ((20, 30), np.uint8), ((20, 30, 4), np.uint8), ((20, 30), np.uint16)],
)
def test_an_array_answers_as_the_picture_it_holds(
    predictor: Predictor, tmp_path: Path, shape: tuple[int, ...], kind: Any
) -> None:
    array = np.random.default_rng(3).integers(0, np.iinfo(kind).max, shape, kind, endpoint=True)
    Image.fromarray(array).save(tmp_path / "same.png")
    (from_array,), (from_file,) = predictor.predict(array), predictor.predict(tmp_path / "same.png")
    assert from_array.source == "<array>"
    assert from_array.answers == from_file.answers


def test_a_stack_of_arrays_is_as_many_pictures(predictor: Predictor) -> None:
    stack = np.random.default_rng(3).integers(0, 256, (5, 20, 30, 3), np.uint8)
    answers = predictor.answers(stack, batch_size=1)
    assert np.array_equal(answers, np.concatenate([predictor.answers(each) for each in stack]))


def test_rows_of_an_array_need_not_lie_side_by_side(predictor: Predictor) -> None:
    large = np.random.default_rng(3).integers(0, 256, (40, 60, 3), np.uint8)
    turned = large[::2, ::-2]
    assert np.array_equal(predictor.answers(turned), predictor.answers(turned.copy()))


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 5, 3), np.float32), "<array>: an array of float32 (4, 5, 3); a picture has to be uint8"),
        (np.zeros((3, 40, 50), np.uint8), "<array>: an array of uint8 (3, 40, 50); a picture has to be uint8"),
        (np.zeros((4, 5, 3), np.uint16), "<array>: an array of uint16 (4, 5, 3); a picture has to be uint8"),
        (np.zeros(7, np.uint8), "<array>: an array of uint8 (7,); a picture has to be uint8"),
        (np.zeros((0, 5, 3), np.uint8), "<array>: an array of the shape (0, 5, 3) has no pixels"),
    ],
)
def test_other_arrays_are_refused(predictor: Predictor, array: np.ndarray[Any, Any], message: str) -> None:
    with pytest.raises(ImageError) as refused:
        predictor.predict(array)
    assert str(refused.value).startswith(message)


def test_an_array_is_held_to_the_limits(model_path: Path) -> None:
    small = Predictor(model_path, limits=Limits(max_pixels=599))
    with pytest.raises(ImageError, match="30 x 20 pixels; at most 599 are allowed altogether"):
        small.predict(np.zeros((20, 30, 3), np.uint8))


# ── sources ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_file_may_be_any_buffer_or_path(predictor: Predictor, photo: Callable[..., Any], tmp_path: Path) -> None:
    photo().save(tmp_path / "a.png")
    with os.scandir(tmp_path) as folder:
        (entry,) = (each for each in folder if each.name == "a.png")
    data = (tmp_path / "a.png").read_bytes()
    sources: list[Source] = [tmp_path / "a.png", PurePath(entry), entry, data, bytearray(data), memoryview(data)]
    alone = [predictor.predict(source)[0] for source in sources]
    assert alone == predictor.predict(sources, batch_size=1)
    assert [answer.source for answer in alone] == [str(tmp_path / "a.png")] * 3 + ["<bytes>"] * 3
    assert len({answer.answers for answer in alone}) == 1


@pytest.mark.parametrize("wrong", [None, 3, True, 1.5, object(), io.BytesIO(b"GIF89a\n"), io.StringIO("a.png\n")])
def test_what_is_no_picture_is_refused_by_its_type(predictor: Predictor, wrong: Any) -> None:
    message = (
        rf"a picture of type {type(wrong).__name__} is not allowed; it has to be a path, a file's content as bytes"
    )
    for sources in (wrong, [wrong], iter([wrong])):
        with pytest.raises(TypeError, match=message):
            predictor.predict(sources)
    with pytest.raises(TypeError, match=message):
        predictor.pixels(wrong)


def test_an_opened_picture_given_twice_is_decoded_once(predictor: Predictor, tmp_path: Path) -> None:
    turned = Image.Exif()
    turned[0x0112] = 6
    noise = np.random.default_rng(3).integers(0, 256, (500, 700, 3), np.uint8)
    pictures: dict[str, dict[str, Any]] = {"a.png": {}, "a.jpg": {"exif": turned}}
    for name, options in pictures.items():
        Image.fromarray(noise).save(tmp_path / name, **options)
        expected = predictor.answers([tmp_path / name] * 4)
        for _ in range(8):
            with Image.open(tmp_path / name) as picture:
                assert np.array_equal(predictor.answers([picture] * 4), expected)


def test_an_opened_picture_is_decoded_by_the_thread_that_gave_it(predictor: Predictor) -> None:
    threads = []

    class Lazy(Image.Image):
        def load(self) -> Any:
            threads.append(threading.current_thread())
            return super().load()

    picture = Lazy()
    picture.__setstate__(list(Image.new("RGBA", (30, 20)).__getstate__()))
    threads.clear()
    predictor.predict([picture] * 3)
    assert set(threads) == {threading.current_thread()}


def test_an_opened_picture_that_is_cut_is_an_error_in_its_place(
    predictor: Predictor, photo: Callable[..., Any], tmp_path: Path
) -> None:
    photo(200, 200).save(tmp_path / "cut.png")
    data = (tmp_path / "cut.png").read_bytes()
    sources = [photo(), Image.open(io.BytesIO(data[: len(data) // 2])), photo()]
    first, cut, last = predictor.stream(sources)
    assert first == last
    assert isinstance(cut, ImageError)
    assert str(cut).startswith("<image>: the picture is cut off or damaged")


# ── streams ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_stream_has_an_answer_for_each_picture_in_order(predictor: Predictor, photo: Callable[..., Any]) -> None:
    sources = [photo(seed=0), b"no picture", photo(seed=1), b"", photo(seed=2)]
    answers = list(predictor.stream(sources, batch_size=1))
    assert [isinstance(answer, Prediction) for answer in answers] == [True, False, True, False, True]
    assert [str(answer) for answer in answers if isinstance(answer, ImageError)] == [
        "<bytes>: not a picture in a known format; allowed are JPEG, PNG, WEBP, BMP, GIF",
        "<bytes>: the file is empty",
    ]
    sound = [answer for answer in answers if isinstance(answer, Prediction)]
    assert sound == predictor.predict([each for each in sources if not isinstance(each, bytes)], batch_size=1)


def test_a_stream_begins_before_its_sources_end(predictor: Predictor, photo: Callable[..., Any]) -> None:
    taken = 0

    def endless() -> Iterator[Image.Image]:
        nonlocal taken
        while True:
            taken += 1
            yield photo(seed=taken % 3)

    stream = predictor.stream(endless(), batch_size=4)
    for _ in range(9):
        next(stream)
    assert taken <= 9 + 2 * 4
    stream.close()  # type: ignore[attr-defined]


# ── models ──────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("inside", ["model.onnx", "finetune.onnx", "insects/1/model.onnx"])
def test_a_folder_that_holds_one_model_stands_for_it(
    model_path: Path, tmp_path: Path, inside: str, photo: Callable[..., Any]
) -> None:
    folder = tmp_path / "artifact"
    (folder / inside).parent.mkdir(parents=True)
    (folder / inside).write_bytes(model_path.read_bytes())
    assert Predictor(folder).path == folder / inside
    assert Predictor(folder).predict(photo()) == Predictor(model_path).predict(photo())


@pytest.mark.parametrize(
    ("versions", "served"),
    [(("1", "2"), "2"), (("9", "10"), "10"), (("1", "02", "old", "0", "³"), "1"), (("3",), "3")],
)
def test_of_a_triton_models_versions_the_latest_counts(
    versions: tuple[str, ...], served: str, model_path: Path, tmp_path: Path
) -> None:
    for version in (*versions, served):
        folder = tmp_path / "triton" / "insects" / version
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "model.onnx").write_bytes(model_path.read_bytes() if version == served else b"")
    assert Predictor(tmp_path / "triton").path == tmp_path / "triton" / "insects" / served / "model.onnx"
    assert read_contract(tmp_path / "triton") == read_contract(model_path)


@pytest.mark.parametrize("second", ["birds/2/model.onnx", "finetune.onnx"])
def test_a_folder_with_several_models_is_refused(second: str, tmp_path: Path) -> None:
    for name in ("insects/1/model.onnx", second):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for take in (Predictor, read_contract):
        with pytest.raises(ModelError, match=r"a folder with 2 models; give the \.onnx file itself"):
            take(tmp_path)


def test_a_path_that_no_file_can_have_is_refused() -> None:
    with pytest.raises(ModelError, match=r"the model file cannot be read \(File name too long\)"):
        Predictor("a" * 5000)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"a folder with 0 models; give the \.onnx file itself"):
        Predictor(tmp_path)


def test_a_pickled_predictor_opens_its_file_again(
    model_path: Path, photo: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(model_path.parent)
    predictor = Predictor(model_path.name, threads=1, limits=Limits(max_side_px=100), providers=["cpu"])
    pickled = pickle.dumps(predictor)
    monkeypatch.chdir(tmp_path.parent)
    again = pickle.loads(pickled)
    assert again.predict(photo()) == predictor.predict(photo())
    with pytest.raises(ImageError, match="a side may have at most 100"):
        again.predict(photo(width=101))


def test_a_predictor_goes_to_another_process(predictor: Predictor, photo: Callable[..., Any]) -> None:
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        (there,) = pool.map(predictor.predict, [photo()])
    assert there == predictor.predict(photo())


def test_a_pickled_refusal_says_the_same(predictor: Predictor) -> None:
    with pytest.raises(ImageError) as refused:
        predictor.predict(b"no picture")
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), vars(again)) == (str(refused.value), vars(refused.value))


def test_a_run_is_ended_at_its_limit_and_the_next_one_answers(
    make_graph: Callable[..., onnx.ModelProto], seal: Callable[..., bytes], contract: Contract, tmp_path: Path
) -> None:
    large = replace(contract, preprocessing=replace(contract.preprocessing, image_size_px=256))
    path = tmp_path / "large.onnx"
    path.write_bytes(seal(make_graph(side=256), large))
    hasty = Predictor(path, check=False, max_run_s=1e-9)
    with pytest.raises(TimeLimitError, match="took longer than 1e-09 s for one run") as late:
        hasty.run(np.zeros((64, 256, 256, 3), np.uint8))
    assert late.value.exit_code == 6
    assert Predictor(path).run(np.zeros((1, 256, 256, 3), np.uint8))[0].shape == (1, 3)


def test_runs_share_one_watching_thread(predictor: Predictor, photo: Callable[..., Any], model_path: Path) -> None:
    predictor.predict(photo())
    threads = threading.active_count()
    for _ in range(3):
        Predictor(model_path).predict(photo())
    assert threading.active_count() == threads


# ── abstention ──────────────────────────────────────────────────────────────────────────────────────


def test_a_model_abstains_below_the_threshold_of_its_label(
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract: Contract,
    write: Callable[[bytes], Path],
    photo: Callable[..., Any],
) -> None:
    (plain,) = Predictor(write(seal(make_graph()))).predict(photo())
    assert not plain.abstains
    for threshold, abstains in ((plain.probability, False), (plain.probability + 1e-6, True)):
        stated = replace(contract, thresholds={plain.label: threshold})
        (answer,) = Predictor(write(seal(make_graph(), stated))).predict(photo())
        assert answer == replace(plain, abstains=abstains)


def test_thresholds_of_other_labels_do_not_matter(
    make_graph: Callable[..., onnx.ModelProto],
    seal: Callable[..., bytes],
    contract: Contract,
    write: Callable[[bytes], Path],
    photo: Callable[..., Any],
) -> None:
    (plain,) = Predictor(write(seal(make_graph()))).predict(photo())
    others = {label: 1.0 for label in contract.labels if label != plain.label}
    (answer,) = Predictor(write(seal(make_graph(), replace(contract, thresholds=others)))).predict(photo())
    assert not answer.abstains


def test_a_threshold_is_a_probability(contract: Contract) -> None:
    with pytest.raises(ModelError, match=r"finetune\.contract\.thresholds: 1\.5 is not allowed; it has to be between"):
        replace(contract, thresholds={"ant": 1.5}).to_json()
