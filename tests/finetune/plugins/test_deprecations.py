"""Hooks and arguments that will go: who implements them is told, and goes on working."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any

import pytest

from finetune import hookspecs
from finetune.hookspecs import deprecated, hookspec

from .conftest import dataset, offering, only, plugin

OLD_HOOK = deprecated(
    old="def finetune_register_datasets(register)", new="def finetune_register_picture_sets(register)", until="2.0"
)
OLD_ARGUMENT = deprecated(old="register", new="offer", until="2.0")


def specs(**options: Any) -> ModuleType:
    """Return the hooks as they are, with the one for data sets marked by ``options``."""

    def finetune_register_datasets(register: Callable[[Any], None]) -> None: ...

    made = ModuleType("specs")
    vars(made).update({name: value for name, value in vars(hookspecs).items() if name.startswith("finetune_")})
    vars(made)["finetune_register_datasets"] = hookspec(**options)(finetune_register_datasets)
    return made


def test_a_deprecated_hook_is_told_with_what_to_write_instead_and_until_when() -> None:
    info = only(lambda: offering("pets"), specs=specs(warn_on_impl=OLD_HOOK))

    assert (info.problem, info.offers) == (None, {"dataset": ("pets",)})
    assert info.warnings == (
        "DeprecationWarning: `def finetune_register_datasets(register)` goes in plugin API 2.0; "
        "write `def finetune_register_picture_sets(register)` instead",
    )


def test_a_deprecated_argument_is_told_to_those_alone_who_take_it() -> None:
    marked = specs(warn_on_impl_args={"register": OLD_ARGUMENT})

    assert only(lambda: plugin(datasets=lambda: None), specs=marked).warnings == ()
    assert only(lambda: offering("pets"), specs=marked).warnings == (
        "DeprecationWarning: `register` goes in plugin API 2.0; write `offer` instead",
    )


def test_no_hook_of_ours_is_deprecated_today() -> None:
    kinds = ("datasets", "backbones", "targets", "metrics", "callbacks", "sections", "commands")

    info = only(lambda: plugin(**dict.fromkeys(kinds, lambda: None)))

    assert (info.problem, info.warnings) == (None, ())


def loud() -> ModuleType:
    warnings.warn("a library of mine is old", FutureWarning, stacklevel=1)
    warnings.warn("a library of mine is old", FutureWarning, stacklevel=1)
    return offering("pets")


@pytest.mark.parametrize("action", ["error", "ignore", "default"])
def test_a_warning_while_loading_is_kept_once_and_neither_lost_nor_an_error(action: Any) -> None:
    with warnings.catch_warnings(record=True) as passed_on:
        warnings.simplefilter(action)
        info = only(loud)

    assert (info.problem, passed_on) == (None, [])
    assert info.warnings == ("FutureWarning: a library of mine is old",)


def test_the_warnings_of_a_plugin_that_is_set_aside_are_kept_too() -> None:
    def load() -> object:
        loud()
        return plugin(datasets=lambda register: register(dataset(name="no name")))

    info = only(load)

    assert info.problem
    assert info.warnings == ("FutureWarning: a library of mine is old",)
