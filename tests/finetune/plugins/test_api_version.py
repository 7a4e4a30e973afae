"""The version of the plugin API that a plugin states, held against ours."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune import __version__, hookspecs
from finetune.errors import PluginError
from finetune.plugins.versions import needed_api

from .conftest import offering, only, plugin

MAJOR, MINOR = (int(number) for number in hookspecs.API_VERSION.split("."))
OURS = f"finetune {__version__} has {hookspecs.API_VERSION}"


def stating(version: object, module: ModuleType | None = None) -> ModuleType:
    made: Any = module or offering()
    made.FINETUNE_API = version
    return made


def test_a_plugin_that_states_our_version_is_admitted_with_it() -> None:
    info = only(lambda: stating(hookspecs.API_VERSION))

    assert (info.problem, info.api) == (None, hookspecs.API_VERSION)


def test_a_plugin_that_states_none_is_admitted() -> None:
    info = only(offering)

    assert (info.problem, info.api) == (None, None)


@pytest.mark.parametrize("needed", [f"{MAJOR}.{MINOR + 1}", f"{MAJOR}.{MINOR + 10}", f"{MAJOR + 1}.0"])
def test_a_plugin_that_needs_a_newer_version_is_set_aside_with_the_way_out(needed: str) -> None:
    assert only(lambda: stating(needed)).problem == (
        f"it needs plugin API {needed}, and {OURS}; upgrade finetune (pip install --upgrade finetune)"
    )


def test_a_plugin_of_an_older_major_version_is_set_aside_with_the_way_out() -> None:
    assert only(lambda: stating(f"{MAJOR - 1}.9")).problem == (
        f"it was written for plugin API {MAJOR - 1}.9, and {OURS}; "
        "upgrade the plugin (pip install --upgrade finetune-stranger)"
    )


@pytest.mark.parametrize(
    "version", [1.0, 1, "", "1", "1.0.0", "v1.0", "1.x", " 1.0", "01.0", "-1.0", ("1", "0"), b"1.0"]
)
def test_what_is_no_version_sets_the_plugin_aside_with_what_one_looks_like(version: object) -> None:
    assert only(lambda: stating(version)).problem == (
        f"FINETUNE_API = {version!r} is not a version of the plugin API; it has to be text, such as "
        f'"{hookspecs.API_VERSION}"'
    )


def test_a_hook_of_a_newer_version_is_told_as_that_and_not_as_unknown() -> None:
    newer = stating(f"{MAJOR}.{MINOR + 1}", plugin(colours=lambda: None))

    told = only(lambda: newer).problem

    assert told
    assert told.startswith("it needs plugin API")


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_version_is_admitted_where_its_major_is_ours_and_its_minor_no_greater(major: int, minor: int) -> None:
    stated = f"{major}.{minor}"
    if (major, minor) in [(MAJOR, known) for known in range(MINOR + 1)]:
        assert needed_api(stating(stated), "x") == stated
        return
    with pytest.raises(
        PluginError, match="upgrade finetune" if (major, minor) > (MAJOR, MINOR) else "upgrade the plug"
    ):
        needed_api(stating(stated), "x")
