"""What a distribution says about itself: its licence, and where it comes from."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import distribution
from typing import Any

import pytest

from finetune.plugins import PluginInfo, load_plugins

from .conftest import HOOKS, Site


@pytest.fixture
def facts(installed: Callable[..., PluginInfo]) -> Callable[..., tuple[str, str]]:
    """Return licence and origin of a plugin whose METADATA has these lines, and which was installed from there."""

    def found(metadata: str, direct_url: Any = None) -> tuple[str, str]:
        files = {"direct_url.json": direct_url if isinstance(direct_url, str) else json.dumps(direct_url)}
        info = installed("fleas", HOOKS.format(name="fleas"), metadata=metadata, files=files if direct_url else {})
        assert info.problem is None
        return info.licence, info.origin

    return found


OSI = "Classifier: License :: OSI Approved :: "


@pytest.mark.parametrize(
    ("metadata", "licence"),
    [
        ("License-Expression: MIT OR Apache-2.0", "MIT OR Apache-2.0"),
        (f"License-Expression: MIT\nLicense: BSD\n{OSI}MIT License", "MIT"),
        (f"License: BSD\n{OSI}MIT License", "BSD"),
        (f"License: UNKNOWN\n{OSI}MIT License", "MIT License"),
        (f"{OSI}MIT License\nClassifier: Topic :: Software\n{OSI}BSD License", "MIT License, BSD License"),
        ("License: " + "Permission is hereby granted " * 9, ("Permission is hereby granted " * 9)[:80] + "…"),
        ("License:", "unknown"),
        ("Summary: says nothing of it", "unknown"),
    ],
    ids=["expression", "first", "field", "UNKNOWN", "classifiers", "whole", "empty", "none"],
)
def test_the_licence_is_the_expression_or_the_field_or_the_classifiers(
    metadata: str, licence: str, facts: Callable[..., tuple[str, str]]
) -> None:
    assert facts(metadata)[0] == licence


@pytest.mark.parametrize(
    ("metadata", "origin"),
    [
        ("Project-URL: Source, https://git.example/a/b", "https://git.example/a/b"),
        (
            "Project-URL: Homepage, https://a.example\nProject-URL: repository, https://b.example/x",
            "https://b.example/x",
        ),
        ("Project-URL: Source Code, https://b.example/x\nHome-page: https://a.example", "https://b.example/x"),
        ("Home-page: https://a.example", "https://a.example"),
        ("Project-URL: Documentation, https://docs.example", "unknown"),
        ("Home-page: UNKNOWN", "unknown"),
        ("Project-URL: Source, file:///home/ann/secret", "unknown"),
        ("Project-URL: Source, https://[broken", "unknown"),
        ("Project-URL: Source", "unknown"),
        ("Project-URL: Source, https://ann:secret@git.example/a?token=1#x", "https://git.example/a"),
    ],
)
def test_the_origin_is_the_projects_url_the_source_before_the_homepage(
    metadata: str, origin: str, facts: Callable[..., tuple[str, str]]
) -> None:
    assert facts(metadata)[1] == origin


@pytest.mark.parametrize(
    ("direct_url", "origin"),
    [
        ({"url": "https://ann:key@git.example/a.git", "vcs_info": {"vcs": "git"}}, "https://git.example/a.git"),
        ({"url": "ssh://git@git.example/a.git", "vcs_info": {"vcs": "git"}}, "ssh://git.example/a.git"),
        ({"url": "file:///home/ann/secret", "dir_info": {"editable": True}}, "local folder"),
        ({"url": "file:///home/ann/a.git", "vcs_info": {"vcs": "git"}}, "local folder"),
        ({"url": "/home/ann/secret"}, "unknown"),
        ({"url": 3}, "unknown"),
        ("[]", "unknown"),
        ("{", "unknown"),
    ],
    ids=str,
)
def test_without_a_url_of_the_project_the_origin_is_where_it_was_installed_from(
    direct_url: Any, origin: str, facts: Callable[..., tuple[str, str]]
) -> None:
    assert facts("", direct_url)[1] == origin


def test_the_projects_url_comes_before_the_folder_it_was_installed_from(facts: Callable[..., tuple[str, str]]) -> None:
    assert facts("Home-page: https://a.example", {"url": "file:///home/ann"}) == ("unknown", "https://a.example")


@pytest.mark.parametrize(
    ("metadata", "direct_url"),
    [
        ("License-Expression: MIT " + "x" * 5_000_000, None),
        ("Home-page: https://a.example/" + "x" * 5_000_000, None),
        ("", {"url": "https://a.example/" + "x" * 5_000_000}),
        (f"{OSI}MIT License\n" * 1000, None),
    ],
    ids=["licence", "homepage", "direct_url", "classifiers"],
)
def test_what_a_distribution_says_about_itself_is_cut(
    metadata: str, direct_url: Any, facts: Callable[..., tuple[str, str]]
) -> None:
    lengths = [len(fact) for fact in facts(metadata, direct_url)]

    assert (min(lengths), max(lengths)) == (len("unknown"), 200)


def test_a_long_version_is_cut(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    metadata = site.install("fleas", HOOKS.format(name="fleas")) / "METADATA"
    metadata.write_text(f"Metadata-Version: 2.4\nName: finetune_fleas\nVersion: 1.2+{'x' * 5_000_000}\n")
    monkeypatch.setenv("FINETUNE_PLUGINS", "fleas")

    assert load_plugins().infos[-1].version == f"1.2+{'x' * 195}…"


@pytest.mark.parametrize(
    ("metadata", "direct_url", "found"),
    [
        ("License-Expression: M\x1b[31mIT\x9b", None, ("M[31mIT", "unknown")),
        ("Home-page: https://a.example/\u202ex", None, ("unknown", "https://a.example/x")),
        ("", {"url": "https://a.example/\x1b]0;x\x07"}, ("unknown", "https://a.example/]0;x")),
    ],
    ids=["licence", "homepage", "direct_url"],
)
def test_control_characters_are_left_out(
    metadata: str, direct_url: Any, found: tuple[str, str], facts: Callable[..., tuple[str, str]]
) -> None:
    assert facts(metadata, direct_url) == found


def test_the_licence_of_what_is_built_in_is_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUNE_DISABLE_PLUGINS", "1")
    infos = load_plugins().infos

    assert {(info.licence, info.origin) for info in infos} == {
        (distribution("finetune").metadata["License-Expression"], "built in")
    }
