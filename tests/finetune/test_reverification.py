"""The proof of an export, again: a model held against its run, wherever both are now."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from finetune import reverification
from finetune.errors import ConfigError, DataError, ModelError
from finetune.reporting import SILENT
from finetune.reverification import Recheck, verify_again
from finetune_export import Predictor, model_file
from finetune_export.contract import PluginOrigin


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def verified(model: Path, run: Path | None = None, data: Path | None = None) -> Recheck:
    return verify_again(model, run=run, data=data, reporter=SILENT)


def test_a_model_in_its_run_folder_is_verified_against_its_network(trained: Any) -> None:
    found = verified(trained.model).verification

    assert found is not None
    assert found.passed
    assert (found.compared, found.agreement) == (trained.result.compared, 1.0)
    assert found.exported_value == trained.result.value


@pytest.fixture
def moved(trained: Any, tmp_path: Path) -> Path:
    """Copy the run into another folder; to it, the pictures seem to be gone from where they were."""
    folder = tmp_path / "moved"
    shutil.copytree(trained.run, folder)
    split = folder / "split.csv"
    split.write_text(split.read_text(encoding="utf-8").replace(str(trained.pictures), "/gone"), encoding="utf-8")
    return folder


def test_pictures_that_moved_are_found_again_by_their_content(
    trained: Any, moved: Path, tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for number, content in enumerate(tree(trained.pictures).values()):
        (elsewhere / f"{number}.jpg").write_bytes(content)

    found = verified(moved / "model.onnx", data=elsewhere).verification

    assert found is not None
    assert (found.compared, found.agreement) == (trained.result.compared, 1.0)


def test_pictures_that_are_gone_are_a_data_error_that_asks_for_them(moved: Path) -> None:
    with pytest.raises(DataError, match=r"^24 of 24 validation pictures are gone, first /gone/.*\. Give --data, the"):
        verified(moved / "model.onnx")


def test_a_model_away_from_its_run_can_be_given_the_run(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    assert verified(tmp_path / "model.onnx", run=trained.run).verification is not None


def test_without_a_run_the_golden_pairs_alone_are_asked(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    found = verified(tmp_path / "model.onnx")

    assert (found.verification, found.metric, found.value, found.labels) == (None, "accuracy", None, 2)
    assert found.rows()[-1] == (
        "network",
        "not compared: give --run (the run's folder) or --data (labelled pictures)",
    )


def test_without_a_run_labelled_pictures_are_scored(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    found = verified(tmp_path / "model.onnx", data=trained.pictures)

    assert (found.metric, found.value, found.pictures) == ("accuracy", trained.result.value, trained.result.compared)
    assert found.rows()[-1] == ("accuracy", f"{trained.result.value:.1%} of {trained.result.compared} pictures")


def test_pictures_of_labels_that_the_model_does_not_know_are_refused(
    trained: Any, tmp_path: Path, pictures: Path
) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    with pytest.raises(DataError, match=r"^The model has no label 'cat'; it knows Käfer 甲, dog, brown\.$"):
        verified(tmp_path / "model.onnx", data=pictures)


def test_without_a_run_a_table_of_labels_is_scored(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")
    shutil.copytree(trained.pictures / "valid", tmp_path / "valid")
    paths = [path.relative_to(tmp_path) for path in sorted((tmp_path / "valid").glob("*/*"))]
    (tmp_path / "valid.tsv").write_text("\n".join(["image\tlabel", *(f"{path}\t{path.parts[1]}" for path in paths)]))

    found = verified(tmp_path / "model.onnx", data=tmp_path / "valid.tsv")

    assert (found.metric, found.value, found.pictures) == ("accuracy", trained.result.value, trained.result.compared)


# ── several labels, and values ──────────────────────────────────────────────────────────────────────


def test_a_model_of_another_task_is_verified_against_its_network(trained_on_table: Any) -> None:
    result = trained_on_table.result

    found = verified(trained_on_table.model)

    assert found.verification is not None
    assert found.verification.passed
    assert (found.verification.metric, found.verification.compared) == (result.metric, 12)
    assert found.verification.exported_value == result.exported_value == pytest.approx(found.verification.value)
    counted = "2 labels" if result.task == "multi-label" else "2 values"
    assert found.rows()[1] == ("file", f"graph, hash and golden pairs are right, {counted}")
    shown_as = "%" if result.task == "multi-label" else ""
    metric, text = found.rows()[-1]
    assert (metric, re.fullmatch(rf"trained \S+{shown_as}, exported \S+{shown_as}", text) is not None) == (
        result.metric,
        True,
    )


def test_a_table_of_labels_or_values_is_scored_by_the_metric_of_the_task(trained_on_table: Any, tmp_path: Path) -> None:
    shutil.copy(trained_on_table.model, tmp_path / "model.onnx")

    found = verified(tmp_path / "model.onnx", data=trained_on_table.pictures)

    result = trained_on_table.result
    assert (found.metric, found.value, found.pictures) == (result.metric, result.exported_value, result.compared)


def test_a_folder_is_no_data_for_a_model_of_another_task(trained_on_table: Any, tmp_path: Path, pictures: Path) -> None:
    shutil.copy(trained_on_table.model, tmp_path / "model.onnx")

    with pytest.raises(ConfigError) as caught:
        verified(tmp_path / "model.onnx", data=pictures)

    assert str(caught.value) == (
        f"--data {pictures} is no table, and folders hold single labels; the task of the model is "
        f"{trained_on_table.result.task}. Give a table with a column for each of red, blue."
    )


def test_a_table_without_a_column_of_the_models_is_refused(trained_on_table: Any, tmp_path: Path) -> None:
    shutil.copy(trained_on_table.model, tmp_path / "model.onnx")
    table = trained_on_table.pictures.read_text().replace("blue", "green")
    (tmp_path / "greens.csv").write_text(table)

    with pytest.raises(
        ConfigError, match=r"^Unknown column of greens\.csv 'blue'\..* Known: green, image, red, split\.$"
    ):
        verified(tmp_path / "model.onnx", data=tmp_path / "greens.csv")


def test_pictures_that_all_show_the_same_have_no_score(trained_on_table: Any, tmp_path: Path) -> None:
    shutil.copy(trained_on_table.model, tmp_path / "model.onnx")
    shutil.copy(trained_on_table.pictures.parent / "valid 2 0.png", tmp_path / "green.png")
    (tmp_path / "one.csv").write_text("image,red,blue\ngreen.png,0,0\n")

    with pytest.raises(DataError) as caught:
        verified(tmp_path / "model.onnx", data=tmp_path / "one.csv")

    said = {
        "multi-label": "{}: the label 'red' applies to no picture. Leave its column out.",
        "regression": "The r2 of --data {} is undefined: its pictures all show the same. Give others.",
    }
    assert str(caught.value) == said[trained_on_table.result.task].format(tmp_path / "one.csv")


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def test_a_folder_that_is_no_run_is_refused(trained: Any, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is no run folder: it has no run\.json"):
        verified(trained.model, run=tmp_path)


def test_a_model_of_another_run_is_refused(trained: Any, moved: Path) -> None:
    other = read_json(moved / "run.json") | {"id": "another-run"}
    (moved / "run.json").write_text(json.dumps(other))

    with pytest.raises(
        ModelError, match=rf"was made by the run {trained.run.name}, and .* holds the run another-run\."
    ):
        verified(trained.model, run=moved)


def test_a_model_that_answers_unlike_the_weights_of_its_run_is_refused(trained: Any, tmp_path: Path) -> None:
    shutil.copytree(trained.run, tmp_path / "run")
    weights = load_file(trained.run / "weights.safetensors")
    next(tensor for key, tensor in weights.items() if key.startswith("head.") and tensor.ndim == 2)[0] *= 1.5
    save_file(weights, tmp_path / "run" / "weights.safetensors")

    with pytest.raises(ModelError, match=r"model\.onnx answers differently from the network in "):
        verified(tmp_path / "run" / "model.onnx")


def test_a_backbone_of_a_plugin_that_is_gone_is_named_with_the_plugin(
    trained: Any, moved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    leaves = PluginOrigin(
        distribution="finetune-leaves", version="0.1.0", licence="MIT", origin="", used_for=("backbone leaves",)
    )
    predictor = Predictor(trained.model)
    monkeypatch.setattr(predictor, "contract", replace(predictor.contract, plugins=(leaves,)))
    monkeypatch.setattr(reverification, "Predictor", lambda _: predictor)
    config = (moved / "config.toml").read_text()
    (moved / "config.toml").write_text(re.sub("^backbone = .*", 'backbone = "leaves"', config, flags=re.MULTILINE))

    with pytest.raises(ConfigError, match=r"backbone 'leaves' of finetune-leaves 0\.1\.0, which is not at hand"):
        verified(trained.model, run=moved, data=trained.pictures)


def test_a_file_that_the_run_did_not_verify_is_refused(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "renamed.onnx")

    with pytest.raises(
        ModelError, match=r"renamed\.onnx is none of the files that the run in .* verified: model\.onnx\. Give one of"
    ):
        verified(tmp_path / "renamed.onnx", run=trained.run)


@pytest.fixture
def quantised(trained: Any, tmp_path: Path) -> Path:
    """Copy the run, with a second file of it that a metric judges: the same graph, said to be int8."""
    folder = tmp_path / "run"
    shutil.copytree(trained.run, folder)
    shutil.copy(trained.model, folder / "model.int8.onnx")
    (first,) = read_json(folder / "verification.json")
    (folder / "verification.json").write_text(
        json.dumps([first, first | {"target": "int8", "file": "model.int8.onnx"}])
    )
    return folder


def test_a_file_is_judged_as_the_target_that_wrote_it_is(quantised: Path) -> None:
    found = verified(quantised / "model.int8.onnx").verification

    assert found is not None
    assert (found.target, found.min_agreement, found.max_drop_allowed) == ("int8", None, 0.005)
    first = verified(quantised / "model.onnx").verification
    assert first is not None
    assert (first.target, first.min_agreement, first.max_drop_allowed) == ("onnx", 1.0, None)


def test_a_folder_that_a_target_wrote_is_judged_as_that_target(quantised: Path) -> None:
    place = quantised / "served" / "insects" / "1"
    place.mkdir(parents=True)
    (quantised / "model.int8.onnx").rename(place / "model.onnx")
    verification = quantised / "verification.json"
    verification.write_text(verification.read_text(encoding="utf-8").replace("model.int8.onnx", "served"))

    found = verified(quantised / "served").verification

    assert found is not None
    assert (found.target, found.min_agreement) == ("int8", None)


def test_the_drop_that_is_allowed_is_the_runs_own(quantised: Path) -> None:
    config = quantised / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace("max_drop = 0.005", "max_drop = 0.25"))

    found = verified(quantised / "model.int8.onnx").verification

    assert found is not None
    assert found.max_drop_allowed == 0.25


def test_a_model_with_a_flipped_bit_is_refused(trained: Any, tmp_path: Path) -> None:
    data = bytearray(trained.model.read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "model.onnx").write_bytes(data)

    with pytest.raises(ModelError):
        verified(tmp_path / "model.onnx")


def test_a_foreign_model_is_refused(trained: Any, tmp_path: Path) -> None:
    (tmp_path / "foreign.onnx").write_bytes(model_file.with_metadata(trained.model.read_bytes(), {}))

    with pytest.raises(ModelError, match=r"foreign\.onnx: metadata key 'finetune\.contract' is missing"):
        verified(tmp_path / "foreign.onnx")
