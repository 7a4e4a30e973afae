"""The two commands as they are typed, on finetune's own command line."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.cli import make_app
from finetune.cli.plugin_commands import run_with_plugins
from finetune.errors import ConfigError

Typed = Callable[..., str]


@pytest.fixture
def typed(registered: None, capsys: pytest.CaptureFixture[str]) -> Typed:
    """Run words and return what is printed."""

    def printed(*words: object) -> str:
        run_with_plugins(make_app(), tuple(map(str, words)))
        return capsys.readouterr().out

    return printed


def test_a_model_is_published_and_fetched(model_hub: Any, with_hf: Path, tmp_path: Path, typed: Typed) -> None:
    told = typed("publish", with_hf, "user/pets", "--private")
    commit = model_hub.repositories["user/pets"].branches["main"]
    assert told.splitlines()[:2] == [
        f"model                     {model_hub.url}/user/pets",
        f"commit                    {commit}",
    ]

    told = typed("fetch", "user/pets", "--out", tmp_path / "pets.onnx")
    assert f"user/pets, commit {commit}" in told
    assert told.splitlines()[-1].endswith(f"finetune predict {tmp_path}/pets.onnx PICTURE…")


def test_a_dry_run_shows_files_with_their_sizes_and_the_card(plain: Path, typed: Typed) -> None:
    size = (plain / "model.onnx").stat().st_size

    told = typed("publish", plain, "user/pets", "--dry-run")

    assert f"finetune.onnx  {size} bytes" in told
    assert "# Image classifier with 2 labels" in told


def test_both_print_json(model_hub: Any, plain: Path, tmp_path: Path, typed: Typed) -> None:
    planned = json.loads(typed("publish", plain, "user/pets", "--dry-run", "--json"))
    published = json.loads(typed("publish", plain, "user/pets", "--json"))
    fetched = json.loads(typed("fetch", "user/pets", "--out", tmp_path / "pets.onnx", "--json"))

    assert planned["sizes"] == published["sizes"]
    assert planned["card"].startswith("---\n")
    assert fetched["commit"] == published["commit"]


def test_a_refusal_is_the_command_s_own(plain: Path, typed: Typed) -> None:
    with pytest.raises(ConfigError, match=r"'pets' is no name of a model on the hub; give USER/NAME\."):
        typed("publish", plain, "pets", "--dry-run")
