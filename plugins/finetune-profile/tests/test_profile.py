"""Where the time goes, measured in real runs of a head alone and of the whole network."""

from __future__ import annotations

import hashlib
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from finetune import run
from finetune.errors import ConfigError
from finetune.reporting import SilentReporter
from finetune.stopping import Terminated
from finetune.types import CallbackRequest, Figure, Table
from finetune_profile import showing
from finetune_profile.measuring import build
from finetune_profile.record import FILE, STAGES, EpochProfile, read, save

TINY: dict[str, Any] = {
    **{"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 4, "cache_gb": 0.0},
    **{"strategy": "finetune", "freeze_epochs": 3, "epochs": 2, "valid_share": 0.25},
}
PROFILED = {**TINY, "callback": ("profile",)}
EVERY_EPOCH = [*(("frozen", epoch) for epoch in (1, 2, 3)), *(("unfrozen", epoch) for epoch in (1, 2))]
TRAINED_ON = 12
"""Of 16 pictures."""


@pytest.fixture(scope="module")
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, _own_cache: None) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    for kind, label in enumerate(("cat", "dog")):
        (folder / label).mkdir()
        for i in range(8):
            noise = np.random.default_rng([kind, i]).integers(0, 120, (40, 40, 3))
            Image.fromarray((noise + 120 * kind).astype(np.uint8)).save(folder / label / f"{i}.png")
    return folder


@pytest.fixture(scope="module")
def profiled(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(data=pictures, out=tmp_path_factory.mktemp("runs"), **PROFILED).run


def sha256_of_weights(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def profile_of(folder: Path) -> tuple[EpochProfile, ...]:
    return read(folder / "callbacks" / "profile")


def test_every_epoch_of_every_phase_is_measured(profiled: Path) -> None:
    found = profile_of(profiled)

    assert [(epoch.phase, epoch.epoch) for epoch in found] == EVERY_EPOCH
    assert {epoch.pictures for epoch in found} == {TRAINED_ON}
    assert all(epoch.seconds.keys() == set(STAGES) for epoch in found)
    assert all(min(epoch.seconds.values()) > 0 for epoch in found)
    assert all((epoch.peak_memory_bytes or 0) > 50e6 for epoch in found)


def test_the_stages_of_an_epoch_come_to_no_more_than_all_of_it(profiled: Path) -> None:
    for epoch in profile_of(profiled):
        assert 0 < sum(epoch.seconds.values()) <= epoch.total_s
        assert epoch.other_s == pytest.approx(epoch.total_s - sum(epoch.seconds.values()))


def test_an_epoch_takes_no_longer_than_the_history_says(profiled: Path) -> None:
    rows = (profiled / "history.csv").read_text().splitlines()[1:]

    for epoch, row in zip(profile_of(profiled), rows, strict=True):
        assert epoch.seconds["data"] + epoch.seconds["validation"] < float(row.rpartition(",")[2]) + 0.001


def test_the_weights_are_those_of_a_run_that_is_not_measured(profiled: Path, pictures: Path, tmp_path: Path) -> None:
    alone = run(data=pictures, out=tmp_path, **TINY).run

    assert sha256_of_weights(alone) == sha256_of_weights(profiled)
    assert "Where the time went" not in (alone / "report.html").read_text()


class StopsIn(SilentReporter):
    """Sends this process a signal once so many steps of a phase are done."""

    def __init__(self, title: str, steps: int) -> None:
        self.title, self.steps, self.is_on = title, steps, False

    def begin(self, title: str, total: int | None = None, unit: str = "") -> None:
        self.is_on = title == self.title

    def advance(self, steps: int = 1, detail: str = "") -> None:
        self.steps -= self.is_on
        if self.is_on and not self.steps:
            signal.raise_signal(signal.SIGTERM)


def test_a_run_that_was_stopped_keeps_what_was_measured_before(profiled: Path, pictures: Path, tmp_path: Path) -> None:
    with pytest.raises(Terminated):
        run(data=pictures, out=tmp_path, reporter=StopsIn("Training, unfrozen", 4), **PROFILED)
    (folder,) = tmp_path.iterdir()
    before = profile_of(folder)

    run(resume=folder)

    assert [(epoch.phase, epoch.epoch) for epoch in before] == EVERY_EPOCH[:-1]  # stopped in the first step of the last
    assert [(epoch.phase, epoch.epoch) for epoch in profile_of(folder)] == EVERY_EPOCH
    assert profile_of(folder)[:4] == before
    assert sha256_of_weights(folder) == sha256_of_weights(profiled)


def test_the_report_says_where_the_time_went(profiled: Path) -> None:
    table, figure = showing.build(SimpleNamespace(run=profiled))  # type: ignore[arg-type]

    assert isinstance(table, Table)
    assert [row[:2] for row in table.rows] == [("frozen", "3"), ("unfrozen", "2")]
    shares = [[float(cell.rstrip("%")) for cell in row[4:-1]] for row in table.rows]
    assert all(sum(each) == pytest.approx(100, abs=0.5) for each in shares)
    assert isinstance(figure, Figure)
    assert figure.png.startswith(b"\x89PNG")
    assert "Where the time went" in (profiled / "report.html").read_text()


def test_the_report_says_nothing_where_nothing_was_measured(tmp_path: Path) -> None:
    assert list(showing.build(SimpleNamespace(run=tmp_path))) == []  # type: ignore[arg-type]


def test_what_was_measured_of_an_epoch_that_is_repeated_is_the_newer(tmp_path: Path) -> None:
    save(tmp_path, [epoch_of("frozen", 1), epoch_of("unfrozen", 1), epoch_of("unfrozen", 2)])
    callback = build(CallbackRequest(phase="unfrozen", folder=tmp_path, note=print))
    callback.learn = SimpleNamespace(epoch=0, training=False)

    callback.before_epoch()
    callback.after_epoch()
    callback.after_fit()

    assert [(epoch.phase, epoch.epoch, epoch.pictures) for epoch in read(tmp_path)] == [
        ("frozen", 1, 5),
        ("unfrozen", 1, 0),
    ]


def epoch_of(phase: str, number: int) -> EpochProfile:
    seconds = dict.fromkeys(STAGES, 0.1)
    return EpochProfile(phase=phase, epoch=number, pictures=5, total_s=1.0, seconds=seconds, peak_memory_bytes=None)


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    epochs = (epoch_of("frozen", 1), epoch_of("unfrozen", 1))

    save(tmp_path, epochs)

    assert read(tmp_path) == epochs
    (first, _) = json.loads((tmp_path / FILE).read_text())
    assert (first["other_s"], first["pictures_per_s"]) == (pytest.approx(0.4), 5.0)
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("content", ["[", "[1]", '[{"phase": "frozen"}]'], ids=["cut", "numbers", "keys"])
def test_a_file_that_is_damaged_is_named_with_the_way_out(content: str, tmp_path: Path) -> None:
    (tmp_path / FILE).write_text(content)

    with pytest.raises(ConfigError, match=r"profile\.json is damaged\. Delete it and repeat the command"):
        read(tmp_path)
