"""The whole job, from a folder of pictures to a file that answers like the network it came from."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file

from finetune import run
from finetune.errors import ConfigError, DataError, FinetuneError, ModelError, PluginError
from finetune.exporting import export_and_verify
from finetune.intent import discover
from finetune.preparation import Job, build_network, prepare
from finetune.reporting import SILENT
from finetune.reverification import Recheck, verify_again
from finetune_export import Predictor, model_file, read_contract

# ── the result ──────────────────────────────────────────────────────────────────────────────────────


def test_the_exported_file_is_as_good_as_the_network(trained: Any) -> None:
    result = trained.result

    assert result.metric == "accuracy"
    assert result.exported_value == result.value == pytest.approx(result.phases[result.kept])
    assert (result.agreement, result.compared) == (1.0, result.valid_images)
    assert result.max_difference <= 1e-4


def test_the_accuracy_is_what_the_file_scores_on_the_validation_pictures(trained: Any) -> None:
    rows = [row for row in split_of(trained.run) if row["part"] == "valid"]
    answers = Predictor(trained.model).predict([Path(row["path"]) for row in rows])

    right = sum(answer.label == row["label"] for answer, row in zip(answers, rows, strict=True))

    assert trained.result.exported_value == right / len(rows)


def test_the_result_counts_what_was_there(trained: Any) -> None:
    result = trained.result

    assert (result.dataset, result.backbone, result.weights) == ("insects", "squeezenet1_1", "none")
    assert (result.labels, result.train_images, result.valid_images) == (2, 2 * 12, 2 * 12)
    assert result.onnx_bytes == trained.model.stat().st_size
    assert result.artifacts == {"onnx": trained.model}
    assert result.seconds.keys() == {"prepare", "from scratch", "evaluate", "export", "total"}


def test_every_kind_of_picture_is_trained_on_and_answered_alike(trained: Any) -> None:
    kinds = {"animated.gif", "turned.jpg", "inky.jpg", "deep.png", "few.png", "clear.webp"}
    rows = split_of(trained.run)

    for part in ("train", "valid"):
        for label in trained.labels:
            assert kinds <= {Path(r["path"]).name for r in rows if (r["part"], r["label"]) == (part, label)}
    assert trained.result.agreement == 1.0


def test_the_users_pictures_are_not_touched(trained: Any, tree: Callable[[Path], dict[str, bytes]]) -> None:
    assert tree(trained.pictures) == trained.before


# ── the run folder ──────────────────────────────────────────────────────────────────────────────────


def split_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "split.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_the_run_folder_holds_these_files_and_no_others(trained: Any) -> None:
    assert {path.name for path in trained.run.iterdir()} == {
        "config.toml",
        "data.json",
        "history.csv",
        "learning_curve.png",
        "model.onnx",
        "run.json",
        "split.csv",
        "verification.json",
        "versions.json",
        "weights.safetensors",
    }


def test_run_json_says_done_with_the_result(trained: Any) -> None:
    said = read_json(trained.run / "run.json")

    assert (said["status"], said["id"]) == ("done", trained.run.name)
    assert said["result"] == json.loads(json.dumps(asdict(trained.result), default=str))
    assert said["started"] <= said["ended"]


def test_the_configuration_in_the_folder_repeats_the_run_bit_for_bit(trained: Any) -> None:
    again = run(config_file=trained.run / "config.toml")

    assert again.run.parent == trained.run.parent
    assert again.run != trained.run
    assert read_contract(again.onnx).graph_sha256 == read_contract(trained.model).graph_sha256


def test_the_weights_load_into_the_published_network_but_for_the_head(trained: Any) -> None:
    published = torchvision.models.squeezenet1_1(weights=None)

    left = published.load_state_dict(load_file(trained.run / "weights.safetensors"), strict=False)

    assert set(left.missing_keys) == {"classifier.1.weight", "classifier.1.bias"}
    assert left.unexpected_keys
    assert all(key.startswith("head.") for key in left.unexpected_keys)


def test_the_split_names_every_readable_picture_once_with_its_hash(trained: Any) -> None:
    rows = split_of(trained.run)

    assert len({row["path"] for row in rows}) == len(rows) == 48
    assert {row["label"] for row in rows} == set(trained.labels)
    assert all(len(row["sha256"]) == 64 for row in rows)


def test_the_history_has_a_line_for_every_epoch(trained: Any) -> None:
    with (trained.run / "history.csv").open(encoding="utf-8", newline="") as file:
        lines = list(csv.DictReader(file))

    assert [(line["phase"], line["epoch"]) for line in lines] == [("from scratch", "1"), ("from scratch", "2")]
    assert float(lines[-1]["accuracy"]) == pytest.approx(trained.result.value)


def test_the_learning_curve_is_a_picture(trained: Any) -> None:
    with Image.open(trained.run / "learning_curve.png") as curve:
        assert curve.format == "PNG"


def test_data_json_names_the_refused_picture_and_the_ignored_file(trained: Any) -> None:
    data = read_json(trained.run / "data.json")
    folder = trained.pictures / "train" / trained.labels[1]

    assert [(refused["path"], refused["label"]) for refused in data["refused"]] == [
        (str(folder / "broken.jpg"), trained.labels[1])
    ]
    assert data["refused"][0]["reason"]
    assert data["ignored"] == [str(folder / "notes.txt")]
    assert data["labels"] == list(trained.labels)


def test_versions_json_names_what_shaped_the_result(trained: Any) -> None:
    versions = read_json(trained.run / "versions.json")

    assert versions["torch"] == torch.__version__.partition("+")[0] or versions["torch"] == torch.__version__
    assert versions["plugins"].keys() == {"dataset", "backbone", "onnx"}


def test_verification_json_holds_the_proof(trained: Any) -> None:
    (proof,) = read_json(trained.run / "verification.json")

    assert (proof["target"], proof["file"], proof["problems"]) == ("onnx", "model.onnx", [])
    assert (proof["compared"], proof["agreement"]) == (trained.result.compared, 1.0)


def test_the_contract_in_the_model_tells_of_the_run(trained: Any) -> None:
    contract = read_contract(trained.model)

    assert (contract.run_id, contract.labels) == (trained.run.name, trained.labels)
    assert contract.metrics == {"accuracy": trained.result.value}
    assert contract.dataset.fingerprint == read_json(trained.run / "data.json")["fingerprint"]


def test_the_model_tells_nobody_where_the_pictures_lay(trained: Any) -> None:
    assert str(trained.pictures.parent).encode() not in trained.model.read_bytes()


def test_the_notes_name_what_was_left_out(trained: Any) -> None:
    notes = "\n".join(trained.result.notes)

    assert "broken.jpg" in notes
    assert "notes.txt" in notes
    assert "squeezenet1_1 starts from random weights, from scratch." in notes


# ── what a run does not hide ────────────────────────────────────────────────────────────────────────


def nudged(folder: Any, job: Job, *args: Any) -> Any:
    with torch.no_grad():
        next(p for p in job.network.head.parameters() if p.ndim == 2)[0].mul_(1.5)
    return export_and_verify(folder, job, *args)


def test_a_network_that_changed_after_it_was_evaluated_fails_the_run(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.run.export_and_verify", nudged)

    with pytest.raises(ModelError, match=r"^model\.onnx answers differently from the trained network: .*allowed"):
        run(data=pictures, out=tmp_path / "runs", **tiny)

    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert "model.failed.onnx" in names
    assert not {"model.onnx", ".unverified"} & names
    assert read_json(folder / "verification.json")[0]["problems"]
    assert read_json(folder / "run.json")["status"] == "failed"
    assert "answers differently" in read_json(folder / "run.json")["cause"]


def test_the_job_is_callable_also_where_its_module_was_imported_first() -> None:
    code = "import finetune.run; finetune.run(data='nowhere', weights='none')"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    assert "DataError: The folder nowhere does not exist" in asked.stderr


def test_nothing_to_train_on_leaves_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --plugin NAME or --data DIR"):
        run(out=tmp_path / "runs")

    assert not (tmp_path / "runs").exists()


def test_the_rate_can_be_found_before_the_run(pictures: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    result = run(data=pictures, out=tmp_path / "runs", **{**tiny, "lr": "find"})

    assert result.agreement == 1.0
    assert 1e-7 < read_json(result.run / "run.json")["lr"] < 10


def test_options_without_effect_are_told_so(pictures: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    result = run(data=pictures, out=tmp_path / "runs", **{**tiny, "unfreeze": 2})

    assert "From scratch every stage learns at --lr for --epochs; --unfreeze has no effect." in result.notes


@pytest.mark.parametrize("name", ["vit_h_14"])
def test_a_backbone_too_large_for_one_file_is_refused_before_anything_is_fetched(pictures: Path, name: str) -> None:
    intent = discover({"data": pictures, "backbone": name})

    with torch.device("meta"), pytest.raises(ConfigError, match=rf"^--backbone {name} is not allowed: its .* GB"):
        build_network(intent, 2, intent.backbone.image_size_px)


# ── plugins ─────────────────────────────────────────────────────────────────────────────────────────

TARGET = """
import shutil

from finetune.hookspecs import hookimpl
from finetune.types import Artifact, ExportTarget


@hookimpl
def finetune_register_targets(register):
    register(ExportTarget(name="toast", summary="A folder.", export="finetune_toast:export"))


def export(request):
    from finetune_export import Predictor

    print("a plugin talks")
    folder = request.folder / "toast"
    folder.mkdir()
    shutil.copy(request.onnx, folder / "net.onnx")
    predictor = Predictor(folder / "net.onnx")
    {answer}
"""
HONEST = "return Artifact(path=folder, probabilities=predictor.probabilities)"
WRONG = "return Artifact(path=folder, probabilities=lambda paths: predictor.probabilities(paths)[:, ::-1])"
BROKEN = {
    "raise KeyError('heat')": r"The target 'toast' failed: KeyError: 'heat'\. FINETUNE_DEBUG=1 shows where\.",
    "raise SystemExit(0)": r"The target 'toast' failed: SystemExit: 0\. FINETUNE_DEBUG=1 shows where\.",
    "return None": r"The target 'toast' is broken: finetune_toast:export returned NoneType instead of Artifact\.",
    "return Artifact(path=request.onnx, probabilities=print)": r"The target 'toast' is broken: its artifact is .*",
    "return Artifact(path=folder / 'no', probabilities=print)": r"The target 'toast' is broken: its artifact is .*",
    "return Artifact(path=folder, probabilities=lambda paths: 1 / 0)": r"The target 'toast' failed: ZeroDivision.*",
}


@pytest.fixture
def use(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a plugin so that this very process discovers it."""

    def used(name: str, source: str) -> None:
        monkeypatch.syspath_prepend(install(name, source))
        monkeypatch.delitem(sys.modules, f"finetune_{name}", raising=False)

    return used


def test_a_plugins_target_is_exported_and_verified_beside_the_model(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], install: Callable[[str, str], Path]
) -> None:
    site = install("toast", TARGET.format(answer=HONEST))
    code = "import sys, json, finetune; r = finetune.run(**json.loads(sys.argv[1])); print(r.artifacts)"
    options = {**tiny, "data": str(pictures), "out": str(tmp_path / "runs"), "target": ["toast"]}

    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(options)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(site)},
    )

    (folder,) = (tmp_path / "runs").iterdir()
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert (folder / "toast" / "net.onnx").is_file()
    assert [(v["target"], v["agreement"]) for v in read_json(folder / "verification.json")] == [
        ("onnx", 1.0),
        ("toast", 1.0),
    ]
    assert read_json(folder / "run.json")["result"]["artifacts"]["toast"] == str(folder / "toast")
    assert read_json(folder / "versions.json")["plugins"]["toast"] == "finetune_toast 1.2"


def failing_run(pictures: Path, out: Path, tiny: dict[str, Any]) -> tuple[FinetuneError, Path]:
    with pytest.raises(FinetuneError) as caught:
        run(data=pictures, out=out, target=("toast",), **tiny)
    (folder,) = out.iterdir()
    assert read_json(folder / "run.json")["status"] == "failed"
    assert not (folder / ".unverified").exists()
    return caught.value, folder


def test_a_target_that_answers_wrongly_fails_the_run_and_is_not_left_under_its_name(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], use: Callable[[str, str], None]
) -> None:
    use("toast", TARGET.format(answer=WRONG))

    error, folder = failing_run(pictures, tmp_path / "runs", tiny)

    assert isinstance(error, ModelError)
    assert "top-1 agreement is 0.00%, at least 100.00% is asked for" in str(error)
    assert (folder / "toast.failed").is_dir()
    assert not (folder / "toast").exists()
    assert Predictor(folder / "model.onnx")  # which was verified before


@pytest.mark.parametrize(("answer", "text"), BROKEN.items())
def test_a_broken_target_is_a_plugin_error_that_names_it(
    answer: str, text: str, pictures: Path, tmp_path: Path, tiny: dict[str, Any], use: Callable[[str, str], None]
) -> None:
    use("toast", TARGET.format(answer=answer))

    error, folder = failing_run(pictures, tmp_path / "runs", {**tiny, "epochs": 1})

    assert isinstance(error, PluginError)
    with pytest.raises(PluginError, match=f"^{text}$"):
        raise error
    assert Predictor(folder / "model.onnx")


DATASET = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source


@hookimpl
def finetune_register_datasets(register):
    source = Source(name="here", summary="")
    register(DatasetSpec(name="weeds", summary="", sources=(source,), load="finetune_weeds:load"))


def load(request):
    {answer}
"""


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (
            "return {'rose': 1}",
            r"The data set 'weeds' is broken: finetune_weeds:load returned dict instead of Dataset\.",
        ),
        ("1 / 0", r"The data set 'weeds' failed: ZeroDivisionError: .*\. FINETUNE_DEBUG=1 shows where\."),
    ],
)
def test_a_broken_data_set_is_a_plugin_error_that_names_it(
    answer: str, text: str, use: Callable[[str, str], None]
) -> None:
    use("weeds", DATASET.format(answer=answer))

    with pytest.raises(PluginError, match=f"^{text}$"):
        prepare(discover({"plugin": "weeds"}), SILENT)


# ── the proof, again ────────────────────────────────────────────────────────────────────────────────


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

    assert (found.verification, found.accuracy, found.labels) == (None, None, 2)
    assert found.rows()[-1] == (
        "network",
        "not compared: give --run (the run's folder) or --data (labelled pictures)",
    )


def test_without_a_run_labelled_pictures_are_scored(trained: Any, tmp_path: Path) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    found = verified(tmp_path / "model.onnx", data=trained.pictures)

    assert (found.accuracy, found.pictures) == (trained.result.value, trained.result.compared)


def test_pictures_of_labels_that_the_model_does_not_know_are_refused(
    trained: Any, tmp_path: Path, pictures: Path
) -> None:
    shutil.copy(trained.model, tmp_path / "model.onnx")

    with pytest.raises(DataError, match=r"^The model has no label 'cat'; it knows Käfer 甲, dog, brown\.$"):
        verified(tmp_path / "model.onnx", data=pictures)


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
