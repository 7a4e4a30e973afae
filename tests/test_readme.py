"""The README is run: its commands parse, its Python works, and its tables match what is there."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import finetune
from finetune import run_folder
from finetune.cli import app
from finetune.plugins import Candidate, Plugins
from finetune.reporting import SILENT
from finetune.types import DatasetRequest
from finetune_export import Predictor

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.DOTALL | re.MULTILINE)


def shell_lines() -> list[str]:
    lines = [line.split("#")[0].strip() for block in blocks("sh") for line in block.splitlines()]
    return [line for line in lines if line]


def test_the_first_screen_holds_the_two_commands() -> None:
    first_screen = "\n".join(README.splitlines()[:25])
    assert "make demo" in first_screen
    assert "make test" in first_screen


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("make")])
def test_every_make_line_names_a_target(line: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    assert re.search(rf"^{line.split()[1]}:", makefile, flags=re.MULTILINE)


@pytest.mark.parametrize("line", [line for line in shell_lines() if line.startswith("finetune")])
def test_every_command_line_parses(line: str) -> None:
    command, bound, _ = app.parse_args(shlex.split(line)[1:], exit_on_error=False, print_error=False)
    assert command.__module__.startswith("finetune.cli")
    assert bound.arguments


def test_every_command_in_the_table_exists() -> None:
    named = set(re.findall(r"^\| `finetune ([a-z-]+)", README, flags=re.MULTILINE))
    assert named == {name for name in app if not name.startswith("-")}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, picture_folder: Callable[..., Path]) -> Path:
    """A working folder as the README has it, with a run that needs neither a download nor patience."""
    pictures = picture_folder(("ants", "bees"), count=5)
    (tmp_path / "photo.jpg").write_bytes((pictures / "ants" / "000.jpg").read_bytes())
    (tmp_path / "other.png").write_bytes((pictures / "bees" / "001.png").read_bytes())
    quick = partial(finetune.run, weights="none", image_size=32, batch_size=4)
    monkeypatch.setattr(finetune, "run", lambda **said: quick(**{**said, "epochs": 1}), raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_its_python_runs_and_its_table_of_files_is_what_a_run_leaves(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deploy, train = (block for block in blocks("python") if "hookimpl" not in block)
    trained: dict[str, Any] = {}
    exec(compile(train, "README", "exec"), trained)
    result = trained["result"]
    (here / "model.onnx").write_bytes(result.onnx.read_bytes())
    exec(compile(deploy, "README", "exec"), {})
    printed = capsys.readouterr().out
    assert str(result.onnx) in printed
    assert "photo.jpg" in printed
    table = README.split("## What a run leaves behind")[1].split("##")[0]
    first_column = "\n".join(row.split("|")[1] for row in table.splitlines() if "|" in row)
    named = set(re.findall(r"`([\w.]+\.\w+)`", first_column))
    assert named == {path.name for path in result.run.iterdir()}
    assert set(Predictor(result.onnx).labels) == {"ants", "bees"}


def test_the_plugin_in_ten_lines_is_ten_lines_and_a_plugin(tmp_path: Path) -> None:
    (block,) = (block for block in blocks("python") if "hookimpl" in block)
    assert len([line for line in block.splitlines() if line.strip()]) <= 10
    module = ModuleType("finetune_pets")
    exec(compile(block, "README", "exec"), vars(module))
    found = Plugins([Candidate(name="pets", distribution="finetune-pets", version="1", load=lambda: module)])
    assert found.broken == []
    assert found.find_dataset("pets").sources[0].recipe["backbone"] == "resnet18"
    for name in ("cat_01.jpg", "dog_07.jpg"):
        (tmp_path / name).touch()
    request = DatasetRequest(source="disk", data=tmp_path, cache=tmp_path, reporter=SILENT)
    assert vars(module)["load"](request).labels == ("cat", "dog")


def test_the_number_of_backbones_is_right() -> None:
    from finetune.plugins import load_plugins

    (number,) = re.findall(r"All (\d+) classifiers of torchvision", README)
    assert len(load_plugins().backbones) >= int(number)


def test_every_exit_status_is_the_one_of_an_error_class() -> None:
    from finetune import errors

    kinds = "usage|data|model|plugin|machine|diverged"
    stated = {int(status) for status in re.findall(rf"(?:^|[\s,])(\d) (?:{kinds})", README)}
    classes = [value for value in vars(errors).values() if isinstance(value, type)]
    assert stated == {cls.exit_code for cls in classes} - {1}


def test_every_file_name_of_the_run_folder_is_in_the_readme() -> None:
    names = {value for name, value in vars(run_folder).items() if name.isupper() and isinstance(value, str)}
    assert {name for name in names if name not in README} == set()
