"""What a plugin implements, held against the hooks there are: told in words that its author can act on."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest

from finetune.hookspecs import hookimpl

from .conftest import offering, only, plugin

HOOKS = (
    "finetune_register_backbones, finetune_register_callbacks, finetune_register_commands, "
    "finetune_register_datasets, finetune_register_metrics, finetune_register_sections, finetune_register_targets"
)


def with_another_name(reg: object) -> None: ...


def with_more(register: object, a: int, b: int) -> None: ...


def test_a_misspelt_hook_sets_the_plugin_aside_with_the_hook_that_was_meant() -> None:
    assert only(lambda: plugin(dataset=lambda: None)).problem == (
        f"unknown hook 'finetune_register_dataset'. Did you mean 'finetune_register_datasets'? Known: {HOOKS}."
    )


def test_a_hook_that_is_optional_may_be_unknown() -> None:
    module = offering("pets")
    vars(module)["finetune_register_spoons"] = hookimpl(optionalhook=True)(lambda: None)

    info = only(lambda: module)

    assert (info.problem, info.offers) == (None, {"dataset": ("pets",)})


@pytest.mark.parametrize(
    ("hook", "asked"),
    [(with_another_name, "'reg'"), (with_more, "'a', 'b'")],
    ids=["another name", "more"],
)
def test_a_hook_with_an_argument_that_does_not_exist_sets_the_plugin_aside(
    hook: Callable[..., object], asked: str
) -> None:
    assert only(lambda: plugin(datasets=hook)).problem == (
        f"finetune_register_datasets takes 'register', and its implementation asks for {asked}"
    )


def test_a_hook_under_another_name_is_held_against_the_hook_that_it_implements() -> None:
    module = ModuleType("renamed")
    vars(module)["offer"] = hookimpl(specname="finetune_register_datasets")(with_another_name)

    assert str(only(lambda: module).problem).startswith("finetune_register_datasets takes 'register'")


def test_hooks_that_are_not_marked_set_the_plugin_aside_with_the_marker() -> None:
    module = ModuleType("unmarked")
    vars(module).update(finetune_register_datasets=lambda: None, finetune_register_name="pets")

    assert only(lambda: module).problem == (
        "it implements no hook: mark finetune_register_datasets with @hookimpl (finetune.hookspecs)"
    )


@pytest.mark.parametrize("module", [ModuleType("empty"), None, 3, object()], ids=["module", "None", "int", "object"])
def test_something_without_hooks_is_set_aside_with_the_hooks_there_are(module: object) -> None:
    assert only(lambda: module).problem == f"it implements no hook; known: {HOOKS}"
