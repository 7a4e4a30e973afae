from __future__ import annotations

import itertools
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any, cast

import pytest

from finetune.config import RunOptions
from finetune.errors import ConfigError, PluginError
from finetune.hookspecs import hookimpl
from finetune.plugins import Candidate, Plugins
from finetune.types import Backbone, DatasetSpec, ExportTarget, Recipe, Source

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
    ("kind", "make"),
    [("dataset", dataset), ("backbone", backbone), ("target", target)],
    ids=["dataset", "backbone", "target"],
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


# ── recipes ─────────────────────────────────────────────────────────────────────────────────────────


def recipe(name: str = "slow", **options: Any) -> Recipe:
    return Recipe(name=name, summary="As published.", options=cast(RunOptions, options))


def test_the_recipes_of_a_data_set_are_kept_in_their_order() -> None:
    spec = dataset(recipes=(recipe("b", epochs=1), recipe("a", lr="find")))

    assert Plugins([candidate(offering(spec))]).find_dataset("pets").recipes == spec.recipes


@pytest.mark.parametrize("recipes", [recipe(), [recipe()], ("slow",), ({"epochs": 1},), None], ids=str)
def test_recipes_that_are_none_set_the_plugin_aside(recipes: object) -> None:
    told = problem_of(offering(dataset("weeds", recipes=recipes)))

    assert told == f"TypeError: recipes={recipes!r} of dataset 'weeds' is not a tuple of Recipe"


@pytest.mark.parametrize(
    ("said", "text"),
    [
        ({"epoch": 4}, "Unknown option 'epoch'. Did you mean 'epochs'?"),
        ({"epochs": -1}, "--epochs -1 is not allowed; give a whole number from 0 to 10000."),
        ({"strategy": "prob"}, "Unknown --strategy 'prob'. Did you mean 'probe'?"),
    ],
    ids=str,
)
@pytest.mark.parametrize("where", ["a source's", "the data set's"])
def test_a_recipe_with_a_mistake_sets_its_plugin_aside(where: str, said: dict[str, Any], text: str) -> None:
    source = Source(name="web", summary="", recipe=cast(RunOptions, said))
    facts = {"sources": (source,)} if where == "a source's" else {"recipes": (recipe(**said),)}

    assert text in problem_of(offering(dataset("weeds", **facts)))


@pytest.mark.parametrize("options", [None, 3, "epochs"], ids=str)
def test_options_of_a_recipe_that_are_no_mapping_set_its_plugin_aside(options: Any) -> None:
    slow = Recipe(name="slow", summary="", options=options)

    assert problem_of(offering(dataset("weeds", recipes=(slow,))))


def test_two_recipes_of_one_name_set_the_plugin_aside() -> None:
    spec = dataset("weeds", recipes=(recipe(epochs=1), recipe(epochs=2)))

    assert problem_of(offering(spec)) == (
        "TypeError: the recipes of dataset 'weeds' have no names of their own: slow, slow"
    )
