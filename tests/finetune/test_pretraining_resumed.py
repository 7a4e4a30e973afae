"""A pretraining that was stopped goes on, and ends with the record that it would have ended with."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import finetune
from finetune import pretraining, record_writing
from finetune.errors import ConfigError, ResourceError
from finetune.types import Pretrained
from finetune.weight_record import read_record

from .conftest import Notes
from .test_resuming import EndAt, EndedError, insects

OPTIONS: dict[str, Any] = {
    **{"backbone": "resnet18_half", "image_size": 32, "batch_size": 8, "epochs": 3, "average": "ema"},
    **{"valid_share": 0.25, "checkpoint_seconds": 0, "licence": "CC0-1.0"},
}


@dataclass(frozen=True)
class Ended:
    """A pretraining that was ended in its second epoch, its pictures, and the record that it would have ended with."""

    run: Path
    pictures: Path
    record: bytes


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Ended:
    root = tmp_path_factory.mktemp("resuming")
    pictures = insects(root, picture)
    whole = finetune.pretrain(data=pictures, out=root / "whole", **OPTIONS)
    with pytest.raises(EndedError):
        finetune.pretrain(data=pictures, out=root / "ended", reporter=EndAt("Training, from scratch", 4), **OPTIONS)
    (ended,) = (root / "ended").iterdir()
    return Ended(ended, pictures, whole.record.read_bytes())


@pytest.fixture
def ended(original: Ended, tmp_path: Path) -> Ended:
    run = Path(shutil.copytree(original.run, tmp_path / original.run.name))
    return Ended(run, original.pictures, original.record)


def go_on(ended: Ended, **options: Any) -> Pretrained:
    return finetune.pretrain(resume=ended.run, **options)


def refusal(ended: Ended, **options: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        go_on(ended, **options)
    return str(caught.value)


def test_it_ends_with_the_same_bytes_wherever_its_pictures_are_now(ended: Ended, tmp_path: Path) -> None:
    moved = Path(shutil.copytree(ended.pictures, tmp_path / "elsewhere" / "insects"))

    result = go_on(ended, data=moved)

    assert result.record.read_bytes() == ended.record
    assert (result.run, result.licence, result.epochs) == (ended.run, "CC0-1.0", 3)


def test_it_has_no_record_before_that_is_proven_and_proves_it_when_it_goes_on(ended: Ended) -> None:
    with pytest.raises(EndedError):
        go_on(ended, reporter=EndAt("Verifying pretrained"))
    assert not (ended.run / "pretrained.safetensors").exists()
    assert (ended.run / "weights.safetensors").exists()

    assert go_on(ended).record.read_bytes() == ended.record


def test_a_licence_that_is_said_anew_is_that_of_the_command_as_well(ended: Ended) -> None:
    record = read_record(go_on(ended, licence="MIT").record)

    assert record is not None
    assert (record.licence, record.command[-13:]) == ("MIT", "--licence MIT")
    assert "CC0" not in record.command


def broken(where: str, at: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a pretraining end before or after it calls a function of ``pretraining``, or moves its record."""
    owner, name = (record_writing.run_folder, at) if at == "sync_folder" else (pretraining, at)
    carried_out = getattr(owner, name)

    def breaking(*given: Any) -> None:
        if where == "after":
            carried_out(*given)
        raise EndedError

    monkeypatch.setattr(owner, name, breaking)


def test_wherever_it_ended_after_training_it_ends_with_the_same_record_and_package(
    ended: Ended, tmp_path: Path
) -> None:
    places = [("before", "sync_folder"), ("before", "score_test_part"), ("before", "write_package")]
    for where, at in [*places, ("after", "write_package"), ("before", "_result")]:
        with pytest.MonkeyPatch.context() as patched:
            broken(where, at, patched)
            with pytest.raises(EndedError):
                go_on(ended, package=tmp_path / "mine")

    result = go_on(ended)

    assert result.package == tmp_path / "mine"
    assert result.record.read_bytes() == ended.record
    assert (tmp_path / "mine" / "finetune_mine" / "mine.safetensors").read_bytes() == ended.record
    assert json.loads((ended.run / "run.json").read_text())["status"] == "done"


def test_a_package_that_cannot_be_written_leaves_the_weights_and_two_ways_on(
    ended: Ended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Path) -> None:
        raise ResourceError("No room.")

    monkeypatch.setattr(pretraining, "write_package", failing)
    with pytest.raises(ResourceError) as caught:
        go_on(ended, package=tmp_path / "mine")

    record = ended.run / "pretrained.safetensors"
    assert record.read_bytes() == ended.record
    assert str(caught.value) == (
        f"No room. The weights are done: {record}. For a package of them: finetune pretrain --resume {ended.run} "
        f"--package OTHER, or finetune plugins new NAME --kind backbone --from {record}"
    )


def test_what_was_said_when_it_was_begun_is_not_said_again(ended: Ended) -> None:
    notes = Notes()
    go_on(ended, reporter=notes)

    assert not [note for note in notes.said if "random weights" in note or "few to pretrain on" in note]


def test_a_package_of_another_record_is_refused(ended: Ended, tmp_path: Path) -> None:
    (tmp_path / "mine" / "finetune_mine").mkdir(parents=True)
    (tmp_path / "mine" / "finetune_mine" / "mine.safetensors").write_bytes(ended.record[:-1] + b"?")
    (ended.run / "pretrained.safetensors").write_bytes(ended.record)

    assert refusal(ended, package=tmp_path / "mine").startswith(f"{tmp_path / 'mine'} exists already.")


@pytest.mark.parametrize("option", ["target", "max_drop", "cache_gb"])
def test_options_of_a_run_are_refused_when_it_goes_on_as_well(ended: Ended, option: str) -> None:
    assert f"--{option.replace('_', '-')} is for networks that have learned before" in refusal(ended, **{option: 0.1})


def test_a_package_may_be_asked_for_later(ended: Ended, tmp_path: Path) -> None:
    result = go_on(ended, package=tmp_path / "mine")

    assert (tmp_path / "mine" / "finetune_mine" / "mine.safetensors").read_bytes() == result.record.read_bytes()


def test_a_package_that_was_asked_for_is_remembered(ended: Ended, tmp_path: Path) -> None:
    status = json.loads((ended.run / "run.json").read_text())
    status["sharing"]["package"] = str(tmp_path / "mine")
    (ended.run / "run.json").write_text(json.dumps(status))
    (tmp_path / "mine").mkdir()

    assert refusal(ended).startswith(f"{tmp_path / 'mine'} exists already.")


def test_what_would_make_it_another_is_refused_with_what_may_change(ended: Ended) -> None:
    assert refusal(ended, epochs=9) == (
        "--epochs 9 cannot be said when a run is resumed: it was begun with 3. What may change is --data, "
        "--checkpoint-seconds, --max-minutes, --metric, --track; start a new run for anything else."
    )


def test_a_run_is_not_resumed_as_a_pretraining_nor_the_reverse(ended: Ended) -> None:
    said = f"{ended.run} was made by 'finetune {{}}'; go on with: finetune {{}} --resume {ended.run}"

    with pytest.raises(ConfigError, match=f"^{re.escape(said.format('pretrain', 'pretrain'))}$"):
        finetune.run(resume=ended.run)
    status = json.loads((ended.run / "run.json").read_text())
    (ended.run / "run.json").write_text(json.dumps({**status, "job": "run"}))
    assert refusal(ended) == said.format("run", "run")


def test_one_that_is_done_is_not_resumed(ended: Ended) -> None:
    status = json.loads((ended.run / "run.json").read_text())
    (ended.run / "run.json").write_text(json.dumps({**status, "status": "done"}))

    assert refusal(ended) == (
        f"{ended.run} is done, there is nothing to resume. Start a new run with 'finetune pretrain --config "
        f"{ended.run / 'config.toml'}'."
    )


def test_a_changed_configuration_is_refused_with_the_right_command(ended: Ended) -> None:
    config = ended.run / "config.toml"
    config.write_text(config.read_text().replace("epochs = 3", "epochs = 4"))

    assert refusal(ended).endswith(f"start a new run with: finetune pretrain --config {config}")


def test_what_is_left_to_do_is_kept_of_the_time_there_is(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pretraining, "RECORD_S", 1e9)

    result = go_on(ended, max_minutes=10)

    assert result.epochs < OPTIONS["epochs"]
    assert result.record.exists()
    assert "Training was ended for what comes after training (--max-minutes 10)." in result.notes
