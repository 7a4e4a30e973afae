"""What may be said of a pretraining, what is said in vain, and what its dry run says beforehand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import finetune
from finetune import pretraining
from finetune.config import PretrainOptions, RunConfig, read_file
from finetune.errors import ConfigError
from finetune.intent import discover_pretraining
from finetune.preparation import prepare
from finetune.record_writing import command_of, with_licence

from .conftest import Notes

TINY: dict[str, Any] = {"backbone": "squeezenet1_1", "image_size": 32, "batch_size": 8, "epochs": 1}
COLUMNS = {"label_col": ("red", "blue")}


@pytest.mark.parametrize("licence", ["", "  ", "MIT\nx", "MIT\x1b[2J"])
@pytest.mark.parametrize("job", [finetune.pretrain, pretraining.dry_run], ids=["pretrain", "dry_run"])
def test_a_licence_that_is_no_line_is_refused_before_anything_is_read(
    job: Callable[..., object], licence: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        job(data=tmp_path / "gone", licence=licence)

    assert str(caught.value) == (
        f"--licence {licence!r} is not allowed; give its name in one line, such as CC-BY-4.0, or leave it out for the "
        "data set's."
    )


def test_a_dry_run_says_what_a_pretraining_says_beforehand(pictures: Path, notes: Notes, tmp_path: Path) -> None:
    plan = pretraining.dry_run(data=pictures, package=tmp_path / "mine", licence="MIT", reporter=notes, **TINY)

    assert plan.exports == ("pretrained.safetensors",)
    assert any("few to pretrain on" in note for note in notes.said)
    assert not (tmp_path / "mine").exists()


def test_a_dry_run_refuses_a_package_without_a_licence(pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="states no licence of its weights"):
        pretraining.dry_run(data=pictures, package=tmp_path / "mine", **TINY)


def test_every_option_that_a_pretraining_does_not_have_is_named(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("max_drop = 0.1\nepochs = 2\ncache_gb = 1\nviews = 3\nrate_span = 100\n")

    assert [*pretraining._overruled(file)] == [
        "A pretraining trains one whole network from random weights, and exports nothing: views, cache_gb, max_drop of "
        f"{file} have no effect."
    ]
    assert set(read_file(file)) >= {"views"}


@pytest.mark.parametrize(("said", "told"), [({}, 0), ({"label_smoothing": 0.2}, 1)], ids=["default", "said"])
@pytest.mark.parametrize("focal", [False, True])
def test_smoothing_without_effect_is_told_only_where_it_was_said(
    said: dict[str, Any], told: int, focal: bool, pictures: Path, tmp_path: Path, colour_table: Callable[..., Path]
) -> None:
    data = (
        {"data": pictures, "imbalance": "focal"}
        if focal
        else {"data": colour_table(tmp_path, "multi-label"), **COLUMNS}
    )
    job = prepare(discover_pretraining({**TINY, **data, **said}), Notes())

    assert len([note for note in job.notes if "--label-smoothing has no effect" in note]) == told


def test_a_licence_that_is_said_anew_takes_the_place_of_the_one_in_the_command() -> None:
    for begun in ("finetune pretrain --data 'my pets'", "finetune pretrain --data 'my pets' --licence 'a b'"):
        assert with_licence(begun, "CC0-1.0") == "finetune pretrain --data 'my pets' --licence CC0-1.0"


def test_the_command_says_what_the_file_said_and_what_was_said_over_it(tmp_path: Path) -> None:
    file = tmp_path / "pets.toml"
    file.write_text('data = "pets"\nbackbone = "squeezenet1_1"\nepochs = 2\nlr = 0.1\nviews = 3\nout = "here"\n')
    options: PretrainOptions = {"epochs": 5}
    config = discover_pretraining(options, file).config

    assert command_of(pretraining._said(options, file, config)) == (
        "finetune pretrain --data pets --backbone squeezenet1_1 --epochs 5 --lr 0.1"
    )


def test_the_way_on_with_few_pictures_says_what_was_said_of_the_data() -> None:
    said = RunConfig(data=Path("a reg.csv"), task="regression", label_col=("x", "y"), skip_missing=True, image_size=32)

    assert pretraining._instead(said) == (
        "finetune run --data 'a reg.csv' --task regression --label-col x --label-col y --skip-missing"
    )


def test_the_command_of_a_plugin_with_licence_and_package_needs_no_more(tmp_path: Path) -> None:
    options: Any = {"plugin": "dogbreeds", "source": "kinds", "out": tmp_path}
    command = command_of(pretraining._said(options, None, RunConfig()))

    assert with_licence(command, "Apache-2.0") == (
        "finetune pretrain --plugin dogbreeds --source kinds --licence Apache-2.0"
    )
