"""Runs with a plugin's callback: it is asked for by name, is part of what the run is, and is blamed where it breaks."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import run
from finetune.errors import ConfigError, PluginError
from finetune.intent import discover

PLUGIN = """
from pathlib import Path

from finetune.hookspecs import hookimpl
from finetune.types import TrainingCallback


@hookimpl
def finetune_register_callbacks(register):
    register(TrainingCallback(name="bell", summary="Rings.", build="finetune_bell:build"))


def build(request):
    from fastai.callback.core import Callback

    request.note(f"bell: {{request.phase}}")

    class Bell(Callback):
        def after_epoch(self):
            {does}

    {returns}
"""
RINGS = "(request.folder / f'{request.phase} {self.epoch}').touch()"
BREAKS = "if self.epoch == 1: raise ValueError('no clapper')"
STEPS = {"strategy": "finetune", "freeze_epochs": 2, "epochs": 1, "cache_gb": 0.0}


@pytest.fixture
def bell(install: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Install the plugin, or another version of it."""
    sites: list[Path] = []

    def installed(does: str = RINGS, returns: str = "return Bell()") -> None:
        monkeypatch.delitem(sys.modules, "finetune_bell", raising=False)
        source = PLUGIN.format(does=does, returns=returns)
        if sites:
            (sites[0] / "finetune_bell.py").write_text(source)
            return
        sites.append(install("bell", source))
        monkeypatch.syspath_prepend(sites[0])

    return installed


@pytest.fixture(autouse=True)
def _no_bytecode(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # two versions of a module within one second


def sha256_of_weights(folder: Path) -> str:
    return hashlib.sha256((folder / "weights.safetensors").read_bytes()).hexdigest()


def test_a_run_whose_callback_breaks_is_saved_and_goes_on_once_the_plugin_is_mended(
    bell: Callable[..., None], pictures: Path, tmp_path: Path, tiny: dict[str, Any], notes: Any
) -> None:
    options = {**tiny, **STEPS, "callback": ("bell", "bell")}
    bell(does=BREAKS)

    with pytest.raises(PluginError) as caught:
        run(data=pictures, out=tmp_path / "runs", reporter=notes, **options)

    (folder,) = (tmp_path / "runs").iterdir()
    told = json.loads((folder / "run.json").read_text())
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith(
        "The callback 'bell' failed in after_epoch of epoch 2 of frozen: ValueError: no clapper. "
    )
    assert (told["status"], told["cause"]) == ("failed", f"PluginError: {caught.value}")
    assert (folder / "checkpoints" / "checkpoint.json").is_file()
    assert [said for said in notes.said if said.startswith("bell")] == ["bell: frozen"]  # said once, asked for twice

    bell()
    run(resume=folder)
    alone = run(data=pictures, out=tmp_path / "alone", **{**options, "callback": ()}).run
    assert sha256_of_weights(folder) == sha256_of_weights(alone)
    assert [path.name for path in (folder / "callbacks" / "bell").iterdir()] == ["unfrozen 0"]
    assert json.loads((folder / "run.json").read_text())["status"] == "done"


def test_another_callback_is_another_run(
    bell: Callable[..., None], pictures: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    bell(does="raise KeyboardInterrupt")
    with pytest.raises(KeyboardInterrupt):
        run(data=pictures, out=tmp_path / "runs", callback=("bell",), **{**tiny, **STEPS})
    (folder,) = (tmp_path / "runs").iterdir()

    assert 'callback = ["bell"]' in (folder / "config.toml").read_text()
    with pytest.raises(ConfigError, match=r"--callback .* cannot be said when a run is resumed"):
        run(resume=folder, callback=())


@pytest.mark.parametrize(
    ("returns", "text"),
    [
        (
            "return Bell",
            r"The callback 'bell' is broken: its build function returned \w+ instead of a Callback of fastai's\.",
        ),
        ("1 / 0", r"The callback 'bell' failed: ZeroDivisionError: .*\. FINETUNE_DEBUG=1 shows where\."),
    ],
    ids=["class", "raises"],
)
def test_what_builds_no_callback_is_a_plugin_error_that_names_it(
    returns: str, text: str, bell: Callable[..., None], pictures: Path, tmp_path: Path, tiny: dict[str, Any]
) -> None:
    bell(returns=returns)

    with pytest.raises(PluginError, match=f"^{text}$"):
        run(data=pictures, out=tmp_path / "runs", callback=("bell",), **{**tiny, **STEPS})


def test_a_callback_that_is_not_there_is_refused_with_the_nearest_name(
    bell: Callable[..., None], pictures: Path
) -> None:
    bell()

    with pytest.raises(ConfigError, match=r"Unknown callback 'bel'\. Did you mean 'bell'\?"):
        discover({"data": pictures, "callback": ("bel",)})


def test_without_epochs_it_is_said_that_the_callback_is_not_used(
    bell: Callable[..., None], pictures: Path, tmp_path: Path, tiny: dict[str, Any], notes: Any
) -> None:
    bell()

    folder = run(
        data=pictures, out=tmp_path / "runs", callback=("bell",), reporter=notes, **{**tiny, "strategy": "svm"}
    ).run

    assert "--callback is not used: svm has no epochs." in notes.said
    assert not (folder / "callbacks").exists()
