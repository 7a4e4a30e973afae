from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import finetune_export

FOLDER = Path(finetune_export.__file__).parent
HEAVY = ("torch", "onnx", "finetune", "fastai", "torchvision")
EXTRAS = {
    "service/": {"httptools", "prometheus_client", "python_multipart", "starlette", "uvicorn", "uvloop"},
    "bulk/parquet.py": {"pyarrow"},
}
"""Where the packages of an extra may be imported."""
LAZY = ("onnxruntime", "numpy", "PIL")


def imported(statement: str, names: tuple[str, ...]) -> list[str]:
    """Return which of ``names`` a fresh Python has loaded after ``statement``."""
    code = f"{statement}\nimport sys\nprint(*[name for name in {names} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.split()


def test_the_predictor_needs_nothing_heavy() -> None:
    assert imported("import finetune_export.predictor, finetune_export.verify, finetune_export.golden", HEAVY) == []


def test_that_guard_can_fail() -> None:
    assert imported("import finetune_export.predictor, onnx", HEAVY) == ["onnx"]


def test_the_package_alone_loads_nothing_of_its_own_weight() -> None:
    assert imported("import finetune_export; finetune_export.ModelError", LAZY) == []


def test_a_predictor_leaves_nothing_in_the_home_folder(model_path: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    env = {"HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONDONTWRITEBYTECODE": "1"}
    code = f"import finetune_export; finetune_export.Predictor({str(model_path)!r})"
    subprocess.run([sys.executable, "-c", code], env=env, check=True, capture_output=True)
    assert list(home.rglob("*")) == []


def test_every_public_name_is_there() -> None:
    for name in finetune_export.__all__:
        assert getattr(finetune_export, name) is not None
    assert dir(finetune_export) == sorted(finetune_export.__all__)
    with pytest.raises(AttributeError, match="no attribute 'Predicter'"):
        finetune_export.Predicter  # noqa: B018


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())["project"]
    assert project["version"] == finetune_export.__version__


def modules_of(path: Path) -> set[str]:
    """Return the top-level names of everything a file imports."""
    modules: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        modules |= {alias.name for alias in node.names} if isinstance(node, ast.Import) else set()
        modules |= {node.module or ""} if isinstance(node, ast.ImportFrom) else set()
    return {module.split(".")[0] for module in modules}


def test_only_the_declared_dependencies_are_imported() -> None:
    everywhere = {"finetune_export", "onnxruntime", "numpy", "PIL", *sys.stdlib_module_names}
    for path in FOLDER.rglob("*.py"):
        place = path.relative_to(FOLDER).as_posix()
        extra = next((names for start, names in EXTRAS.items() if place.startswith(start)), set())
        assert modules_of(path) <= everywhere | extra, place


def test_the_readmes_example_runs(model_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from PIL import Image

    Image.new("RGB", (30, 20), "red").save(tmp_path / "photo.jpg")
    (tmp_path / "broken.jpg").write_bytes(b"")
    monkeypatch.chdir(tmp_path)
    readme = (FOLDER.parent / "README.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", readme, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", example], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "photo.jpg" in done.stdout
    assert "broken.jpg: the file is empty" in done.stdout
