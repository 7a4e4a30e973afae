"""Where a run's network looks: files for pictures, with the answers that the exported model gives, too."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune import explaining
from finetune.errors import ConfigError, DataError, ImageError, ModelError
from finetune.explaining import Explanation, explain
from finetune_export import Prediction, Predictor, model_file
from finetune_export.image_gate import PICTURE_SUFFIXES

from .conftest import LABELS


def one_picture(trained: Any) -> Path:
    return trained.pictures / "valid" / LABELS[0] / "0 of 6, plain.jpg"  # type: ignore[no-any-return]


def answers(found: list[Explanation]) -> list[float]:
    return [each.answer for each in found]


def test_every_picture_of_a_folder_has_a_file_and_the_models_own_answer(trained: Any, tmp_path: Path) -> None:
    folder = trained.pictures / "valid" / LABELS[0]  # every kind of picture is in each

    found = explain(trained.run, [folder], out=tmp_path / "out")

    predictions = Predictor(trained.model).predict([each.path for each in found])
    assert sorted(each.path for each in found) == sorted(map(str, folder.iterdir()))
    assert [each.explains for each in found] == [prediction.label for prediction in predictions]
    assert [each.says for each in found] == [prediction.given for prediction in predictions]
    assert answers(found) == pytest.approx([prediction.probability for prediction in predictions], abs=1e-4)
    assert sorted((tmp_path / "out").iterdir()) == sorted(each.file for each in found)
    assert any(each.speaks for each in found)


def test_an_explanation_is_a_picture_named_after_the_one_it_is_of(trained: Any, tmp_path: Path) -> None:
    (found,) = explain(trained.model, [one_picture(trained)], out=tmp_path)

    assert found.file == tmp_path / "0 of 6, plain.explained.png"
    with Image.open(found.file) as opened:
        assert opened.width > opened.height > 300


def test_another_label_is_explained_where_it_is_asked_for(trained: Any, tmp_path: Path) -> None:
    picture = one_picture(trained)
    (top,) = explain(trained.run, [picture], out=tmp_path / "top")
    other = next(label for label in LABELS if label != top.explains)

    (found,) = explain(trained.run, [picture], label=other, out=tmp_path / "other")

    assert (found.explains, found.says) == (other, top.says)
    assert found.answer == pytest.approx(1 - top.answer, abs=1e-5)
    assert found.file.read_bytes() != top.file.read_bytes()


def test_pictures_of_one_name_have_files_of_their_own(trained: Any, tmp_path: Path) -> None:
    pictures = [tmp_path / name for name in ("a/cat.png", "b/cat.png", "b/CAT.jpg", "b/cat-2.png")]
    for picture in pictures:
        picture.parent.mkdir(exist_ok=True)
        shutil.copy(one_picture(trained), picture)

    found = explain(trained.run, pictures, out=tmp_path / "out")

    names = ["cat.explained.png", "cat-2.explained.png", "CAT-3.explained.png", "cat-2-2.explained.png"]
    assert [each.file.name for each in found] == names


def test_a_very_long_name_is_cut_to_one_that_fits(trained: Any, tmp_path: Path) -> None:
    picture = tmp_path / f"{'甲' * 80}.png"
    shutil.copy(one_picture(trained), picture)

    (found,) = explain(trained.run, [picture], out=tmp_path / "out")

    assert found.file.name == f"{'甲' * 66}.explained.png"


def test_earlier_explanations_are_replaced_and_not_explained(trained: Any, tmp_path: Path) -> None:
    shutil.copy(one_picture(trained), tmp_path / "one.jpg")
    first = explain(trained.run, [tmp_path], out=tmp_path)

    assert explain(trained.run, [tmp_path], out=tmp_path) == first
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one.explained.png", "one.jpg"]
    with pytest.raises(DataError, match=r"^There is no picture to explain\. Name a picture, a folder or a pattern;"):
        explain(trained.run, [first[0].file], out=tmp_path / "out")


@pytest.mark.parametrize("suffix", PICTURE_SUFFIXES)
def test_a_file_of_somebody_else_is_never_written_over(
    trained: Any, tmp_path: Path, suffix: str, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    shutil.copy(one_picture(trained), tmp_path / f"one{suffix}")
    shutil.copy(one_picture(trained), tmp_path / "one.explained.png")
    before = tree(tmp_path)

    with pytest.raises(ConfigError, match=r"one\.explained\.png is there already, and 'finetune explain' did not"):
        explain(trained.run, [tmp_path / f"one{suffix}"], out=tmp_path)

    assert tree(tmp_path) == before


# ── other tasks, other files ────────────────────────────────────────────────────────────────────────


def test_of_several_labels_the_likeliest_is_explained_and_of_values_the_first(
    trained_on_table: Any, tmp_path: Path
) -> None:
    picture = trained_on_table.pictures.parent / "valid 0 0.png"

    (found,) = explain(trained_on_table.run, [picture], out=tmp_path)
    (blue,) = explain(trained_on_table.run, [picture], label="blue", out=tmp_path)

    predictor = Predictor(trained_on_table.model)
    row = dict(zip(predictor.labels, predictor.answers(picture)[0].tolist(), strict=True))
    assert found.explains == ("red" if found.task == "regression" else max(row, key=lambda label: row[label]))
    assert (found.answer, blue.answer) == pytest.approx((row[found.explains], row["blue"]), abs=1e-4)
    assert found.says == predictor.predict(picture)[0].given


def test_a_model_elsewhere_is_explained_with_its_run(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    here, there = (
        explain(model, [one_picture(trained)], out=tmp_path / "out", run=run)
        for model, run in ((trained.model, None), (tmp_path / "model.onnx", trained.run))
    )

    assert here == there


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def test_a_model_alone_has_no_gradients(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    with pytest.raises(ConfigError) as caught:
        explain(tmp_path / "model.onnx", [one_picture(trained)], out=tmp_path)

    assert str(caught.value) == (
        f"{tmp_path / 'model.onnx'} has no gradients, which heat maps are made of; its run has: give --run, the folder "
        "of the run that exported it."
    )


def test_what_is_no_model_is_refused_as_such(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model_file.with_metadata(trained.model.read_bytes(), {}))

    for wrong in (tmp_path / "model.onnx", tmp_path / "missing.onnx", tmp_path):
        with pytest.raises(ModelError, match=str(wrong)):
            explain(wrong, [one_picture(trained)], out=tmp_path / "out")


def test_a_model_of_another_run_is_refused(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    status = json.loads((tmp_path / "run" / "run.json").read_text(encoding="utf-8"))
    (tmp_path / "run" / "run.json").write_text(json.dumps(status | {"id": "another-run"}))

    with pytest.raises(ModelError, match=r"was made by the run .*, and .* holds the run another-run\. Give --run"):
        explain(trained.model, [one_picture(trained)], out=tmp_path / "out", run=tmp_path / "run")


def test_a_run_that_is_not_done_is_refused(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    (tmp_path / "run" / "model.onnx").unlink()

    with pytest.raises(ConfigError, match=r"run has no model\.onnx any more\. Put it back, or train again\."):
        explain(tmp_path / "run", [one_picture(trained)], out=tmp_path / "out")
    (tmp_path / "run" / "run.json").write_text('{"status": "interrupted"}')
    with pytest.raises(ConfigError, match=r"run has no model\.onnx: its run is not done\. Go on with it: finetune run"):
        explain(tmp_path / "run", [one_picture(trained)], out=tmp_path / "out")


def test_a_run_given_twice_is_refused(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--run .* is for a model away from its run, and .*; leave it out\.$"):
        explain(trained.run, [one_picture(trained)], out=tmp_path, run=trained.run)


def test_nothing_is_written_where_anything_is_wrong(trained: Any, tmp_path: Path) -> None:
    good, out = one_picture(trained), tmp_path / "out"
    broken, missing = tmp_path / "broken.jpg", tmp_path / "missing.jpg"
    broken.write_bytes(b"\xff\xd8\xff\xe0 and no more")
    (tmp_path / "file").touch()

    with pytest.raises(ImageError, match=r"broken\.jpg: the picture is cut off or damaged"):
        explain(trained.run, [good, broken], out=out)
    with pytest.raises(DataError, match=r"^2 of 3 pictures cannot be read, first .*broken\.jpg: .*Leave them out\.$"):
        explain(trained.run, [broken, good, missing], out=out)
    with pytest.raises(ImageError, match=r"\*\.gif: no picture matches this pattern$"):
        explain(trained.run, [good, f"{tmp_path}/*.gif"], out=out)
    with pytest.raises(ConfigError, match=r"^Unknown --label 'dog brown'\. Did you mean 'dog, brown'\?"):
        explain(trained.run, [good], label="dog brown", out=out)
    with pytest.raises(ConfigError, match=r"^--out .*file is a file; give a folder\.$"):
        explain(trained.run, [good], out=tmp_path / "file")

    assert not out.exists()


def test_a_backbone_without_a_place_for_a_map_is_named(
    trained: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explaining, "heat_maps", lambda *_: None)

    with pytest.raises(ConfigError, match=r"^The backbone 'squeezenet1_1' has no place for a heat map: .*list backb"):
        explain(trained.run, [one_picture(trained)], out=tmp_path / "out")

    assert not (tmp_path / "out").exists()


# ── what is said ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("threshold", "label", "speaks", "lines"),
    [
        (0.0, "bee", True, ["bee 75.0%", "Bright: what speaks for 'bee'."]),
        (0.9, "bee", True, ["bee 75.0%, too little for the model to say so", "Bright: what speaks for 'bee'."]),
        (0.0, "ant", True, ["bee 75.0%", "Bright: what speaks for 'ant' (25.0%)."]),
        (0.0, "ant", False, ["bee 75.0%", "Nothing in the picture speaks for 'ant' (25.0%)."]),
    ],
)
def test_the_caption_says_what_the_model_says_and_what_is_bright(
    trained: Any, threshold: float, label: str, speaks: bool, lines: list[str]
) -> None:
    contract = replace(Predictor(trained.model).contract, labels=("ant", "bee"), thresholds={"bee": threshold})
    prediction = Prediction.of("x", np.array([0.25, 0.75], np.float32), contract)
    answer = {"ant": 0.25, "bee": 0.75}[label]
    found = Explanation(
        path="in/photo.jpg",
        file=Path("photo.explained.png"),
        task="single-label",
        explains=label,
        answer=answer,
        says=prediction.given,
        abstains=prediction.abstains,
        speaks=speaks,
    )

    assert explaining._lines(found, prediction) == ["photo.jpg", *lines]
