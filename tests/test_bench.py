"""The benchmark skips where there are no photos, and its tables say what was measured."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parent / "bench"
sys.path.insert(0, str(BENCH))  # as Python does for a script

from bench import Bench  # noqa: E402
from cases import AGAIN, FASTAI_LONG, FASTAI_SHORT, FINETUNE, LIMIT, PARTIAL, PROBE, Case, scaled  # noqa: E402
from children import ChildFailedError, measured  # noqa: E402
from photos import Photos  # noqa: E402
from report import table, tables  # noqa: E402
from results import Measurement, Section, append, read  # noqa: E402
from surroundings import heading  # noqa: E402
from transfer import Planned, is_done  # noqa: E402

sys.path.remove(str(BENCH))


def run(*arguments: str, **settings: str) -> tuple[int, str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("FINETUNE_REAL")}
    command = [sys.executable, str(BENCH / "transfer.py"), *arguments]
    ended = subprocess.run(command, env=env | settings, capture_output=True, text=True, check=False)
    return ended.returncode, ended.stdout, ended.stderr


def found(name: str, training_s: float = 1.0, section: str = "speed-mobilenet_v2", **figures: Any) -> Measurement:
    base = {"seed": 42, "whole_s": 20.0, "passes": 100, "peak_mb": 500.0, "accuracy": 0.9, "date": "2026-11-21"}
    return Measurement(section=section, name=name, training_s=training_s, **(base | figures))


def rows(markdown: str) -> dict[str, list[str]]:
    """Return the cells of every row of every table, by the first cell."""
    lines = [line.strip("| ").split(" | ") for line in markdown.splitlines() if line.startswith("| ")]
    return {cells[0]: cells[1:] for cells in lines}


# ── without photos ──────────────────────────────────────────────────────────────────────────────────


def test_without_photos_it_says_so_and_ends_well() -> None:
    said = "Skipped: FINETUNE_REAL_DATA is not set; it has to point at the folder of the real photos.\n"
    assert run() == (0, said, "")


def test_a_folder_that_is_not_there_is_an_error(tmp_path: Path) -> None:
    status, out, errors = run(FINETUNE_REAL_DATA=str(tmp_path))
    assert (status, out) == (2, "")
    assert errors.startswith(f"{tmp_path / 'hymenoptera'} is not a folder")


def test_a_section_that_does_not_exist_is_refused_with_those_that_do() -> None:
    status, _, errors = run("--only", "speed-resnet")
    assert status == 2
    assert "no section speed-resnet; there are speed-mobilenet_v2, speed-squeezenet1_1, datasets, scaling" in errors


# ── tables ──────────────────────────────────────────────────────────────────────────────────────────


def test_several_runs_become_their_median_with_minimum_and_maximum() -> None:
    runs = [found(PROBE, 3.0, seed=1), found(PROBE, 1.0, seed=2), found(PROBE, 2.0, seed=3, accuracy=0.8)]
    text = tables(Section("speed-mobilenet_v2", runs))
    assert (
        "| ours: probe, 20 epochs | 2.0 (1.0 to 3.0) | 20.0 (20.0 to 20.0) | 50 (33 to 100) | 500 (500 to 500) "
        "| 0.900 (0.800 to 0.900) | 3 |"
    ) in text


def test_ratios_are_reached_or_missed() -> None:
    measurements = [
        found(LIMIT, 5.0, accuracy=None),
        found(FASTAI_SHORT, 136.0),
        found(PROBE, 6.6, accuracy=0.974, whole_s=24.9),
        found(PROBE + AGAIN, 0.5, parts={"frozen": 2.5}),
        found(FASTAI_LONG, 240.0, accuracy=0.92, parts={"unfrozen": 150.0, "best epoch": 0.96}),
        found(FINETUNE, 60.0, seed=42, accuracy=0.93),
        found(FINETUNE, 70.0, seed=43, accuracy=0.96),
        found(FINETUNE, 100.0, seed=44, accuracy=0.93),
        found(PARTIAL, 40.0, parts={"last 2 stages": 30.0}),
    ]
    row = rows(tables(Section("speed-mobilenet_v2", measurements)))
    assert row["probe, faster than plain fastai 5 + 1"] == ["20.61 ×", "at least 20.00 ×", "reached"]
    assert row["probe, slower than the limit in float32"] == ["1.32 ×", "at most 1.30 ×", "missed"]
    assert row["probe, accuracy"] == ["0.974", "at least 0.974", "reached"]
    assert row["probe, whole command"] == ["24.90 s", "at most 25.00 s", "reached"]
    assert row["probe again, its frozen phase"] == ["2.50 s", "at most 2.00 s", "missed"]
    assert row["finetune 5 + 3, faster than plain fastai 5 + 3"] == ["3.43 ×", "at least 3.00 ×", "reached"]
    above = "finetune 5 + 3, accuracy above plain fastai's "
    assert row[above + "last epoch"] == ["0.020", "at least 0.000", "reached"]
    assert row[above + "best unfrozen epoch"] == ["-0.020", "at least 0.000", "missed"]
    partial = row["partial, three epochs of two stages, faster than fastai's three"]
    assert partial == ["5.00 ×", "at least 5.00 ×", "reached"]


def test_what_was_not_measured_is_neither_reached_nor_missed() -> None:
    row = rows(tables(Section("speed-squeezenet1_1", [found(PROBE, section="speed-squeezenet1_1")])))
    assert row["probe, faster than plain fastai 5 + 1"] == ["–", "at least 12.00 ×", "not measured"]
    assert "probe, accuracy" not in row  # there is no target for it


def test_the_best_strategy_of_each_set_is_the_most_accurate_and_of_equals_the_faster() -> None:
    accuracies = {"dogs: probe": 0.88, "dogs: svm": 0.91, "catsdogs: svm": 0.98, "cifar10: probe": 0.8}
    measurements = [found(name, section="datasets", accuracy=value) for name, value in accuracies.items()]
    measurements.append(found("cifar10: auto", 9.0, section="datasets", accuracy=0.8))
    row = rows(tables(Section("datasets", measurements)))
    assert {name for name in row if name.startswith("**")} == {
        "**dogs: svm**",
        "**catsdogs: svm**",
        "**cifar10: probe**",
    }
    assert row["dogs: svm, accuracy"] == ["0.910", "at least 0.890", "reached"]
    assert row["catsdogs: svm, accuracy"] == ["0.980", "at least 0.990", "missed"]


def test_scaling_says_what_more_pictures_and_more_epochs_cost() -> None:
    seconds = {(250, 1): 5.0, (1_000, 1): 20.0, (4_000, 1): 75.0, (4_000, 50): 90.0}
    measurements = [found(scaled(*cell), section="scaling", parts={"frozen": spent}) for cell, spent in seconds.items()]
    text = tables(Section("scaling", measurements))
    row = rows(text)
    assert row["epochs"] == ["250 pictures", "1,000 pictures", "4,000 pictures", "16 times the pictures"]
    assert (row["1"], row["50"]) == (["5.0", "20.0", "75.0", "15.0 ×"], ["–", "–", "90.0", "–"])
    assert text.endswith("50 times the epochs cost: 250 pictures –, 1,000 pictures –, 4,000 pictures 1.2 ×.")


def test_the_heading_names_dates_number_and_command_but_no_path() -> None:
    section = Section("scaling", [found("a", section="scaling"), found("b", section="scaling", date="2026-11-22")])
    text = heading([section], ["--only scaling", "--seeds 3"])
    assert text.startswith("2026-11-21 to 2026-11-22, 2 processes")
    assert text.endswith("python tests/bench/transfer.py --only scaling --seeds 3`")
    assert str(Path.home()) not in text


def test_a_table_is_markdown() -> None:
    assert table(("", "b"), [("1", "2")]) == "|  | b |\n| --- | --- |\n| 1 | 2 |"


# ── measuring ───────────────────────────────────────────────────────────────────────────────────────


def test_a_process_is_measured_with_the_memory_that_it_took() -> None:
    code = "print(len(bytearray(b'1') * 300_000_000))"
    ended = measured([sys.executable, "-c", code], os.environ, 60)
    # No upper bound: until it becomes another program, a child counts the memory of the tests that started it.
    assert (ended.output, ended.peak_mb > 300, ended.seconds > 0) == ("300000000\n", True, True)


def test_a_process_that_fails_is_quoted() -> None:
    with pytest.raises(ChildFailedError, match="ended with status 3: no photos"):
        measured([sys.executable, "-c", "import sys; print('no photos', file=sys.stderr); sys.exit(3)"], os.environ, 60)


def test_a_process_that_is_late_is_ended_with_everything_that_it_started() -> None:
    waiting = "import threading; threading.Event().wait()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {waiting!r}])"
    with pytest.raises(ChildFailedError, match=r"was ended after 0\.5 s"):
        measured([sys.executable, "-c", code], os.environ, 0.5)


def test_a_log_that_was_cut_off_is_read_up_to_there_and_a_second_measurement_replaces_the_first(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log.jsonl"
    first, second = found(PROBE, 1.0), found(PROBE, 2.0)
    append(log, first)
    append(log, second)
    with log.open("a") as file:
        file.write('{"section": "speed-mob')
    assert read(log) == [first, second]
    assert Section("speed-mobilenet_v2", read(log)).measurements == [second]
    assert read(tmp_path / "none.jsonl") == []


# ── photos ──────────────────────────────────────────────────────────────────────────────────────────


def test_mixed_sets_of_any_size_hold_every_source_in_the_same_share(
    picture_folder: Callable[..., Path], tmp_path: Path
) -> None:
    picture_folder(("husky", "pug", "collie"), count=20, name="real/dogs")
    picture_folder(("cat", "dog"), count=8, name="real/catsdogs")
    picture_folder(("cat", "ship"), count=15, name="real/cifar10/train")
    photos = Photos(tmp_path / "real", tmp_path)
    for size in (40, 80):
        links = [path for path in photos.mixed(size).rglob("*") if path.is_symlink()]
        sources = [path.parent.name.split("-")[0] for path in links]
        shares = {name: sources.count(name) / size for name in ("dogs", "catsdogs", "cifar10")}
        assert shares == {"dogs": 0.6, "catsdogs": 0.15, "cifar10": 0.25}
        assert sum("valid" in path.parts for path in links) == len(links) // 5
        labels = {part: {path.parent.name for path in links if part in path.parts} for part in ("train", "valid")}
        assert labels["valid"] <= labels["train"]
        assert all(path.resolve().is_file() for path in links)


def test_what_is_in_the_log_is_not_measured_again_unless_its_second_run_is_missing(tmp_path: Path) -> None:
    bench = Bench(weights=tmp_path, work=tmp_path, seeds=(42, 43))
    case = Case(name=PROBE, kind="ours", data=tmp_path, every_seed=True, again=True)
    first, second = (Planned(section="speed-mobilenet_v2", case=case, seed=seed) for seed in bench.seeds)
    assert not is_done(bench, first, [found(PROBE)])
    assert is_done(bench, first, [found(PROBE), found(PROBE + AGAIN)])
    assert is_done(bench, second, [found(PROBE, seed=43)])
