"""``plugins/README.md``, "Write a plugin", is held to the code: its hooks, its tables, its gallery, its length."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path

import pytest

import finetune.testing
from finetune import hookspecs, types
from finetune.plugins import KINDS

PLUGINS = Path(__file__).parent.parent / "plugins"
GUIDE = (PLUGINS / "README.md").read_text(encoding="utf-8")
TWO_SCREENS = 100
"""Lines of two screens on a laptop."""


def hooks() -> dict[str, Callable[..., None]]:
    return {name: hook for name, hook in vars(hookspecs).items() if name.startswith("finetune_register_")}


def test_every_hook_stands_in_the_guide_with_its_very_signature() -> None:
    stated = re.findall(r"^def (finetune_\w+)(\(.*\) -> \w+): \.\.\.$", GUIDE, re.MULTILINE)
    assert dict(stated) == {name: str(inspect.signature(hook)).replace("'", "") for name, hook in hooks().items()}
    assert set(hooks()) == {kind.hook for kind in KINDS.values()}


def test_every_hook_says_since_when_it_is_there() -> None:
    assert [name for name, hook in hooks().items() if not re.search(r"Since \d+\.\d+\.", hook.__doc__ or "")] == []


def test_the_table_names_the_function_of_every_kind() -> None:
    stated = dict(re.findall(r"^\| `(\w+)\.(\w+)` \|", GUIDE, re.MULTILINE))
    assert stated == {kind.type.__name__: kind.function for kind in KINDS.values()}


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`\((\w+)[,)]", GUIDE))))
def test_what_functions_are_given_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(types, name))


def test_the_kit_is_as_the_guide_says() -> None:
    (code,) = re.findall(r"```python\n(from finetune\.testing.*?)```", GUIDE, re.DOTALL)
    namespace: dict[str, object] = {}
    exec(code, namespace)
    assert issubclass(namespace["TestConformance"], finetune.testing.Conformance)  # type: ignore[arg-type]


def test_the_api_version_is_the_one_there_is() -> None:
    assert set(re.findall(r'FINETUNE_API = "([\d.]+)"', GUIDE)) == {hookspecs.API_VERSION}


def test_the_gallery_shows_every_plugin_of_the_project() -> None:
    shown = re.findall(r"^\| \[`[\w-]+`\]\(([\w-]+)\) \|", GUIDE, re.MULTILINE)
    assert sorted(shown) == sorted(path.parent.name for path in PLUGINS.glob("*/pyproject.toml"))


def test_the_guide_is_two_screens_long() -> None:
    assert len(GUIDE.splitlines()) <= TWO_SCREENS
