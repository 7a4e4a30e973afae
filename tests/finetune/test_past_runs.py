"""Past runs: told from whatever else lies in a folder, and removed whole, or not at all."""

from __future__ import annotations

import json
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from finetune import auditing, planning, records
from finetune.cache_removal import cache_bytes, remove_cache
from finetune.errors import ConfigError, ResourceError
from finetune.exporting import RECORDS
from finetune.past_runs import AUDIT, past_runs
from finetune.run_folder import RunFolder
from finetune.run_removal import OWN_NAMES, choose, remainders, removal
from finetune.training.activation_cache import ActivationCache
from finetune.training.activation_file import CACHE_FILE

RESULT = {
    **{"dataset": "pets", "backbone": "resnet18", "strategy": "probe"},
    **{"metric": "accuracy", "value": 0.5, "interval": [0.2, 0.8]},
}


def made(folder: Path, name: str = "20260101-120000-pets-resnet18", config: str = "", **facts: Any) -> Path:
    """Make a run's folder by hand, done unless its facts say otherwise."""
    run = folder / name
    run.mkdir(parents=True)
    known = {"job": "run", "status": "done", "started": "2026-01-01T12:00:00+00:00", "result": RESULT}
    (run / "run.json").write_text(json.dumps({**known, **facts}))
    (run / "config.toml").write_text(config or 'data = "pictures/pets"\nbackbone = "resnet18"\nstrategy = "auto"\n')
    (run / "model.onnx").write_bytes(bytes(1000))
    return run


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


# ── what is listed ──────────────────────────────────────────────────────────────────────────────────


def test_runs_are_found_below_a_folder_newest_first_and_nothing_else_is(tmp_path: Path) -> None:
    made(tmp_path, "old", started="2025-01-01T00:00:00+00:00")
    new = made(tmp_path / "demo", "new")
    made(tmp_path / "a" / "b" / "c", "deeper than is looked")
    made(tmp_path / ".hidden", "run")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(new)
    (tmp_path / "another program").mkdir()
    (tmp_path / "another program" / "run.json").write_text('{"speed": 3}')

    found = past_runs(tmp_path)

    assert [run.name for run in found] == ["demo/new", "old"]
    assert (found[0].metric, found[0].value, found[0].interval) == ("accuracy", 0.5, (0.2, 0.8))
    assert (found[0].dataset, found[0].backbone, found[0].strategy) == ("pets", "resnet18", "probe")
    assert found[0].size_bytes == sum(path.stat().st_size for path in new.iterdir())
    assert [run.name for run in past_runs(new)] == ["new"]
    assert past_runs(tmp_path / "gone") == []


def test_what_a_folder_is_of_is_told_from_what_is_in_it(tmp_path: Path) -> None:
    made(tmp_path, "1", job="pretrain")
    made(tmp_path, "2", suggestion=0.003, dataset="pets", backbone="tiny", result=None)
    (made(tmp_path, "3", result=None) / AUDIT).write_text('{"dataset": "pets and more"}')
    crossed = made(tmp_path, "4", config="folds = 2\n", result=None)
    (crossed / "folds.json").write_text('{"metric": "accuracy", "scores": {"accuracy": [0.75, 0.05]}}')
    for fold in ("x-fold-1", "x-fold-2"):
        (made(crossed, fold, config="folds = 2\nfold = 1\n") / "data.json").write_text('{"name": "birds"}')

    found = {run.name: run for run in past_runs(tmp_path)}

    assert {name: run.what for name, run in found.items()} == {
        **{"1": "pretrain", "2": "lr-find", "3": "audit", "4": "cross-validation"}
    }
    assert (found["2"].metric, found["2"].value, found["2"].backbone) == ("lr", 0.003, "tiny")
    assert found["3"].dataset == "pets and more"
    assert (found["4"].value, found["4"].spread, found["4"].dataset) == (0.75, 0.05, "birds")
    assert found["4"].size_bytes > 3000


def test_a_run_is_running_while_its_lock_is_held_and_stopped_when_it_was_killed(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "pets")
    with folder.recorded():
        assert [run.status for run in past_runs(tmp_path)] == ["running"]
        killed = (folder / "run.json").read_bytes()
    assert [run.status for run in past_runs(tmp_path)] == ["done"]
    (folder / "run.json").write_bytes(killed)
    (folder / ".lock").touch()
    assert [run.status for run in past_runs(tmp_path)] == ["stopped"]


def test_a_run_that_failed_says_why_and_what_it_was_asked_for(tmp_path: Path) -> None:
    made(tmp_path, status="failed", cause="DataError: no pictures", result=None)
    (run,) = past_runs(tmp_path)
    assert (run.status, run.note) == ("failed", "DataError: no pictures")
    assert (run.dataset, run.backbone, run.strategy, run.value) == ("pets", "resnet18", "auto", None)


@pytest.mark.parametrize(
    ("file", "content", "problem"),
    [
        ("run.json", '{"status": "do', "run.json is damaged (Unterminated string"),
        ("run.json", "[" * 100_000, "run.json is damaged ("),
        ("run.json", '{"job": "run"}', "run.json is damaged ('status')"),
        ("run.json", '{"status": "great"}', "run.json is damaged (status 'great')"),
        ("run.json", "[]", "run.json is damaged ("),
        ("run.json", '{"status": "done", "result": {"value": "high"}}', "run.json is damaged ("),
        ("run.json", "\x00\x01", "run.json is damaged ("),
        ("audit.json", "{", "audit.json is damaged (Expecting"),
    ],
)
def test_a_damaged_run_is_a_row_that_says_what_is_wrong(tmp_path: Path, file: str, content: str, problem: str) -> None:
    run = made(tmp_path, "run", result=None)
    (run / file).write_text(content)
    made(tmp_path, "whole")

    found = {run.name: run for run in past_runs(tmp_path)}

    assert found["run"].status == "damaged"
    assert found["run"].note.startswith(problem)
    assert found["whole"].status == "done"


def test_what_is_undefined_is_none_and_not_nan(tmp_path: Path) -> None:
    made(tmp_path, result={**RESULT, "value": float("nan"), "interval": [float("nan"), 1.0]})
    (run,) = past_runs(tmp_path)
    assert (run.value, run.interval) == (None, None)


def test_a_file_is_no_folder_of_runs(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    with pytest.raises(ConfigError, match=r"runs is a file; name a folder that runs were written to\."):
        past_runs(tmp_path / "runs")


# ── what goes ───────────────────────────────────────────────────────────────────────────────────────


def test_conditions_have_to_hold_together(tmp_path: Path) -> None:
    made(tmp_path, "old", ended="2026-01-01T12:00:00+00:00")
    made(tmp_path, "new", ended="2026-03-01T12:00:00+00:00")
    made(tmp_path, "old-failed", status="failed", ended="2026-01-01T12:00:00+00:00")
    made(tmp_path, "killed", status="running", started="2026-03-01T12:00:00+00:00")
    made(tmp_path, "ageless", started="", ended="")
    made(tmp_path, "damaged", status="great")

    def chosen(**conditions: Any) -> set[str]:
        return {each.run.name for each in choose(tmp_path, **conditions, now=datetime(2026, 3, 2, tzinfo=UTC))}

    assert chosen(unfinished=True) == {"old-failed", "killed"}
    assert chosen(older_than_days=30) == {"old", "old-failed"}
    assert chosen(older_than_days=30, unfinished=True) == {"old-failed"}
    assert chosen(named=[tmp_path / "new", Path("old")]) == {"new", "old"}
    assert chosen(named=[tmp_path / "new", Path("old")], older_than_days=30) == {"old"}


def test_only_what_was_chosen_goes_and_what_links_lead_to_stays(tmp_path: Path) -> None:
    treasure = tmp_path / "elsewhere"
    treasure.mkdir()
    (treasure / "photo.jpg").touch()
    runs = tmp_path / "runs"
    run = made(runs, "gone")
    (run / "checkpoints").mkdir()
    (run / "checkpoints" / "1.safetensors").touch()
    (run / "link").symlink_to(treasure)
    (run / "file").symlink_to(treasure / "photo.jpg")
    made(runs, "stays")
    before = removal(runs, [Path("gone")])
    assert (run / "run.json").exists(), "looking removes nothing"

    before.carry_out()

    assert [run.name for run in past_runs(runs)] == ["stays"]
    assert [path.name for path in runs.iterdir()] == ["stays"]
    assert names(treasure) == ["photo.jpg"]


def test_a_run_that_goes_on_stays(tmp_path: Path) -> None:
    folder = RunFolder.create(tmp_path, "pets")
    with folder.recorded():
        (choice,) = choose(tmp_path, older_than_days=0)
        assert choice.kept == "it goes on"
        with pytest.raises(ResourceError, match=r"pets is in use: the run goes on\. Wait until"):
            choose(tmp_path, [folder.path])
    assert choose(tmp_path, older_than_days=0)[0].kept == ""


def test_a_fold_that_goes_on_keeps_its_cross_validation(tmp_path: Path) -> None:
    crossed = made(tmp_path, "crossed", config="folds = 2\n", result=None)
    made(crossed, "x-fold-1")
    chosen = removal(tmp_path, older_than_days=0)
    assert [run.name for run in chosen.runs] == ["crossed"]
    fold = RunFolder(crossed / "x-fold-1")
    with fold.recorded(), pytest.raises(ResourceError, match="x-fold-1 is in use"):
        chosen.carry_out()
    assert (crossed / "run.json").exists()
    removal(tmp_path, older_than_days=0).carry_out()
    assert names(tmp_path) == []


def test_a_run_that_was_gone_on_with_since_it_was_chosen_stays(tmp_path: Path) -> None:
    run = made(tmp_path, "run", status="failed")
    chosen = removal(tmp_path, unfinished=True)
    (run / "run.json").write_text((run / "run.json").read_text().replace('"failed"', '"done", "ended": "2026"'))
    with pytest.raises(ResourceError, match=r"run has changed since it was chosen; it stays\. Look again"):
        chosen.carry_out()
    assert names(tmp_path) == ["run", "run/config.toml", "run/model.onnx", "run/run.json"]


def test_what_no_run_has_written_keeps_a_run_unless_it_is_named(tmp_path: Path) -> None:
    run = made(tmp_path, "run")
    (run / "verification.json").write_text('[{"file": "some.engine"}]')
    for name in ("some.failed.engine", "model.failed.onnx", "report.html", ".model.onnx.0123abcd.part", ".lock"):
        (run / name).touch()
    (run / ".unverified").mkdir()
    assert removal(tmp_path, older_than_days=0).choices[0].kept == ""
    for name in ("notes.txt", ".git", "why.failed.notes.md", ".mine.part"):
        (run / name).touch()
        (choice,) = removal(tmp_path, older_than_days=0).choices
        assert choice.kept == f"it holds {name}, which no run has written; name the run to remove all of it"
        (run / name).unlink()
    (run / "notes.txt").touch()
    removal(tmp_path, [run]).carry_out()
    assert names(tmp_path) == []


def test_a_run_within_another_is_never_removed_with_it(tmp_path: Path) -> None:
    made(made(tmp_path, "outer"), "inner")
    (choice,) = choose(tmp_path, [Path("outer")])
    assert choice.kept == "it holds another run, inner; remove that first, or move it"


def test_what_commands_write_into_a_run_is_known() -> None:
    written = {*RECORDS, records.AUGMENTED, records.METRICS, auditing.REPORT, auditing.SHEET, planning.RATE_CHART}
    assert {name for name in written if not name.startswith(".")} <= OWN_NAMES
    assert auditing.REPORT == AUDIT


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("gone", "gone is no run's folder. See 'finetune runs .*' for those."),
        ("pictures", "pictures is no run's folder."),
        ("link", "link is a link, and what it leads to stays as it is. Name the run's folder itself."),
        ("damaged", "damaged: run.json is damaged .*; no run is removed that cannot be told from others."),
        ("foreign", "foreign is no run's folder."),
    ],
)
def test_a_name_of_no_run_is_refused(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "link").symlink_to(made(tmp_path, "run"))
    made(tmp_path, "damaged", status="great")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "run.json").write_text("{}")
    before = names(tmp_path)
    with pytest.raises(ConfigError, match=message):
        removal(tmp_path, [Path("run"), Path(name)])
    assert names(tmp_path) == before


@pytest.mark.parametrize("days", [-1, float("nan"), 1e9])
def test_an_age_that_is_none_is_refused(tmp_path: Path, days: float) -> None:
    with pytest.raises(ConfigError, match="is not allowed; give a number from 0 to 36500"):
        removal(tmp_path, older_than_days=days)


def test_a_crash_at_any_step_leaves_the_run_or_a_remainder_that_is_swept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def crash_at(step: int, of: Callable[..., Any]) -> Callable[..., Any]:
        def crashing(*arguments: Any, **more: Any) -> Any:
            done.append(step)
            if len(done) == step:
                raise KeyboardInterrupt
            return of(*arguments, **more)

        return crashing

    for step in range(1, 8):
        done: list[int] = []
        run = made(tmp_path, "run")
        (run / "checkpoints").mkdir()
        with monkeypatch.context() as patch:
            for owner, name in ((Path, "unlink"), (Path, "rename"), (Path, "rmdir"), (shutil, "rmtree")):
                patch.setattr(owner, name, crash_at(step, getattr(owner, name)))
            with pytest.raises(KeyboardInterrupt):
                removal(tmp_path, [run]).carry_out()
        whole, left = past_runs(tmp_path), list(remainders(tmp_path))
        assert len(whole) + len(left) == 1, step
        again = removal(tmp_path, older_than_days=0)
        assert again.freed_bytes > 0 or not any(left[0].iterdir())
        again.carry_out()
        assert names(tmp_path) == [], step


def test_what_only_looks_like_a_remainder_stays(tmp_path: Path) -> None:
    (tmp_path / ".removing-mine-0123abcd").mkdir()
    (tmp_path / ".removing-mine-0123abcd" / "thesis.txt").touch()
    assert list(remainders(tmp_path)) == []


# ── the activation cache ────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    path = tmp_path / "cache" / CACHE_FILE
    with ActivationCache(path, 10**6, pytest.fail) as filled:
        filled.put({bytes(32): bytes(10_000)})
    return path


def test_the_cache_goes_with_all_that_belongs_to_it_and_is_made_anew(cache: Path) -> None:
    cache.with_name("other.txt").touch()
    assert cache_bytes(cache) > 10_000
    remove_cache(cache)
    assert names(cache.parent) == ["other.txt"]
    remove_cache(cache)
    with ActivationCache(cache, 10**6, pytest.fail) as anew:
        anew.put({bytes(32): b"x"})
        assert anew.get([bytes(32)]) == {bytes(32): b"x"}


def test_a_cache_that_a_run_has_open_stays_and_works_on(cache: Path) -> None:
    with ActivationCache(cache, 10**6, pytest.fail) as opened:
        assert opened.get([bytes(32)])
        with pytest.raises(ResourceError, match=r"activations.sqlite is in use by a run\. Wait until it has ended"):
            remove_cache(cache)
        assert opened.get([bytes(32)]) == {bytes(32): bytes(10_000)}
        opened.put({bytes([1] * 32): b"more"})
    remove_cache(cache)
    assert names(cache.parent) == []


def test_a_damaged_cache_goes_and_another_programs_file_stays(cache: Path) -> None:
    content = cache.read_bytes()
    cache.write_bytes(content[:100] + bytes(len(content) - 100))
    remove_cache(cache)
    assert names(cache.parent) == []
    with closing(sqlite3.connect(cache)) as foreign:
        foreign.execute("CREATE TABLE mine (it)")
    with pytest.raises(ConfigError, match="is not an activation cache; it stays as it is"):
        remove_cache(cache)
    assert cache.exists()
