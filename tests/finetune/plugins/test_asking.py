"""Asking for a plugin that was set aside: by its own name, or by the name of its distribution."""

from __future__ import annotations

import pytest

from finetune.errors import ConfigError, PluginError
from finetune.plugins import Plugins, load_plugins

from .conftest import Site, candidate, offering

NO_HOOKS = "a word instead of a module"


@pytest.mark.parametrize("name", ["fleas", "finetune_fleas", "finetune-fleas", "Finetune.Fleas"])
def test_a_plugin_that_was_set_aside_is_told_by_its_name_and_by_its_distribution_s(
    name: str, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.install("fleas", "import cv3")
    monkeypatch.setenv("FINETUNE_PLUGINS", "fleas")

    with pytest.raises(PluginError) as caught:
        load_plugins().find_dataset(name)

    assert caught.value.exit_code == 5
    assert str(caught.value) == (
        "The plugin 'fleas' (finetune_fleas 1.2) was set aside: ModuleNotFoundError: No module named 'cv3'"
    )


def test_a_plugin_that_works_is_not_refused_for_another_of_its_distribution() -> None:
    works = candidate(lambda: offering("cats"), "pets", distribution="pets")
    broken = candidate(lambda: NO_HOOKS, "fleas", distribution="pets")

    with pytest.raises(ConfigError, match=r"^The plugin 'pets' offers no target, but the data set 'cats'"):
        Plugins([works, broken]).find_target("pets")


def test_a_distribution_that_works_is_no_name_of_its_plugin() -> None:
    with pytest.raises(ConfigError, match=r"^Unknown dataset 'finetune-stranger'"):
        Plugins([candidate(offering)]).find_dataset("finetune-stranger")


def test_a_distribution_that_cannot_say_its_name_is_asked_for_by_the_plugin_s() -> None:
    found = Plugins([candidate(lambda: NO_HOOKS, "fleas", distribution="unknown")])

    with pytest.raises(PluginError, match=r"^The plugin 'fleas' \(unknown 1\.0\) was set aside"):
        found.find_dataset("fleas")
    with pytest.raises(ConfigError, match=r"^Unknown dataset 'unknown'"):
        found.find_dataset("unknown")
