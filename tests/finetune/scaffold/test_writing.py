from __future__ import annotations

import ast
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from finetune.cli.plugins_new import new
from finetune.errors import ConfigError, ResourceError
from finetune.hookspecs import API_VERSION
from finetune.scaffold import Kind
from finetune.scaffold.writing import write_plugin

KINDS = get_args(Kind)
FILES = {
    ".github/workflows/test.yml",
    ".gitignore",
    "LICENSE",
    "README.md",
    "finetune_street_signs.py",
    "pyproject.toml",
    "tests/test_finetune_street_signs.py",
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_a_whole_distribution(kind: Kind, tmp_path: Path) -> None:
    folder = write_plugin("street-signs", kind, tmp_path)

    assert folder == tmp_path / "street-signs"
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} == FILES
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "finetune-street-signs"
    assert project["entry-points"]["finetune"] == {"street-signs": "finetune_street_signs"}
    assert any(requirement.startswith("finetune>=") for requirement in project["dependencies"])


@pytest.mark.parametrize("kind", KINDS)
def test_no_placeholder_is_left(kind: Kind, tmp_path: Path) -> None:
    for path in write_plugin("street-signs", kind, tmp_path).rglob("*"):
        assert "$" not in path.name
        assert path.is_dir() or "$" not in path.read_text().replace("${{", "")
        if path.suffix == ".py":
            ast.parse(path.read_text())


def test_the_prefix_of_the_distribution_is_not_doubled(tmp_path: Path) -> None:
    assert write_plugin("finetune-street-signs", "dataset", tmp_path).name == "street-signs"


@pytest.mark.parametrize("name", ["", "Signs", "street_signs", "-signs", "signs-", "a--b", "1st", "../x", "x" * 41])
def test_a_name_that_is_not_allowed_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is not allowed; give lower-case letters, digits and single hyphens"):
        write_plugin(name, "dataset", tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["folder", "resnet18", "onnx"])
def test_a_name_that_is_taken_is_refused_with_its_owner(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=rf"The name '{name}' is taken by finetune \d.*'finetune plugins' shows"):
        write_plugin(name, "dataset", tmp_path)


@pytest.mark.parametrize("name", ["export", "finetune-export"])
def test_the_name_of_the_runtime_is_taken(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"The name 'export' is taken by finetune-export \d"):
        write_plugin(name, "target", tmp_path)


def test_a_plugin_states_the_api_that_it_was_written_for(tmp_path: Path) -> None:
    module = write_plugin("street-signs", "backbone", tmp_path) / "finetune_street_signs.py"
    assert f'FINETUNE_API = "{API_VERSION}"' in module.read_text()


def test_a_folder_that_is_there_is_left_as_it_is(tmp_path: Path, tree: Callable[[Path], dict[str, bytes]]) -> None:
    (tmp_path / "street-signs").mkdir()
    (tmp_path / "street-signs" / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match=r"street-signs exists already\. Choose another name, or another place"):
        write_plugin("street-signs", "target", tmp_path)
    assert tree(tmp_path) == {"street-signs/mine.txt": b"mine"}


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"Cannot write to .*file"):
        write_plugin("street-signs", "dataset", tmp_path / "file")


def test_the_command_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new("street-signs", kind="dataset", out=tmp_path)
    told = capsys.readouterr().out
    assert f"pip install -e '{tmp_path / 'street-signs'}[dev]'" in told
    assert "finetune run --plugin street-signs" in told


def test_a_folder_that_another_process_makes_meanwhile_is_left_to_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(*_: object, **__: object) -> None:
        (tmp_path / "street-signs").mkdir()
        (tmp_path / "street-signs" / "theirs.txt").touch()

    monkeypatch.setattr("finetune.scaffold.writing.fill", meanwhile)
    with pytest.raises(ConfigError, match=r"street-signs was made by another process meanwhile\. Choose another name"):
        write_plugin("street-signs", "dataset", tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["street-signs", "theirs.txt"]
