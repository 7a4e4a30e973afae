"""Plugins as they are installed, in processes that discover them, and functions by reference."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune import __version__
from finetune.errors import PluginError
from finetune.plugins import Candidate, Plugins, load_function, load_plugins
from finetune.plugins.candidates import BUILTIN_MODULES

NUMBERS = itertools.count()


# ── functions by reference ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], str]:
    """Write a module that can be imported, and return its name."""

    def written(source: str) -> str:
        name = f"stranger_{next(NUMBERS)}"  # a module is imported once per process, so no name comes twice
        (tmp_path / f"{name}.py").write_text(source)
        return name

    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return written


def broken_reference(reference: str) -> str:
    with pytest.raises(PluginError) as caught:
        load_function(reference, "The data set 'pets'")
    assert caught.value.exit_code == 5
    return str(caught.value)


def test_a_reference_becomes_the_function() -> None:
    assert load_function("json:dumps", "The test") is json.dumps


def test_a_reference_to_a_module_that_is_not_there_is_told_with_what_needed_it() -> None:
    assert broken_reference("no_such_module:load") == (
        "The data set 'pets' cannot be loaded from 'no_such_module:load': "
        "ModuleNotFoundError: No module named 'no_such_module'"
    )


def test_a_reference_to_a_function_that_is_not_there_is_told() -> None:
    assert broken_reference("json:load_pets").endswith(
        "'json:load_pets': AttributeError: module 'json' has no attribute 'load_pets'"
    )


def test_a_reference_to_something_that_is_no_function_is_told() -> None:
    assert broken_reference("json:__name__").endswith("'json:__name__': it is not a function")


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("def load(:", "SyntaxError: invalid syntax"),
        ("raise ValueError('no')", "ValueError: no"),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("import cv3", "ModuleNotFoundError: No module named 'cv3'"),
    ],
)
def test_a_module_that_fails_while_it_is_imported_is_told(
    module: Callable[[str], str], source: str, cause: str
) -> None:
    assert cause in broken_reference(f"{module(source)}:load")


@pytest.mark.parametrize(
    ("source", "error"), [("raise KeyboardInterrupt", KeyboardInterrupt), ("raise SystemExit(143)", SystemExit)]
)
def test_a_request_to_end_passes_through_an_import(
    module: Callable[[str], str], source: str, error: type[BaseException]
) -> None:
    with pytest.raises(error):
        load_function(f"{module(source)}:load", "The test")


def test_what_a_module_prints_while_it_is_imported_goes_to_stderr(
    module: Callable[[str], str], capsys: pytest.CaptureFixture[str]
) -> None:
    name = module("print(1)\ndef load(): pass")

    load_function(f"{name}:load", "The test")

    assert capsys.readouterr() == ("", "1\n")


def test_a_real_file_with_a_syntax_error_is_set_aside_with_the_line(module: Callable[[str], str]) -> None:
    name = module("x = 1\ndef load(:")
    stranger = Candidate(
        name="stranger", distribution="finetune-stranger", version="1.0", load=lambda: __import__(name)
    )

    (info,) = Plugins([stranger]).broken

    assert info.problem == f"SyntaxError: invalid syntax ({name}.py, line 2)"


# ── what is installed ───────────────────────────────────────────────────────────────────────────────

HOOKS = """
from finetune.hookspecs import hookimpl
from finetune.types import DatasetSpec, Source

@hookimpl
def finetune_register_datasets(register):
    source = Source(name="web", summary="")
    register(DatasetSpec(name="{dataset}", summary="", sources=(source,), load="pets:load"))
"""
ASK = """
import json, sys
from finetune.plugins import load_plugins
infos = [[i.name, i.distribution, i.version, i.problem, i.offers.get("dataset")] for i in load_plugins().infos]
heavy = sorted({"torch", "torchvision", "fastai", "onnx", "onnxruntime"} & set(sys.modules))
json.dump({"infos": infos, "heavy": heavy}, sys.stdout)
"""


@pytest.fixture
def install(tmp_path: Path) -> Callable[..., None]:
    """Install a real distribution with an entry point into a folder of its own."""

    def installed(name: str, source: str, distribution: str | None = None, metadata: bool = True) -> None:
        distribution = distribution or f"finetune_{name}"
        package, facts = tmp_path / f"{distribution}_hooks.py", tmp_path / f"{distribution}-1.2.dist-info"
        package.write_text(source)
        facts.mkdir()
        if metadata:
            (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        (facts / "entry_points.txt").write_text(f"[finetune]\n{name} = {distribution}_hooks\n")

    return installed


@pytest.fixture
def ask(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Load the plugins in a process of its own, which sees what was installed; return what it found."""

    def asked(**environment: str) -> dict[str, Any]:
        done = subprocess.run(
            [sys.executable, "-c", ASK],
            capture_output=True,
            text=True,
            env={**os.environ, "PYTHONPATH": str(tmp_path), **environment},
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return asked


def strangers(found: dict[str, Any], *names: str) -> list[list[Any]]:
    return [info for info in found["infos"] if info[0] in names]


def test_an_installed_plugin_is_found_with_its_distribution_and_version(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("pets", HOOKS.format(dataset="cats"))

    assert strangers(ask(), "pets") == [["pets", "finetune_pets", "1.2", None, ["cats"]]]


def test_broken_installed_plugins_are_set_aside_one_by_one(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("a_syntax", "def hook(:")
    install("b_exit", "print('noise'); raise SystemExit(0)")
    install("c_import", "import cv3")
    install("pets", HOOKS.format(dataset="cats"))

    found = ask()

    assert [info[3] for info in strangers(found, "a_syntax", "b_exit", "c_import", "pets")] == [
        "SyntaxError: invalid syntax (finetune_a_syntax_hooks.py, line 1)",
        "SystemExit: 0",
        "ModuleNotFoundError: No module named 'cv3'",
        None,
    ]


def test_built_ins_come_first_and_strangers_by_name(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("zebra", HOOKS.format(dataset="z"))
    install("ant", HOOKS.format(dataset="a"))

    names = [info[0] for info in ask(FINETUNE_PLUGINS="zebra,ant")["infos"]]

    builtins = [f"finetune.{module}" for module in BUILTIN_MODULES]
    assert names == [*builtins, "ant", "zebra"]


def test_two_distributions_with_one_entry_point_name_are_told_apart(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("pets", HOOKS.format(dataset="cats"), distribution="one")
    install("pets", HOOKS.format(dataset="dogs"), distribution="two")

    assert strangers(ask(), "pets") == [
        ["pets", "one", "1.2", None, ["cats"]],
        ["pets", "two", "1.2", "the plugin name 'pets' is taken by one 1.2; uninstall one of the two", None],
    ]


def test_a_stranger_cannot_take_the_place_of_a_built_in(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("pets", HOOKS.format(dataset="folder"))

    ((_, _, _, told, _),) = strangers(ask(), "pets")

    assert told == f"the dataset name 'folder' is taken by finetune {__version__}"


def test_a_distribution_without_metadata_is_still_tried(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("pets", HOOKS.format(dataset="cats"), metadata=False)

    ((_, _, version, told, offered),) = strangers(ask(), "pets")

    assert (version, told, offered) == ("unknown", None, ["cats"])


def test_plugins_can_be_disabled(install: Callable[..., None], ask: Callable[..., dict[str, Any]]) -> None:
    install("pets", HOOKS.format(dataset="cats"))

    assert {info[1] for info in ask(FINETUNE_DISABLE_PLUGINS="1")["infos"]} == {"finetune"}


def test_disabling_with_0_disables_nothing(install: Callable[..., None], ask: Callable[..., dict[str, Any]]) -> None:
    install("pets", HOOKS.format(dataset="cats"))

    assert strangers(ask(FINETUNE_DISABLE_PLUGINS="0"), "pets")


def test_only_the_plugins_that_are_named_are_loaded(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    for name in ("ant", "bee", "cow"):
        install(name, HOOKS.format(dataset=name))

    found = ask(FINETUNE_PLUGINS="ant, cow")

    assert [info[0] for info in found["infos"] if info[1] != "finetune"] == ["ant", "cow"]


def test_a_named_plugin_that_is_not_installed_is_shown_as_such(ask: Callable[..., dict[str, Any]]) -> None:
    ((_, _, _, told, _),) = strangers(ask(FINETUNE_PLUGINS="dogbreds"), "dogbreds")

    assert told == "FINETUNE_PLUGINS names it, but it is not installed"


def test_loading_the_plugins_imports_nothing_heavy(ask: Callable[..., dict[str, Any]]) -> None:
    assert ask()["heavy"] == []


def test_a_plugin_that_imports_something_heavy_is_seen_by_the_test_above(
    install: Callable[..., None], ask: Callable[..., dict[str, Any]]
) -> None:
    install("pets", "import onnxruntime\n" + HOOKS.format(dataset="cats"))

    assert ask()["heavy"] == ["onnxruntime"]


def test_the_built_ins_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_DISABLE_PLUGINS", "1")
    found = load_plugins()

    assert found.broken == []
    assert (list(found.datasets), list(found.targets)) == (
        ["folder", "table"],
        ["onnx", "int8", "fp16", "triton", "web", "hf"],
    )
    assert found.find_backbone("mobilenet_v2").name == "mobilenet_v2"


def test_every_built_in_reference_leads_to_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_DISABLE_PLUGINS", "1")
    found = load_plugins()
    references = {s.load for s in found.datasets.values()} | {t.export for t in found.targets.values()}

    assert all(callable(load_function(reference, "The test")) for reference in references)
