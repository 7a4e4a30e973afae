"""Going on with a run that was stopped: what may change, what may not, and what is done about damage."""

from __future__ import annotations

import json
import re
import shlex
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import finetune
from finetune.errors import ConfigError, DataError, FinetuneError, ModelError, ResourceError
from finetune.reporting import SilentReporter
from finetune.run_folder import RunFolder

from .conftest import TINY

OPTIONS: dict[str, Any] = {
    **TINY,
    "strategy": "finetune",
    "freeze_epochs": 2,
    "checkpoint_seconds": 0,
    "valid_share": 0.25,
}


class EndedError(BaseException):
    """What ends a run in the tests: nothing that anything would handle."""


class EndAt(SilentReporter):
    """End a run where it begins to do something, or after so many steps of it; and remember what was said."""

    def __init__(self, title: str, steps: int = 0) -> None:
        self.title, self.steps = title, steps
        self.title_now, self.said = "", list[str]()

    def note(self, text: str) -> None:
        self.said.append(text)

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.title_now = title
        self._end_after(0)

    def advance(self, steps: int = 1, detail: str = "") -> None:
        if self.title_now.startswith(self.title):
            self.steps -= 1
        self._end_after(0)

    def _end_after(self, left: int) -> None:
        if self.title_now.startswith(self.title) and self.steps <= left:
            raise EndedError


@dataclass(frozen=True)
class Ended:
    """A run that was ended in its second phase, its pictures, and the weights that it would have ended with."""

    run: Path
    pictures: Path
    weights: bytes


def insects(root: Path, picture: Callable[..., Image.Image]) -> Path:
    """Draw twelve pictures of each of two classes."""
    pictures = root / "insects"
    for kind, label in enumerate(("ant", "bee")):
        (pictures / label).mkdir(parents=True)
        for i in range(12):
            picture(kind, seed=100 * kind + i).save(pictures / label / f"{i}.png")
    return pictures


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Image.Image]) -> Ended:
    root = tmp_path_factory.mktemp("resuming")
    pictures = insects(root, picture)
    with pytest.raises(EndedError):
        finetune.run(data=pictures, out=root / "whole", reporter=EndAt("Exporting"), **OPTIONS)
    with pytest.raises(EndedError):
        finetune.run(data=pictures, out=root / "ended", reporter=EndAt("Training, unfrozen", steps=4), **OPTIONS)
    (whole,), (ended,) = (root / "whole").iterdir(), (root / "ended").iterdir()
    return Ended(ended, pictures, (whole / "weights.safetensors").read_bytes())


@pytest.fixture
def ended(original: Ended, tmp_path: Path) -> Ended:
    """The run and its pictures, to be changed by the test; the pictures are elsewhere than they were."""
    run = Path(shutil.copytree(original.run, tmp_path / original.run.name))
    pictures = Path(shutil.copytree(original.pictures, tmp_path / "insects"))
    return Ended(run, pictures, original.weights)


def go_on(ended: Ended, until: str = "Exporting", **options: Any) -> list[str]:
    """Go on with a run, until its export, which takes longer; return what it said."""
    reporter = EndAt(until)
    with pytest.raises(EndedError):
        finetune.run(resume=ended.run, reporter=reporter, **{"data": ended.pictures, **options})
    return reporter.said


def refused(kind: type[FinetuneError], text: str) -> AbstractContextManager[Any]:
    return pytest.raises(kind, match=f"^{re.escape(text)}$")


def resume(ended: Ended, **options: Any) -> None:
    finetune.run(resume=ended.run, reporter=EndAt("Exporting"), **{"data": ended.pictures, **options})


# ── the same run ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_goes_on_with_pictures_that_moved_and_ends_with_the_same_weights(ended: Ended) -> None:
    assert (ended.run / "checkpoints" / "checkpoint.json").exists()
    assert json.loads((ended.run / "run.json").read_text())["status"] == "failed"

    go_on(ended)

    assert (ended.run / "weights.safetensors").read_bytes() == ended.weights
    assert str(ended.pictures) in (ended.run / "config.toml").read_text()
    assert str(ended.pictures) in (ended.run / "split.csv").read_text()


def test_what_has_no_say_in_the_weights_may_change(ended: Ended) -> None:
    go_on(ended, cache_gb=0, checkpoint_seconds=60, max_drop=0.1, target=("fp16",), track=(), max_minutes=1000)

    assert (ended.run / "weights.safetensors").read_bytes() == ended.weights
    assert 'target = ["fp16"]' in (ended.run / "config.toml").read_text()


def test_what_is_said_again_as_it_was_changes_nothing(ended: Ended, monkeypatch: pytest.MonkeyPatch) -> None:
    out = Path((re.search(r'^out = "(.*)"$', (ended.run / "config.toml").read_text(), re.MULTILINE) or [""] * 2)[1])
    monkeypatch.chdir(out.parent)

    go_on(ended, **{**OPTIONS, "out": Path(out.name), "seed": 42}, until="Training")


def test_versions_that_changed_are_noted(ended: Ended) -> None:
    versions = ended.run / "versions.json"
    was = json.loads(versions.read_text())["torch"]
    versions.write_text(versions.read_text().replace(f'"torch": "{was}"', '"torch": "1.0"'))

    said = go_on(ended, until="Training")

    sentence = f"torch was 1.0 and is {was}: the run goes on, and may end with other weights than without a stop."
    assert [text for text in said if " was " in text] == [sentence]


def test_a_run_that_was_ended_before_it_had_written_down_its_data_begins_anew(ended: Ended) -> None:
    shutil.rmtree(ended.run / "checkpoints")
    for name in ("versions.json", "data.json", "split.csv"):
        (ended.run / name).unlink()

    go_on(ended)

    assert (ended.run / "weights.safetensors").read_bytes() == ended.weights


# ── another run ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "value", "before"),
    [
        ("lr", 0.1, "with 0.003"),
        ("backbone", "resnet18", "with squeezenet1_1"),
        ("test_share", 0.2, "with 0.0"),
        ("monitor", "ece", "without it"),
    ],
)
def test_an_option_that_would_make_another_run_is_refused_with_those_that_may_change(
    ended: Ended, name: str, value: object, before: str
) -> None:
    with refused(
        ConfigError,
        f"--{name.replace('_', '-')} {value} cannot be said when a run is resumed: it was begun {before}. What "
        "may change is --data, --cache-gb, --checkpoint-seconds, --max-minutes, --metric, --target, --max-drop, "
        "--track; start a new run for anything else.",
    ):
        resume(ended, **{name: value})


def test_options_that_were_edited_in_the_runs_own_file_are_refused(ended: Ended) -> None:
    path = ended.run / "config.toml"
    path.write_text(path.read_text().replace("lr = 0.003", "lr = 0.01"))

    with refused(
        ConfigError,
        f"{path} was changed since the run was begun; put it back, or start a new run with: finetune run --config "
        f"{shlex.quote(str(path))}",
    ):
        resume(ended)


def test_other_pictures_are_refused_with_how_many_there_are(ended: Ended, picture: Callable[..., Image.Image]) -> None:
    (ended.pictures / "ant" / "0.png").unlink()
    picture(0, seed=777).save(ended.pictures / "ant" / "1.png")

    with refused(
        DataError,
        "The pictures or labels of 'insects' are not those that the run was begun with (2 are gone or changed, 1 are "
        "new). Put them back, or start a new run.",
    ):
        resume(ended)


def test_other_classes_are_refused_with_both(ended: Ended) -> None:
    (ended.pictures / "bee").rename(ended.pictures / "wasp")

    with refused(DataError, "The classes are ant, wasp, and the run was begun with ant, bee. Start a new run."):
        resume(ended)


DIVIDED_OTHERWISE = (
    "The pictures are divided otherwise, or have other names, than when the run was begun. Put them back, or start a "
    "new run."
)


def test_another_division_is_refused(ended: Ended) -> None:
    split = ended.run / "split.csv"
    split.write_text(split.read_text().replace("valid,ant", "test,ant"))

    with refused(DataError, DIVIDED_OTHERWISE):
        resume(ended)


def test_names_that_put_the_pictures_in_another_order_are_refused(ended: Ended) -> None:
    for name in ("0.png", "1.png", "2.png", "3.png", "4.png"):
        (ended.pictures / "ant" / name).rename(ended.pictures / "ant" / f"zz{name}")

    with refused(DataError, DIVIDED_OTHERWISE):
        resume(ended)


def test_pictures_whose_labels_are_swapped_are_refused(ended: Ended) -> None:
    one, other = ended.pictures / "ant" / "3.png", ended.pictures / "bee" / "3.png"
    ant, bee = one.read_bytes(), other.read_bytes()
    one.write_bytes(bee)
    other.write_bytes(ant)

    with refused(
        DataError,
        "The pictures or labels of 'insects' are not those that the run was begun with (0 are gone or changed, 0 are "
        "new). Put them back, or start a new run.",
    ):
        resume(ended)


def test_a_refusal_leaves_a_run_that_goes_on(ended: Ended) -> None:
    for _ in range(2):
        with pytest.raises(ConfigError):
            resume(ended, lr=0.1)

    go_on(ended)

    assert (ended.run / "weights.safetensors").read_bytes() == ended.weights


# ── folders ─────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_that_is_done_is_not_resumed(trained: Any) -> None:
    config = trained.run / "config.toml"
    with pytest.raises(ConfigError) as refusal:
        finetune.run(resume=trained.run)

    assert str(refusal.value).startswith(f"{trained.run} is done, there is nothing to resume. Start a new run with ")
    assert str(config) in str(refusal.value)


def test_a_folder_that_no_run_left_is_refused(tmp_path: Path) -> None:
    with refused(
        ConfigError,
        f"{tmp_path} is no run's folder: it has no run.json. Name the folder that the run was written to.",
    ):
        finetune.run(resume=tmp_path)


def test_a_run_that_never_wrote_down_its_options_is_refused(ended: Ended) -> None:
    (ended.run / "config.toml").unlink()

    with refused(
        ConfigError,
        f"{ended.run} has no config.toml: the run was stopped before it had written down what it was asked for. Start "
        "a new one.",
    ):
        resume(ended)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("data.json", None),
        ("data.json", b"\xff{"),
        ("split.csv", None),
        ("split.csv", b"part\n1\n"),
        ("versions.json", b"{"),
    ],
)
def test_records_that_are_damaged_are_refused(ended: Ended, name: str, content: bytes | None) -> None:
    if content is None:
        (ended.run / name).unlink()
    else:
        (ended.run / name).write_bytes(content)

    with refused(ConfigError, f"{ended.run / name} is damaged or missing; the run cannot be resumed. Start a new one."):
        resume(ended)


def test_a_second_process_is_refused_with_the_first_ones_number(ended: Ended) -> None:
    recorded = json.loads((ended.run / "run.json").read_text())
    (ended.run / "run.json").write_text(json.dumps({**recorded, "status": "running", "pid": 4711}))
    first = RunFolder.reopen(ended.run)

    with refused(
        ResourceError,
        f"{ended.run} is in use by process 4711. Wait until it has ended, or end it, and repeat the command.",
    ):
        resume(ended)

    with first.recorded():
        pass


# ── damage ──────────────────────────────────────────────────────────────────────────────────────────


def newest(run: Path) -> Path:
    return run / "checkpoints" / str(json.loads((run / "checkpoints" / "checkpoint.json").read_text())[0]["file"])


def truncate(checkpoint: Path) -> None:
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])


def flip_one_bit(checkpoint: Path) -> None:
    content = bytearray(checkpoint.read_bytes())
    content[len(content) // 2] ^= 1
    checkpoint.write_bytes(bytes(content))


def replace_by_another_runs(checkpoint: Path) -> None:
    """As from a run that is further on: a whole checkpoint, but not the one that this run wrote."""
    entries = json.loads(checkpoint.with_name("checkpoint.json").read_text())
    shutil.copy(checkpoint.with_name(entries[1]["file"]), checkpoint)


@pytest.mark.parametrize("damage", [truncate, flip_one_bit, replace_by_another_runs])
def test_a_damaged_checkpoint_is_refused_and_without_it_the_run_goes_on_from_the_one_before(
    ended: Ended, damage: Callable[[Path], None]
) -> None:
    damaged = newest(ended.run)
    before = json.loads((ended.run / "checkpoints" / "checkpoint.json").read_text())[1]["description"]
    damage(damaged)

    with refused(
        ModelError,
        f"{damaged} is damaged. The one before it holds {before}: delete the damaged file and repeat the command to "
        "go on from there.",
    ):
        resume(ended)
    damaged.unlink()
    said = go_on(ended)

    assert any(f"{damaged} is missing; going on from " in text for text in said)
    assert (ended.run / "weights.safetensors").read_bytes() == ended.weights


def test_without_any_checkpoint_that_is_whole_the_run_is_trained_from_the_start(ended: Ended) -> None:
    for checkpoint in (ended.run / "checkpoints").glob("*.safetensors"):
        truncate(checkpoint)

    with pytest.raises(ModelError, match=rf"delete {re.escape(str(ended.run / 'checkpoints'))} and repeat the command"):
        resume(ended)
    shutil.rmtree(ended.run / "checkpoints")
    go_on(ended)

    assert (ended.run / "weights.safetensors").read_bytes() == ended.weights
