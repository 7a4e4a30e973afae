"""What a run does when it cannot succeed: it says so, leaves no model, and keeps what was good."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from safetensors.torch import save_file

from finetune import run
from finetune.errors import ConfigError, DivergedError, ModelError
from finetune.exporting import export_and_verify
from finetune.intent import discover
from finetune.preparation import Job, build_network
from finetune.training.activation_cache import ActivationCache

NOBODY = 65534


def read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


# ── what a run does not hide ────────────────────────────────────────────────────────────────────────


def nudged(folder: Any, job: Job, *args: Any) -> Any:
    with torch.no_grad():
        next(p for p in job.network.head.parameters() if p.ndim == 2)[0].mul_(1.5)
    return export_and_verify(folder, job, *args)


def test_a_network_that_changed_after_it_was_evaluated_fails_the_run(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.run.export_and_verify", nudged)

    with pytest.raises(ModelError, match=r"^model\.onnx answers differently from the trained network: .*allowed"):
        run(data=pictures, out=tmp_path / "runs", **tiny)

    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in folder.iterdir()}
    assert "model.failed.onnx" in names
    assert not {"model.onnx", ".unverified"} & names
    assert read_json(folder / "verification.json")[0]["problems"]
    assert read_json(folder / "run.json")["status"] == "failed"
    assert "answers differently" in read_json(folder / "run.json")["cause"]


def test_nothing_to_train_on_leaves_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="give --plugin NAME or --data DIR"):
        run(out=tmp_path / "runs")

    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["vit_h_14"])
def test_a_backbone_too_large_for_one_file_is_refused_before_anything_is_fetched(pictures: Path, name: str) -> None:
    intent = discover({"data": pictures, "backbone": name})

    with torch.device("meta"), pytest.raises(ConfigError, match=rf"^--backbone {name} is not allowed: its .* GB"):
        build_network(intent, 2, intent.backbone.image_size_px)


# ── what a run comes to before its export ───────────────────────────────────────────────────────────


class EnoughError(Exception):
    """Ends a run before its export, which takes longest."""


def came_to(out: Path, **options: Any) -> tuple[bytes, bytes]:
    """Return what a run comes to before its export: the weights on disk, and the answers that they make."""

    def enough(*arguments: Any) -> None:
        answers.append(arguments[3].tobytes())
        raise EnoughError

    answers: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("finetune.run.export_and_verify", enough)
        with pytest.raises(EnoughError):
            run(out=out, **options)
    (folder,) = out.iterdir()
    return (folder / "weights.safetensors").read_bytes(), answers[0]


# ── divergence ──────────────────────────────────────────────────────────────────────────────────────


def failed(pictures: Path, out: Path, **options: Any) -> tuple[DivergedError, Path]:
    """Return what was raised, and the folder of the run, which says the same."""
    with pytest.raises(DivergedError) as caught:
        run(data=pictures, out=out, **options)
    (folder,) = out.iterdir()
    said = read_json(folder / "run.json")
    assert (said["status"], said["cause"]) == ("failed", f"DivergedError: {caught.value}")
    assert not {"model.onnx", "verification.json"} & {path.name for path in folder.iterdir()}
    return caught.value, folder


def test_when_fine_tuning_explodes_the_probe_is_saved(pictures: Path, tmp_path: Path, tiny: dict[str, Any]) -> None:
    options = {**tiny, "strategy": "finetune", "freeze_epochs": 2, "unfrozen_lr": 10.0, "schedule": "StepLR"}

    error, folder = failed(pictures, tmp_path / "runs", **options)

    probe, _ = came_to(tmp_path / "probes", data=pictures, **{**options, "strategy": "probe"})
    assert re.fullmatch(
        r"The (validation )?loss became \S+ in epoch 1, step \d; try a lower --lr or --unfrozen-lr "
        r"\('finetune lr-find' suggests one\)\. "
        r"The best so far \(frozen, [\d.]+%\) is in weights\.safetensors\.",
        str(error),
    )
    assert error.exit_code == 7
    assert (folder / "weights.safetensors").read_bytes() == probe
    assert len((folder / "history.csv").read_text().splitlines()) == 1 + 2


def test_an_absurd_rate_from_the_start_leaves_nothing_to_keep(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    error, folder = failed(pictures, tmp_path / "runs", **{**tiny, "lr": 10.0, "batch_size": 4, "epochs": 20})

    assert re.fullmatch(r"The (validation )?loss became \S+ in epoch 1, step \d; try a lower --lr .*\.", str(error))
    assert "The best so far" not in str(error)
    assert not {"weights.safetensors", "history.csv"} & {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("strategy", ["probe", "svm", "auto", "finetune"])
def test_weights_that_make_no_numbers_are_told_in_one_line(
    pictures: Path, tmp_path: Path, tiny: dict[str, Any], strategy: str
) -> None:
    state = torchvision.models.squeezenet1_1(weights=None).state_dict()
    save_file({key: tensor * 1e20 for key, tensor in state.items()}, tmp_path / "huge.safetensors")

    error, folder = failed(
        pictures, tmp_path / "runs", **{**tiny, "strategy": strategy, "weights": tmp_path / "huge.safetensors"}
    )

    assert str(error).startswith(
        "The frozen features are no finite" if strategy == "svm" else "The loss became nan in epoch 1, step 1;"
    )
    assert not (folder / "weights.safetensors").exists()


# ── the cache ───────────────────────────────────────────────────────────────────────────────────────


def cut_off(cache: Path) -> None:
    """Cut the cache in two, and put nothing in the place of what is gone."""
    cache.write_bytes(cache.read_bytes()[: cache.stat().st_size // 2])
    for companion in cache.parent.glob(f"{cache.name}-*"):
        companion.unlink()


def of_another_version(cache: Path) -> None:
    with contextlib.closing(sqlite3.connect(cache)) as database:
        database.execute("PRAGMA user_version = 99")


def somebody_elses(cache: Path) -> None:
    cache.write_text("Dear diary")


def of_the_cache(notes: Any) -> list[str]:
    return [text for text in notes.said if "activation cache" in text]


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (cut_off, "it is made anew"),
    "of another version": (of_another_version, "it is made anew"),
    "somebody else's": (somebody_elses, "this run does without it"),
}


@pytest.fixture(scope="module")
def as_it_should_be(
    tmp_path_factory: pytest.TempPathFactory, picture: Callable[..., Any]
) -> Iterator[tuple[dict[str, Any], Path, Any]]:
    """Run once, and return the options, the folder of the cache as that left it, and what it came to."""
    root = tmp_path_factory.mktemp("cached")
    for kind, label in enumerate(("cat", "dog")):
        (root / "pictures" / label).mkdir(parents=True)
        for i in range(4):
            picture(kind, seed=i).save(root / "pictures" / label / f"{i}.png")
    options = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "strategy": "probe"}
    options |= {"freeze_epochs": 2, "batch_size": 4, "data": root / "pictures"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(root / "cache"))
        yield options, root / "cache", came_to(root / "runs", **options)


@pytest.mark.parametrize("fault", FAULTS)
def test_a_faulty_cache_changes_no_result_and_is_said_once(
    fault: str,
    as_it_should_be: tuple[dict[str, Any], Path, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notes: Any,
) -> None:
    options, cache, expected = as_it_should_be
    spoil, consequence = FAULTS[fault]
    shutil.copytree(cache, tmp_path / "cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    spoil(tmp_path / "cache" / "finetune" / "activations.sqlite")

    assert came_to(tmp_path / "runs", **options, reporter=notes) == expected
    assert [consequence in said for said in of_the_cache(notes)] == [True], notes.said


def test_a_cache_that_cannot_be_made_changes_no_result_and_is_said_once(
    as_it_should_be: tuple[dict[str, Any], Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, notes: Any
) -> None:
    options, _, expected = as_it_should_be
    (tmp_path / "no folder").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no folder"))

    assert came_to(tmp_path / "runs", **options, reporter=notes) == expected
    assert ["this run does without it" in said for said in of_the_cache(notes)] == [True], notes.said


@pytest.fixture
def as_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cache be used by somebody for whom permissions count; they mean nothing to root."""

    def wrapped(method: Callable[..., Any]) -> Callable[..., Any]:
        def called(*arguments: Any) -> Any:
            us = os.geteuid()
            os.seteuid(us or NOBODY)
            try:
                return method(*arguments)
            finally:
                os.seteuid(us)

        return called

    for name in ("get", "put"):
        monkeypatch.setattr(ActivationCache, name, wrapped(getattr(ActivationCache, name)))


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """Return a folder that everybody may enter."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


def test_a_read_only_cache_is_read_from_and_changes_no_result(
    as_it_should_be: tuple[dict[str, Any], Path, Any],
    everybodys: Path,
    as_nobody: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    notes: Any,
) -> None:
    options, cache, expected = as_it_should_be
    shutil.copytree(cache, everybodys / "cache")
    for path, mode in ((everybodys / "cache", 0o755), *((p, 0o555) for p in everybodys.glob("cache/finetune"))):
        path.chmod(mode)
    for path in everybodys.glob("cache/finetune/*"):
        path.chmod(0o444)
    monkeypatch.setenv("XDG_CACHE_HOME", str(everybodys / "cache"))

    assert came_to(tmp_path / "runs", **options, reporter=notes) == expected
    assert ["this run only reads from it" in said for said in of_the_cache(notes)] == [True], notes.said
