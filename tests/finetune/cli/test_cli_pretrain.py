"""``finetune pretrain``: what it prints, what it plans, and what comes next."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.intent import discover

from .conftest import Said

TINY = ("--backbone", "squeezenet1_1", "--image-size", "32", "--batch-size", "8", "--epochs", "1")


def table(said: Said) -> dict[str, str]:
    rows = (line.split("  ", 1) for line in said.out.splitlines())
    return {name: text.strip() for name, text in rows}


def test_it_prints_what_it_came_to_and_what_comes_next(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("pretrain", "--data", pictures, *TINY, "--licence", "CC0-1.0", "--package", "finetune-mine")

    rows = table(said)
    assert said.status == 0, said.err
    assert rows["network"] == "squeezenet1_1, 1.2 M parameters, from random weights"
    assert rows["kept"] == "the best epoch by accuracy, 1 of 1"
    assert rows["rounding"].endswith("in half, as it is in the file")
    assert rows["weights"].endswith("MB, licence: CC0-1.0)")
    assert rows["package"] == f"pip install {Path.cwd() / 'finetune-mine'}"
    assert "few to pretrain on" in said.err
    *_, option, record = shlex.split(rows["next"])
    assert option == "--weights"
    assert discover({"data": pictures, "weights": record}).backbone.name == "squeezenet1_1"


def test_it_prints_one_json_object(cli: Callable[..., Said], pictures: Path) -> None:
    found = json.loads(cli("pretrain", "--data", pictures, *TINY, "--json").out)

    assert Path(found["record"]).name == "pretrained.safetensors"
    assert (found["backbone"], found["labels"], found["package"]) == ("squeezenet1_1", 2, None)
    assert found["value"] == found["scores"][found["metric"]]


def test_a_dry_run_shows_the_plan_and_trains_nothing(cli: Callable[..., Said], pictures: Path) -> None:
    said = cli("pretrain", "--data", pictures, *TINY, "--dry-run", "--licence", "MIT", "--package", "mine")

    rows = table(said)
    assert rows["network"] == "squeezenet1_1 at 32 px, weights: none"
    assert rows["export"] == "pretrained.safetensors"
    assert "from scratch  1 epoch, rates (highest): " in said.out
    assert (rows["licence"], rows["package"]) == ("MIT", "mine")
    assert not Path("runs").exists()


def test_it_goes_on_with_what_was_stopped_and_not_with_what_is_done(cli: Callable[..., Said], pictures: Path) -> None:
    run = Path(json.loads(cli("pretrain", "--data", pictures, *TINY, "--json").out)["run"])

    assert "is done, there is nothing to resume." in cli("pretrain", "--resume", run).err
    assert f"go on with: finetune pretrain --resume {run}" in cli("run", "--resume", run).err


@pytest.mark.parametrize("option", ["--weights", "--strategy", "--freeze-epochs", "--target", "--folds", "--cache-gb"])
def test_its_help_offers_nothing_of_networks_that_have_learned_before(option: str, cli: Callable[..., Said]) -> None:
    assert f"{option} " not in cli("pretrain", "--help").out
    assert f"{option} " in cli("run", "--help").out
