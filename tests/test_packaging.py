"""Each distribution builds a wheel, and the wheel works where nothing else of ours is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import finetune

ROOT = Path(__file__).parent.parent
FOLDERS = {
    "finetune": ROOT,
    "finetune_export": ROOT / "export",
    "finetune_classics": ROOT / "plugins" / "finetune-classics",
    "finetune_dogbreeds": ROOT / "plugins" / "finetune-dogbreeds",
    "finetune_starter": ROOT / "plugins" / "finetune-starter",
}

# Run with the wheel's folder first on the path; whatever is not named here does not exist.
ALONE = """
import sys
sys.path.insert(0, sys.argv[1])
ALLOWED = {"finetune_export", "numpy", "PIL", "onnxruntime", "flatbuffers", "google", "packaging"}

class OnlyTheRuntime:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in ALLOWED and top not in sys.stdlib_module_names and not top.startswith("_"):
            raise ModuleNotFoundError(f"the runtime may not need {name}", name=name)

sys.meta_path.insert(0, OnlyTheRuntime())
import finetune_export
assert finetune_export.__file__.startswith(sys.argv[1]), finetune_export.__file__
prediction, = finetune_export.Predictor(sys.argv[2]).predict(sys.argv[3])
print(prediction.label)
"""


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Build the wheels, install each into a folder of its own, and return the folders."""
    wheels, folders = tmp_path_factory.mktemp("wheels"), {}
    for name, source in FOLDERS.items():
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(wheels)]
        subprocess.run(build, cwd=source, check=True, capture_output=True)
        (wheel,) = wheels.glob(f"{name}-*.whl")
        folders[name] = tmp_path_factory.mktemp(name)
        install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-compile"]
        subprocess.run([*install, "--target", str(folders[name]), str(wheel)], check=True, capture_output=True)
    return folders


@pytest.mark.parametrize("name", FOLDERS)
def test_a_wheel_holds_its_package_its_types_and_its_licence_and_nothing_else(
    installed: dict[str, Path], name: str
) -> None:
    top = {path.name for path in installed[name].iterdir()} - {"bin"}
    (info,) = (installed[name] / entry for entry in top if entry.endswith(".dist-info"))
    assert top == {name, info.name}
    assert (installed[name] / name / "py.typed").is_file()
    assert (info / "licenses" / "LICENSE").is_file()


def test_the_runtime_predicts_with_its_three_dependencies_alone(
    installed: dict[str, Path], picture_folder: Callable[..., Path], tmp_path: Path
) -> None:
    pictures = picture_folder(("ants", "bees"), count=5)
    options = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "epochs": 1}
    model = finetune.run(data=pictures, out=tmp_path, **options).onnx
    arguments = [str(installed["finetune_export"]), str(model), str(pictures / "ants" / "000.jpg")]
    answer = subprocess.run([sys.executable, "-c", ALONE, *arguments], capture_output=True, text=True, check=False)
    assert (answer.stdout.strip() in ("ants", "bees"), answer.stderr) == (True, "")


def test_the_command_line_and_the_plugin_work_from_their_wheels(installed: dict[str, Path], tmp_path: Path) -> None:
    paths = os.pathsep.join(str(folder) for folder in installed.values())
    code = "import finetune; print(finetune.__file__); from finetune.cli import main; main(['list', 'datasets'])"
    run = [sys.executable, "-c", code]
    env = {**os.environ, "PYTHONPATH": paths}
    answer = subprocess.run(run, env=env, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert answer.stdout.startswith(str(installed["finetune"]))
    assert "dogbreeds" in answer.stdout
