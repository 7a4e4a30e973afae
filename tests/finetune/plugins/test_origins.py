"""What a run writes down about the plugins that had a part in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from finetune import __version__
from finetune.intent import discover
from finetune.preparation import Job
from finetune.records import plugins_of, strangers_of
from finetune_export.contract import PluginOrigin

from .conftest import Site

ALL = """
from finetune.hookspecs import hookimpl
from finetune.types import *

@hookimpl
def finetune_register_datasets(register):
    register(DatasetSpec(name="weeds", summary="", sources=(Source(name="web", summary=""),), load="a:b"))

@hookimpl
def finetune_register_metrics(register):
    for name in ("thorns", "stings"):
        register(Metric(name=name, summary="", tasks=("single-label",), measure="a:b"))

@hookimpl
def finetune_register_callbacks(register):
    for name in ("watcher", "sleeper"):
        register(TrainingCallback(name=name, summary="", build="a:b"))
"""
NET = """
from finetune.hookspecs import hookimpl
from finetune.types import Backbone

@hookimpl
def finetune_register_backbones(register):
    register(Backbone(name="weednet", family="", summary="", build="a:b", parameters=1))
"""
ODD = """
from finetune.hookspecs import hookimpl
from finetune.types import ExportTarget

@hookimpl
def finetune_register_targets(register):
    register(ExportTarget(name="dataset", summary="", export="a:b"))
"""


@pytest.fixture
def job(site: Site, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return what asks for options with two plugins installed: a job as far as its origins go."""
    site.install("weeds", ALL, metadata="License-Expression: MIT\nHome-page: https://weeds.example")
    site.install("nets", NET)
    monkeypatch.setenv("FINETUNE_PLUGINS", "weeds,nets")

    def asked(**options: object) -> Any:
        intent = discover(options)
        return cast(Any, SimpleNamespace(intent=intent, config=intent.config))

    return asked


def test_a_run_of_what_is_built_in_names_no_plugin(job: Any, tmp_path: Path) -> None:
    built_in = job(data=tmp_path, target=("int8",), monitor="accuracy")

    assert strangers_of(built_in) == ()
    assert set(plugins_of(built_in).values()) == {f"finetune {__version__}"}


def test_every_registered_thing_in_use_is_named_with_the_distribution_it_comes_from(job: Any) -> None:
    options = {"callback": ("watcher",), "monitor": "thorns", "target": ("int8",), "weights": "none"}
    asked = job(plugin="weeds", backbone="weednet", **options)

    assert strangers_of(asked) == (
        PluginOrigin(
            distribution="finetune_weeds",
            version="1.2",
            licence="MIT",
            origin="https://weeds.example",
            used_for=("dataset weeds", "callback watcher", "metric thorns"),
        ),
        PluginOrigin(
            distribution="finetune_nets",
            version="1.2",
            licence="unknown",
            origin="unknown",
            used_for=("backbone weednet",),
        ),
    )
    assert plugins_of(asked) == {
        "dataset": "finetune_weeds 1.2",
        "backbone": "finetune_nets 1.2",
        "target onnx": f"finetune {__version__}",
        "target int8": f"finetune {__version__}",
        "callback watcher": "finetune_weeds 1.2",
        "metric thorns": "finetune_weeds 1.2",
    }


KENNEL = """
from pathlib import Path
from finetune.hookspecs import hookimpl
from finetune.weight_record import backbone_of

@hookimpl
def finetune_register_backbones(register):
    register(backbone_of(Path({path!r}), name="puppies", sha256="0" * 64))
"""


def test_the_architecture_behind_carried_weights_is_named_beside_them(
    site: Site, job: Any, toys: Callable[..., bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "dogs.safetensors").write_bytes(toys(architecture="weednet"))
    site.install("kennel", KENNEL.format(path=str(tmp_path / "dogs.safetensors")))
    monkeypatch.setenv("FINETUNE_PLUGINS", "nets,kennel")
    asked = job(data=tmp_path, backbone="puppies")

    found, used = plugins_of(asked), {origin.distribution: origin.used_for for origin in strangers_of(asked)}

    assert (found["backbone"], found["backbone weednet"]) == ("finetune_kennel 1.2", "finetune_nets 1.2")
    assert used == {"finetune_kennel": ("backbone puppies",), "finetune_nets": ("backbone weednet",)}
    assert Job.backbone_origin.fget(asked) == (  # type: ignore[attr-defined]
        "puppies: finetune.networks.recorded:build of finetune_kennel 1.2, weednet: a:b of finetune_nets 1.2"
    )


def test_a_target_called_as_another_kind_is_keeps_its_own_key(
    site: Site, job: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("odd", ODD)
    monkeypatch.setenv("FINETUNE_PLUGINS", "weeds,odd")

    found = plugins_of(job(plugin="weeds", target=("dataset",)))

    assert (found["dataset"], found["target dataset"]) == ("finetune_weeds 1.2", "finetune_odd 1.2")


def test_what_is_offered_and_not_asked_for_is_not_named(job: Any, tmp_path: Path) -> None:
    (origin,) = strangers_of(job(data=tmp_path, callback=("sleeper",)))

    assert origin.used_for == ("callback sleeper",)
