"""Runs with strangers: a plugin's data sets, recipes and export targets, and who is blamed when they break."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import run
from finetune.config import read_file
from finetune.errors import FinetuneError, ModelError, PluginError
from finetune.intent import discover
from finetune.preparation import prepare
from finetune.reporting import SILENT
from finetune.targets.to_onnx import to_onnx
from finetune_export import Predictor
from finetune_export.contract import PluginOrigin, read_contract


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


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
HONEST = "return Artifact(path=folder, answers=predictor.answers)"
WRONG = "return Artifact(path=folder, answers=lambda paths: predictor.answers(paths)[:, ::-1])"
BROKEN = {
    "raise KeyError('heat')": r"The target 'toast' failed: KeyError: 'heat'\. FINETUNE_DEBUG=1 shows where\.",
    "raise SystemExit(0)": r"The target 'toast' failed: SystemExit: 0\. FINETUNE_DEBUG=1 shows where\.",
    "return None": r"The target 'toast' is broken: finetune_toast:export returned NoneType instead of Artifact\.",
    "return Artifact(path=request.onnx, answers=print)": r"The target 'toast' is broken: its artifact is .*",
    "return Artifact(path=folder / 'no', answers=print)": r"The target 'toast' is broken: its artifact is .*",
    "return Artifact(path=folder, answers=lambda paths: 1 / 0)": r"The target 'toast' failed: ZeroDivision.*",
}


@pytest.fixture
def use(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], None]:
    """Install a plugin so that this very process discovers it."""

    def used(name: str, source: str) -> None:
        monkeypatch.syspath_prepend(install(name, source))
        monkeypatch.delitem(sys.modules, f"finetune_{name}", raising=False)

    return used


def test_a_plugins_target_is_exported_and_verified_beside_the_model(
    pictures: Path,
    tmp_path: Path,
    tiny: dict[str, Any],
    use: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
) -> None:
    use("toast", TARGET.format(answer=HONEST))

    folder = run(data=pictures, out=tmp_path / "runs", target=("toast",), **tiny).run

    assert capsys.readouterr().out == ""
    assert (folder / "toast" / "net.onnx").is_file()
    assert [(v["target"], v["agreement"]) for v in read_json(folder / "verification.json")] == [
        ("onnx", 1.0),
        ("toast", 1.0),
    ]
    assert read_json(folder / "run.json")["result"]["artifacts"]["toast"] == str(folder / "toast")
    assert read_json(folder / "versions.json")["plugins"]["target toast"] == "finetune_toast 1.2"
    assert read_contract(folder / "model.onnx").plugins == (
        PluginOrigin(
            distribution="finetune_toast",
            version="1.2",
            licence="unknown",
            origin="unknown",
            used_for=("target toast",),
        ),
    )


@pytest.fixture(scope="module")
def exported() -> dict[str, bytes]:
    """Remember the one ONNX file of the runs below: the same pictures, options and seed make the same network."""
    return {}


@pytest.fixture
def _exported_once(exported: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare every run but the first the seconds that making that file takes; it is verified every time."""

    def once(*arguments: Any) -> bytes:
        if not exported:
            exported["onnx"] = to_onnx(*arguments)
        return exported["onnx"]

    monkeypatch.setattr("finetune.targets.onnx_file.to_onnx", once)


def failing_run(pictures: Path, out: Path, tiny: dict[str, Any]) -> tuple[FinetuneError, Path]:
    with pytest.raises(FinetuneError) as caught:
        run(data=pictures, out=out, target=("toast",), **tiny)
    (folder,) = out.iterdir()
    assert read_json(folder / "run.json")["status"] == "failed"
    assert not (folder / ".unverified").exists()
    return caught.value, folder


@pytest.mark.usefixtures("_exported_once")
def test_a_target_that_answers_wrongly_fails_the_run_and_is_not_left_under_its_name(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], use: Callable[[str, str], None]
) -> None:
    use("toast", TARGET.format(answer=WRONG))

    error, folder = failing_run(pictures, tmp_path / "runs", tiny)

    assert isinstance(error, ModelError)
    assert "the same answer on 0.00% of the pictures, at least 100.00% is asked for" in str(error)
    assert (folder / "toast.failed").is_dir()
    assert not (folder / "toast").exists()
    assert Predictor(folder / "model.onnx")  # which was verified before


@pytest.mark.usefixtures("_exported_once")
@pytest.mark.parametrize(("answer", "text"), BROKEN.items())
def test_a_broken_target_is_a_plugin_error_that_names_it(
    answer: str, text: str, pictures: Path, tmp_path: Path, tiny: dict[str, Any], use: Callable[[str, str], None]
) -> None:
    use("toast", TARGET.format(answer=answer))

    error, folder = failing_run(pictures, tmp_path / "runs", tiny)

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


RECIPES = """
from finetune.builtin.folder import load
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Recipe, Source


@hookimpl
def finetune_register_datasets(register):
    here = Source(name="here", summary="", accepts_data=True, recipe={recipe})
    slow = Recipe(name="slow", summary="As published.", options={options})
    register(DatasetSpec(name="weeds", summary="", sources=(here,), load="finetune_weeds:load", recipes=(slow,)))
"""
OF_THE_SOURCE = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 4, "seed": 1}
SLOW = {"strategy": "probe", "freeze_epochs": 2, "optimizer": "SGD", "schedule": "StepLR", "seed": 2}


def test_a_recipe_is_followed_by_its_name(pictures: Path, tmp_path: Path, use: Callable[[str, str], None]) -> None:
    use("weeds", RECIPES.format(recipe=OF_THE_SOURCE, options=SLOW))

    result = run(plugin="weeds", recipe="slow", data=pictures, out=tmp_path / "runs", freeze_epochs=1)

    written = read_file(result.run / "config.toml")
    assert written | OF_THE_SOURCE | SLOW | {"recipe": "slow", "freeze_epochs": 1} == written
    assert (result.strategy, result.backbone, list(result.phases)) == ("probe", "squeezenet1_1", ["frozen"])
    assert len((result.run / "history.csv").read_text().splitlines()) == 1 + 1
    assert [plugin.used_for for plugin in read_contract(result.onnx).plugins] == [("dataset weeds",)]


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
