from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from finetune.errors import ConfigError, PluginError
from finetune.hookspecs import hookimpl
from finetune.plugins import Candidate, Plugins, load_function, load_plugins
from finetune.types import Backbone, DatasetSpec, ExportTarget, Source

NUMBERS = itertools.count()
SOURCES = (Source(name="web", summary="Somewhere."),)


def dataset(name: str = "pets", **facts: Any) -> DatasetSpec:
    return DatasetSpec(**{"name": name, "summary": "", "sources": SOURCES, "load": "pets.data:load"} | facts)


def backbone(name: str = "petnet", **facts: Any) -> Backbone:
    return Backbone(**{"name": name, "family": "", "summary": "", "build": "pets.net:build", "parameters": 1} | facts)


def target(name: str = "toaster", **facts: Any) -> ExportTarget:
    return ExportTarget(**{"name": name, "summary": "", "export": "pets.out:export"} | facts)


def plugin(**hooks: Callable[..., object]) -> ModuleType:
    """Make a plugin module of functions; ``datasets=f`` is the hook ``finetune_register_datasets``."""
    module = ModuleType("a_plugin")
    for name, hook in hooks.items():
        setattr(module, f"finetune_register_{name}", hookimpl(hook))
    return module


def offering(*specs: Any) -> ModuleType:
    """Make a plugin that registers data sets."""

    def hook(register: Callable[[Any], None]) -> None:
        for spec in specs:
            register(spec)

    return plugin(datasets=hook)


def candidate(module: object, name: str = "stranger", distribution: str | None = None) -> Candidate:
    return Candidate(name=name, distribution=distribution or f"finetune-{name}", version="1.0", load=lambda: module)


def failing(error: BaseException) -> Candidate:
    def load() -> object:
        raise error

    return Candidate(name="stranger", distribution="finetune-stranger", version="1.0", load=load)


GOOD = candidate(offering(dataset("pets")), name="good")


def problem(stranger: Candidate) -> str:
    """Return why the stranger is set aside, having seen that the plugins around it work all the same."""
    found = Plugins([GOOD, stranger, candidate(offering(dataset("cars")), name="late")])
    (info,) = found.broken
    assert list(found.datasets) == ["pets", "cars"]
    assert (list(found.backbones), list(found.targets)) == ([], [])
    assert (info.name, info.distribution, info.version, info.offers) == ("stranger", "finetune-stranger", "1.0", {})
    assert info.problem
    return info.problem


def problem_of(module: object) -> str:
    return problem(candidate(module))


# ── what works ──────────────────────────────────────────────────────────────────────────────────────


def test_a_plugin_may_offer_things_of_every_kind() -> None:
    found = Plugins(
        [
            candidate(
                plugin(
                    datasets=lambda register: register(dataset()),
                    backbones=lambda register: register(backbone()),
                    targets=lambda register: register(target()),
                )
            )
        ]
    )

    assert found.infos[0].offers == {"dataset": ("pets",), "backbone": ("petnet",), "target": ("toaster",)}
    assert (found.find_dataset("pets"), found.find_backbone("petnet"), found.find_target("toaster")) == (
        dataset(),
        backbone(),
        target(),
    )


def test_a_hook_may_leave_out_arguments_that_it_does_not_need() -> None:
    assert Plugins([candidate(plugin(datasets=lambda: None))]).broken == []


def test_things_of_different_kinds_may_have_the_same_name() -> None:
    module = plugin(datasets=lambda register: register(dataset("x")), targets=lambda register: register(target("x")))

    assert Plugins([candidate(module)]).broken == []


def test_the_origin_of_a_thing_is_its_distribution_and_version() -> None:
    assert Plugins([GOOD]).origin("dataset", "pets") == "finetune-good 1.0"


# ── what is set aside ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ImportError("No module named 'cv3'"), "ImportError: No module named 'cv3'"),
        (SystemExit(3), "SystemExit: 3"),
        (ValueError("first line\n  second line"), "ValueError: first line second line"),
        (RuntimeError(), "RuntimeError"),
        (MemoryError(), "MemoryError"),
        (GeneratorExit(), "GeneratorExit"),
    ],
    ids=repr,
)
def test_a_plugin_that_cannot_be_imported_is_set_aside_with_the_cause(error: BaseException, reason: str) -> None:
    assert problem(failing(error)) == reason


def test_a_plugin_whose_error_cannot_say_what_it_is_is_set_aside() -> None:
    class Mute(Exception):  # noqa: N818 - as a stranger may write it
        def __str__(self) -> str:
            raise RuntimeError("not even that")

    assert problem(failing(Mute())) == "Mute"


def test_an_exception_in_a_hook_sets_the_plugin_aside() -> None:
    def hook(register: object) -> None:
        raise LookupError("no idea")

    assert problem_of(plugin(datasets=hook)) == "LookupError: no idea"


def test_an_exit_in_a_hook_sets_the_plugin_aside() -> None:
    assert problem_of(plugin(datasets=lambda: sys.exit("enough"))) == "SystemExit: enough"


def test_a_misspelt_hook_sets_the_plugin_aside_with_the_hook() -> None:
    assert "unknown hook 'finetune_register_dataset'" in problem_of(plugin(dataset=lambda: None))


def test_a_hook_with_an_argument_that_does_not_exist_sets_the_plugin_aside() -> None:
    def hook(registry: object) -> None:
        pass

    told = problem_of(plugin(datasets=hook))

    assert "finetune_register_datasets" in told
    assert "{'registry'}" in told


@pytest.mark.parametrize("module", [ModuleType("empty"), None, 3, object()], ids=["module", "None", "int", "object"])
def test_something_without_hooks_is_set_aside_with_the_hooks_there_are(module: object) -> None:
    assert problem_of(module) == (
        "it implements no hook; known: "
        "finetune_register_backbones, finetune_register_datasets, finetune_register_targets"
    )


@pytest.mark.parametrize(
    ("item", "reason"),
    [
        ("pets", "TypeError: register() of datasets takes a DatasetSpec, got str"),
        (backbone(), "TypeError: register() of datasets takes a DatasetSpec, got Backbone"),
        (DatasetSpec, "TypeError: register() of datasets takes a DatasetSpec, got type"),
        (dataset(load="pets.data"), "TypeError: load='pets.data' of dataset 'pets' is not 'package.module:function'"),
        (dataset(load="pets:a.b"), "TypeError: load='pets:a.b' of dataset 'pets' is not 'package.module:function'"),
        (dataset(load=".pets:load"), "TypeError: load='.pets:load' of dataset 'pets' is not 'package.module:function'"),
        (dataset(load=print), "of dataset 'pets' is not 'package.module:function'"),
        (dataset(name=3), "TypeError: name=3 of a dataset is not a name: letters, digits and _ . : + - only"),
        (dataset(name=""), "TypeError: name='' of a dataset is not a name"),
        (dataset(name="../pets"), "TypeError: name='../pets' of a dataset is not a name"),
        (dataset(name="two pets"), "TypeError: name='two pets' of a dataset is not a name"),
        (dataset(sources=()), "TypeError: sources=() of dataset 'pets' is not a tuple of at least one Source"),
        (dataset(sources=("web",)), "TypeError: sources=('web',) of dataset 'pets' is not a tuple"),
    ],
    ids=str,
)
def test_a_registration_that_breaks_the_contract_sets_the_plugin_aside(item: object, reason: str) -> None:
    assert reason in problem_of(offering(item))


@pytest.mark.parametrize(
    ("kind", "item", "reason"),
    [
        ("backbones", backbone(build="petnet"), "build='petnet' of backbone 'petnet' is not 'package.module:function'"),
        ("targets", target(export=""), "export='' of target 'toaster' is not 'package.module:function'"),
        ("backbones", dataset(), "register() of backbones takes a Backbone, got DatasetSpec"),
        ("targets", None, "register() of targets takes a ExportTarget, got NoneType"),
    ],
)
def test_every_kind_keeps_to_its_contract(kind: str, item: object, reason: str) -> None:
    assert problem_of(plugin(**{kind: lambda register: register(item)})) == f"TypeError: {reason}"


def test_a_hook_that_returns_instead_of_registering_is_set_aside() -> None:
    assert problem_of(plugin(datasets=lambda: [dataset("lost")])) == (
        "finetune_register_datasets returns something; it has to call register(...) instead"
    )


@pytest.mark.parametrize(
    ("kind", "make"), [("dataset", dataset), ("backbone", backbone), ("target", target)], ids=lambda value: str(value)
)
def test_a_taken_name_sets_the_later_plugin_aside_naming_the_owner(kind: str, make: Callable[[str], object]) -> None:
    first = candidate(plugin(**{f"{kind}s": lambda register: register(make("x"))}), name="first")
    second = candidate(plugin(**{f"{kind}s": lambda register: register(make("x"))}), name="second")

    found = Plugins([first, second])

    assert [(info.distribution, info.problem) for info in found.infos] == [
        ("finetune-first", None),
        ("finetune-second", f"the {kind} name 'x' is taken by finetune-first 1.0"),
    ]
    assert found.origin(kind, "x") == "finetune-first 1.0"


def test_a_name_that_one_plugin_registers_twice_sets_it_aside() -> None:
    assert problem_of(offering(dataset("x"), dataset("x"))) == "the dataset name 'x' is taken by itself"


def test_a_plugin_name_that_is_taken_sets_the_later_plugin_aside_naming_both() -> None:
    found = Plugins(
        [
            candidate(offering(dataset("a")), name="pets", distribution="one"),
            candidate(offering(dataset("b")), name="pets", distribution="two"),
        ]
    )

    assert [(info.distribution, info.problem) for info in found.infos] == [
        ("one", None),
        ("two", "the plugin name 'pets' is taken by one 1.0; uninstall one of the two"),
    ]
    assert list(found.datasets) == ["a"]


def test_nothing_of_a_plugin_that_is_set_aside_stays_registered() -> None:
    def late_fault(register: Callable[[Any], None]) -> None:
        register(target("half"))
        raise ValueError("too late")

    module = plugin(
        datasets=lambda register: register(dataset("half")),
        backbones=lambda register: register(backbone("half")),
        targets=late_fault,
    )

    assert problem_of(module) == "ValueError: too late"  # which looks at the lists of every kind


def test_a_name_that_was_set_aside_is_free_for_the_next_plugin() -> None:
    broken = candidate(offering(dataset("x"), "not a data set"), name="broken")

    found = Plugins([broken, candidate(offering(dataset("x")), name="sound")])

    assert found.origin("dataset", "x") == "finetune-sound 1.0"


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_request_to_end_passes_through(error: BaseException) -> None:
    with pytest.raises(type(error)):
        Plugins([GOOD, failing(error)])


def test_what_plugins_print_goes_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    def load() -> object:
        sys.stdout.write("importing, ")
        return plugin(datasets=lambda: sys.stdout.write("registering") and None)

    Plugins([Candidate(name="loud", distribution="loud", version="1", load=load)])

    assert capsys.readouterr() == ("", "importing, registering")


# ── finding ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(ConfigError) as caught:
        Plugins([GOOD]).find_dataset("pet")

    assert caught.value.exit_code == 2
    assert str(caught.value) == (
        "Unknown dataset 'pet'. Did you mean 'pets'? Known: pets. See 'finetune list datasets'."
    )


def test_an_unknown_name_comes_with_the_plugins_that_were_set_aside() -> None:
    with pytest.raises(ConfigError) as caught:
        Plugins([GOOD, failing(ImportError("x"))]).find_target("toaster")

    assert str(caught.value) == (
        "Unknown target 'toaster'. No target is known. See 'finetune list targets'. "
        "Set aside as broken: stranger; see 'finetune plugins'."
    )


def test_asking_for_a_plugin_that_was_set_aside_tells_why() -> None:
    with pytest.raises(PluginError) as caught:
        Plugins([GOOD, failing(ImportError("No module named 'cv3'"))]).find_dataset("stranger")

    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        "The plugin 'stranger' (finetune-stranger 1.0) was set aside: ImportError: No module named 'cv3'"
    )


def test_the_only_data_set_of_a_plugin_answers_to_the_name_of_the_plugin() -> None:
    assert Plugins([GOOD]).find_dataset("good") == dataset("pets")


def test_a_data_set_comes_before_a_plugin_of_the_same_name() -> None:
    other = candidate(offering(dataset("good")), name="other")

    assert Plugins([GOOD, other]).find_dataset("good") == dataset("good")


def test_of_several_data_sets_the_name_of_the_plugin_chooses_none() -> None:
    several = candidate(offering(dataset("a"), dataset("b")), name="zoo")

    with pytest.raises(ConfigError, match=r"^Unknown dataset 'zoo'"):
        Plugins([several]).find_dataset("zoo")


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

    assert problem(stranger) == f"SyntaxError: invalid syntax ({name}.py, line 2)"


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

    assert names == ["finetune.folder", "finetune.torchvision_backbones", "finetune.onnx_target", "ant", "zebra"]


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

    assert told == "the dataset name 'folder' is taken by finetune 0.1.0"


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
    assert (list(found.datasets), list(found.targets)) == (["folder"], ["onnx"])
    assert found.find_backbone("mobilenet_v2").name == "mobilenet_v2"


def test_every_built_in_reference_leads_to_a_function(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_DISABLE_PLUGINS", "1")
    found = load_plugins()
    references = {s.load for s in found.datasets.values()} | {t.export for t in found.targets.values()}

    assert all(callable(load_function(reference, "The test")) for reference in references)


def test_a_recipe_with_a_mistake_sets_its_plugin_aside() -> None:
    recipe: Any = {"epoch": 4}
    spec = dataset(sources=(Source(name="web", summary="", recipe=recipe),))

    (info,) = Plugins([candidate(offering(spec))]).broken

    assert info.problem is not None
    assert "Unknown option 'epoch'. Did you mean 'epochs'?" in info.problem
