"""What is kept of every call of a hook."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.hookspecs import hookimpl
from finetune.plugins import HookCall, PluginInfo

from .conftest import HOOKS, dataset, offering, only, plugin


def test_a_call_is_kept_with_the_function_its_place_and_what_it_registered(
    installed: Callable[..., PluginInfo], tmp_path: Path
) -> None:
    info = installed("fleas", HOOKS.format(name="fleas"))

    (call,) = info.calls
    assert (call.hook, call.registered) == ("finetune_register_datasets", ("fleas",))
    assert call.implementation == "finetune_fleas:finetune_register_datasets"
    assert call.place == f"{tmp_path / 'site' / 'finetune_fleas.py'}:5"
    assert (call.returned, call.error) == (None, None)
    assert call.milliseconds >= 0


def test_only_hooks_that_are_implemented_are_called_in_their_order() -> None:
    info = only(lambda: plugin(commands=lambda: None, backbones=lambda: None))

    assert [call.hook for call in info.calls] == ["finetune_register_backbones", "finetune_register_commands"]


def test_two_functions_for_one_hook_are_both_named() -> None:
    module: Any = offering("pets")

    @hookimpl(specname="finetune_register_datasets")
    def more(register: Callable[[Any], None]) -> None:
        register(dataset("fleas"))

    module.more = more
    (call,) = only(lambda: module).calls

    assert sorted(call.registered) == ["fleas", "pets"]
    assert call.implementation.count("<lambda>") == call.implementation.count(".more") == 1


def failed_call(hook: Callable[..., object]) -> HookCall:
    info = only(lambda: plugin(backbones=lambda: None, datasets=hook))
    assert info.problem
    return info.calls[0]


def test_what_a_hook_raises_is_kept_with_what_it_registered_before() -> None:
    def hook(register: Callable[[Any], None]) -> None:
        register(dataset("pets"))
        raise LookupError("no more")

    call = failed_call(hook)

    assert (call.registered, call.error) == (("pets",), "LookupError: no more")


@pytest.mark.parametrize(
    ("returned", "shown"), [([1, 2], "[[1, 2]]"), ("x" * 999, None), (0, "[0]")], ids=["list", "long", "zero"]
)
def test_what_a_hook_returns_is_kept_in_short(returned: object, shown: str | None) -> None:
    call = failed_call(lambda: returned)

    assert call.returned
    assert call.returned == shown or (shown is None and len(call.returned) < 60)


def test_what_cannot_show_itself_is_kept_all_the_same() -> None:
    class Mute:
        def __repr__(self) -> str:
            raise RuntimeError("no")

    assert "Mute" in str(failed_call(lambda: Mute()).returned)
