from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from finetune_export import model_file
from finetune_export.contract import CONTRACT_KEY, GOLDEN_KEY, Contract, Task
from finetune_export.errors import ImageError, ModelError, RuntimeUnavailableError
from finetune_export.image import Limits, Source, read_pixels
from finetune_export.predictor import Predictor

MakeGraph = Callable[..., onnx.ModelProto]
Seal = Callable[..., bytes]
Write = Callable[[bytes], Path]


@pytest.fixture
def predictor(model_path: Path) -> Predictor:
    return Predictor(model_path)


@pytest.fixture
def files(tmp_path: Path, photo: Callable[..., Image.Image]) -> list[Path]:
    paths = [tmp_path / f"{i}.{kind}" for i, kind in enumerate(["png", "jpg", "webp", "bmp", "gif"] * 4)]
    for i, path in enumerate(paths):
        photo(40 + 3 * i, 60 - 2 * i, seed=i).save(path)
    return paths


def edited(model: bytes, key: str, change: Callable[[str], str]) -> bytes:
    """Return the model with one metadata value changed, as an editor of metadata would."""
    metadata = dict(model_file.read(model).metadata)
    metadata[key] = change(metadata[key])
    return model_file.with_metadata(model, metadata)


# ── answers ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_prediction_names_the_picture_and_its_label(predictor: Predictor, files: list[Path]) -> None:
    (prediction,) = predictor.predict(files[0])
    assert prediction.source == str(files[0])
    assert predictor.labels == prediction.labels == ("ant", "bee", "Käfer 甲")
    assert (predictor.task, prediction.task) == ("single-label", "single-label")
    assert prediction.probability == max(prediction.answers)
    assert prediction.label == prediction.labels[prediction.answers.index(prediction.probability)]
    assert sum(prediction.answers) == pytest.approx(1)


def test_answers_are_those_of_the_formula(predictor: Predictor, files: list[Path], contract: Contract) -> None:
    pixels = np.stack([read_pixels(path, contract.preprocessing) for path in files])
    features = (pixels.astype(np.float32) / 255).mean(axis=1).reshape(len(files), -1)
    logits = features @ np.random.default_rng(7).normal(0, 0.3, (48, 3)).astype(np.float32)
    expected = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert np.allclose(predictor.embeddings(files), features, atol=1e-6)
    assert np.allclose(predictor.answers(files), expected, atol=1e-6)


@pytest.mark.parametrize("task", ["multi-label", "regression"])
def test_answers_of_other_tasks_are_those_of_their_formulas(
    task: Task, task_path: Callable[[Task], Path], files: list[Path]
) -> None:
    predictor = Predictor(task_path(task))
    logits = predictor.embeddings(files) @ np.random.default_rng(7).normal(0, 0.3, (48, 3)).astype(np.float32)
    scaling = predictor.contract.scaling
    expected = logits * scaling.scale + scaling.offset if scaling else 1 / (1 + np.exp(-logits))
    answers = predictor.answers(files)
    assert answers.dtype == np.float32
    assert np.allclose(answers, expected, rtol=1e-5, atol=1e-6)
    predictions = predictor.predict(files, batch_size=20)
    assert np.allclose([each.answers for each in predictions], answers, rtol=1e-5, atol=1e-6)


def test_each_label_that_reaches_its_threshold_is_given(task_path: Callable[[Task], Path], files: list[Path]) -> None:
    found = Predictor(task_path("multi-label")).predict(files)
    reach = np.array([each.answers for each in found]) >= [0.5, 0.3, 0.5]
    assert [set(each.given) for each in found] == [
        {label for label, reaches in zip(each.labels, row, strict=True) if reaches}
        for each, row in zip(found, reach, strict=True)
    ]
    assert not any(each.abstains for each in found)


def test_a_regression_answers_with_values_by_their_names(task_path: Callable[[Task], Path], files: list[Path]) -> None:
    predictor = Predictor(task_path("regression"))
    (prediction,) = predictor.predict(files[0])
    assert (predictor.task, prediction.task, prediction.given) == ("regression", "regression", ())
    assert list(prediction.values) == ["age", "weight in kg", "error"]
    assert prediction.values["age"] == prediction.answers[0]


@pytest.mark.parametrize("batch_size", [1, 2, 7, 20, 100])
def test_batches_of_any_size_answer_as_single_pictures_do(
    predictor: Predictor, files: list[Path], batch_size: int
) -> None:
    singles = np.concatenate([predictor.answers(path) for path in files])
    assert singles.dtype == np.float32
    assert np.abs(predictor.answers(files, batch_size=batch_size) - singles).max() <= 1e-6
    predictions = predictor.predict(files, batch_size=batch_size)
    assert [prediction.source for prediction in predictions] == [str(path) for path in files]
    assert np.allclose([prediction.answers for prediction in predictions], singles, atol=1e-6)


def test_paths_text_bytes_and_pictures_are_all_sources(predictor: Predictor, files: list[Path]) -> None:
    path = files[0]
    sources: list[Source] = [path, str(path), path.read_bytes(), Image.open(path)]
    predictions = predictor.predict(iter(sources))
    assert [prediction.source for prediction in predictions] == [str(path), str(path), "<bytes>", "<image>"]
    assert len({prediction.answers for prediction in predictions}) == 1
    for source in sources:
        assert len(predictor.predict(source)) == 1


def test_no_pictures_have_no_answers(predictor: Predictor) -> None:
    assert predictor.predict([]) == []
    assert predictor.answers([]).shape == (0, 3)
    assert predictor.embeddings([]).shape == (0, 48)


def test_a_batch_holds_at_least_one_picture(predictor: Predictor, files: list[Path]) -> None:
    with pytest.raises(ValueError, match="batch_size: 0 is not allowed"):
        predictor.predict(files, batch_size=0)


def test_eight_threads_get_the_same_answers(predictor: Predictor, files: list[Path]) -> None:
    alone = predictor.answers(files)
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda _: predictor.answers(files, batch_size=3), range(16)))
    assert all(np.abs(other - alone).max() <= 1e-6 for other in together)


def test_a_long_list_is_read_as_it_is_needed(predictor: Predictor, files: list[Path]) -> None:
    taken = 0

    def endless() -> Iterator[Path]:
        nonlocal taken
        while True:
            taken += 1
            yield files[0] if taken < 50 else files[0].with_name("absent.png")

    with pytest.raises(ImageError, match=r"absent\.png"):
        predictor.predict(endless(), batch_size=4)
    assert taken <= 60


def test_many_pictures_do_not_pile_up_in_memory(predictor: Predictor, files: list[Path]) -> None:
    tracemalloc.start()
    try:
        predictor.answers((files[i % 20] for i in range(600)), batch_size=4)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 600 * 16 * 16 * 3  # less than all pictures' pixels at once


# ── bad pictures ────────────────────────────────────────────────────────────────────────────────────


def test_a_bad_picture_is_an_error(predictor: Predictor, files: list[Path]) -> None:
    files[7].write_bytes(b"")
    with pytest.raises(ImageError) as refused:
        predictor.predict(files)
    assert (refused.value.source, refused.value.reason) == (str(files[7]), "the file is empty")


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_bad_pictures_can_be_collected(predictor: Predictor, files: list[Path], batch_size: int) -> None:
    for i in (2, 3, 19):
        files[i].write_bytes(b"")
    errors: list[ImageError] = []
    predictions = predictor.predict(files, batch_size=batch_size, errors=errors)
    assert [error.source for error in errors] == [str(files[i]) for i in (2, 3, 19)]
    assert [each.source for each in predictions] == [str(path) for i, path in enumerate(files) if i not in (2, 3, 19)]


def test_the_limits_are_the_callers(model_path: Path, files: list[Path]) -> None:
    with pytest.raises(ImageError, match="at most 100 are allowed"):
        Predictor(model_path, limits=Limits(max_pixels=100)).predict(files[0])
    assert Predictor(model_path, check=True, limits=Limits(max_pixels=100)).notes == ()


# ── damaged, foreign and dishonest models ───────────────────────────────────────────────────────────


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_changed_byte_is_refused(data: st.DataObject, model: bytes, write: Write) -> None:
    end = model.index(b"names") - 4  # the plain keys for other readers are last, and not ours
    at = data.draw(st.integers(0, len(model) - 1).filter(lambda at: not end <= at < end + 24))
    flipped = bytearray(model)
    flipped[at] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(ModelError):
        Predictor(write(bytes(flipped)))


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_every_cut_is_refused(data: st.DataObject, model: bytes, write: Write) -> None:
    with pytest.raises(ModelError):
        Predictor(write(model[: data.draw(st.integers(0, len(model) - 1))]))


def test_one_flipped_weight_is_refused_even_without_golden_pairs(model: bytes, write: Write) -> None:
    weights = np.random.default_rng(7).normal(0, 0.3, (48, 3)).astype(np.float32).tobytes()
    flipped = bytearray(model)
    flipped[model.index(weights) + 100] ^= 1
    with pytest.raises(ModelError, match=r"model\.onnx: the graph is not the one that was exported"):
        Predictor(write(bytes(flipped)), check=False)


def test_labels_swapped_in_the_metadata_are_refused(model: bytes, write: Write) -> None:
    swapped = edited(model, CONTRACT_KEY, lambda text: text.replace('"ant", "bee"', '"bee", "ant"'))
    with pytest.raises(ModelError, match="changed after it was written"):
        Predictor(write(swapped))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"crop_fraction": 0.875', '"crop_fraction": 0.975'),
        ('"mean": [0.485', '"mean": [0.585'),
        ('"temperature": 1.0', '"temperature": 2.0'),
    ],
)
def test_preprocessing_changed_in_the_metadata_is_refused(old: str, new: str, model: bytes, write: Write) -> None:
    changed = edited(model, CONTRACT_KEY, lambda text: text.replace(old, new))
    with pytest.raises(ModelError, match="changed after it was written"):
        Predictor(write(changed))


def test_a_contract_rewritten_for_another_crop_fails_the_golden_pairs(model: bytes, write: Write) -> None:
    def rewrite(text: str) -> str:
        contract = Contract.from_json(text)
        return replace(contract, preprocessing=replace(contract.preprocessing, crop_fraction=0.5)).to_json()

    path = write(edited(model, CONTRACT_KEY, rewrite))
    with pytest.raises(ModelError, match="its pixels differ from those at export"):
        Predictor(path)
    assert Predictor(path, check=False).contract.preprocessing.crop_fraction == 0.5


def test_golden_pairs_of_another_model_are_refused(
    model: bytes, make_graph: MakeGraph, seal: Seal, write: Write
) -> None:
    other = model_file.read(seal(make_graph(np.eye(48, 3, dtype=np.float32) * 9))).metadata[GOLDEN_KEY]
    with pytest.raises(ModelError, match=r"colour\.png: a probability differs by"):
        Predictor(write(edited(model, GOLDEN_KEY, lambda _: other)))


@pytest.mark.parametrize("key", [CONTRACT_KEY, GOLDEN_KEY])
def test_missing_metadata_are_named(key: str, model: bytes, write: Write) -> None:
    metadata = {name: value for name, value in model_file.read(model).metadata.items() if name != key}
    with pytest.raises(ModelError, match=f"metadata key '{key}' is missing; only models that finetune exported"):
        Predictor(write(model_file.with_metadata(model, metadata)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text[:-40], "not valid JSON"),
        (lambda text: text.replace("{", '{"run_id": "twice", ', 1), 'key "run_id" occurs twice'),
        (lambda text: text.replace('"schema": 1', '"schema": 2'), "schema 2 needs finetune-export >= 0.1.0"),
        (lambda text: text + " " * 10_000_000, "at most 4194304 are allowed"),
        (lambda _: "", "not valid JSON"),
    ],
)
def test_a_broken_contract_is_refused(change: Callable[[str], str], message: str, model: bytes, write: Write) -> None:
    with pytest.raises(ModelError) as refused:
        Predictor(write(edited(model, CONTRACT_KEY, change)))
    assert message in str(refused.value)
    assert str(refused.value).startswith(str(write(model)))
    assert "\n" not in str(refused.value)


def test_weights_that_are_not_numbers_are_refused(make_graph: MakeGraph, seal: Seal, write: Write) -> None:
    honest = model_file.read(seal(make_graph())).metadata[GOLDEN_KEY]
    broken = seal(make_graph(np.full((48, 3), np.nan, np.float32)), pairs=False)
    metadata = {**model_file.read(broken).metadata, GOLDEN_KEY: honest}
    with pytest.raises(ModelError, match="not one row of finite numbers"):
        Predictor(write(model_file.with_metadata(broken, metadata)))


def test_weights_that_are_not_numbers_never_answer(
    make_graph: MakeGraph, seal: Seal, write: Write, files: list[Path]
) -> None:
    path = write(seal(make_graph(np.full((48, 3), np.nan, np.float32)), pairs=False))
    with pytest.raises(ModelError, match=r"model\.onnx: the network's probabilities are not"):
        Predictor(path, check=False).predict(files)


def test_labels_that_do_not_fit_the_output_are_refused(
    make_graph: MakeGraph, seal: Seal, write: Write, contract: Contract
) -> None:
    path = write(seal(make_graph(), contract=replace(contract, labels=("ant", "bee"))))
    with pytest.raises(ModelError, match=r"'probabilities' is .* it has to be tensor\(float\) \(N, 2\)"):
        Predictor(path)


def test_external_weights_are_refused_even_beside_the_file(
    make_graph: MakeGraph, seal: Seal, write: Write, tmp_path: Path
) -> None:
    model = make_graph()
    path = tmp_path / "model.onnx"
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="model.onnx.data")
    assert (tmp_path / "model.onnx.data").exists()
    write(seal(path.read_bytes(), pairs=False))
    with pytest.raises(ModelError, match="keeps weights outside the file"):
        Predictor(path, check=False)


def test_a_loop_is_refused_before_it_can_run(make_graph: MakeGraph, seal: Seal, write: Write) -> None:
    model = make_graph()
    body = onnx.helper.make_graph([], "forever", [], [])
    model.graph.node.append(onnx.helper.make_node("Loop", ["", "yes"], ["never"], body=body))
    with pytest.raises(ModelError, match="such as Loop"):
        Predictor(write(seal(model, pairs=False)), check=False)


def test_the_file_is_read_once(model_path: Path, files: list[Path]) -> None:
    predictor = Predictor(model_path)
    model_path.unlink()
    assert len(predictor.predict(files)) == len(files)


def test_a_missing_provider_is_named(model_path: Path) -> None:
    with pytest.raises(RuntimeUnavailableError, match="'TPU' is not installed; available are"):
        Predictor(model_path, providers=["TPU"])


@pytest.mark.parametrize("max_run_s", [0, -1.5, float("inf"), float("nan")])
def test_a_time_limit_is_over_0_and_finite(max_run_s: float, model_path: Path) -> None:
    with pytest.raises(
        ValueError, match=f"max_run_s: {max_run_s} is not allowed; it has to be over 0 and finite, or None"
    ):
        Predictor(model_path, max_run_s=max_run_s)


def test_a_run_may_have_no_time_limit(model_path: Path, files: list[Path]) -> None:
    assert len(Predictor(model_path, max_run_s=None).predict(files[0])) == 1


def test_threads_can_be_set(model_path: Path, files: list[Path]) -> None:
    one = Predictor(model_path, threads=1).answers(files)
    assert np.allclose(one, Predictor(model_path).answers(files), atol=1e-6)


def test_other_readers_find_their_keys(model: bytes) -> None:
    properties: dict[str, Any] = {each.key: each.value for each in onnx.load_from_string(model).metadata_props}
    assert properties["names"] == "{0: 'ant'}"
    assert json.loads(properties[CONTRACT_KEY])["labels"] == ["ant", "bee", "Käfer 甲"]
