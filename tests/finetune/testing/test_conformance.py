"""The kit in a plugin's own tests, as pytest runs them in a process of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.testing import metrics, plugin

TESTS = """
from dataclasses import replace

from finetune.testing import Case, Conformance


class TestConformance(Conformance):
    case = Case(plugin="pets", only=("worst-recall",))


class TestCopy(Conformance):
    case = Case(plugin="pets", only=("pets",))

    @classmethod
    def prepare(cls, folder):
        from {package}.data import draw_into

        draw_into(folder)
        return replace(cls.case, data=folder)
"""
ALONE = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}


@pytest.fixture
def tested(tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run a plugin's tests; return the status and what was printed."""

    def ran(site: Path, *words: str) -> tuple[int, str]:
        (package,) = (path.name for path in site.iterdir() if path.suffix != ".dist-info")
        file = tmp_path / "test_pets.py"
        file.write_text(TESTS.replace("{package}", package))
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "error", "-c", os.devnull, str(file)]
        path = os.pathsep.join([str(site), *(entry for entry in sys.path if entry)])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", **ALONE}
        done = subprocess.run(
            [*command, *words], capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
        return done.returncode, done.stdout

    return ran


def test_every_check_is_a_test_with_a_name_that_stays(
    install: Callable[..., Path], tested: Callable[..., tuple[int, str]]
) -> None:
    status, out = tested(install(), "--collect-only", "-q", "-k", "TestConformance")

    assert status == 0
    assert "test_pets.py::TestConformance::test_rule[plugin-pets-comes-in-time]" in out
    assert "test_pets.py::TestConformance::test_rule[metric-worst-recall-of-single-label-is-a-share]" in out


def test_what_is_broken_fails_with_the_words_of_the_rule_alone(
    install: Callable[..., Path], tested: Callable[..., tuple[int, str]]
) -> None:
    site = install({"measuring.py": ("return float(min(", "return 100 * float(min(")})

    status, out = tested(site, "-q", "-k", "TestConformance")

    assert status == 1
    assert f"1 failed, {len((*plugin.RULES, *metrics.RULES)) - 1} passed" in out
    assert (
        "\nE   AssertionError: metric 'worst-recall' of single-label breaks the rule 'is-a-share': expected a value "
        "between 0 and 1, because is_share is set; found 100. Read: python -m pydoc finetune.types.Metric\n"
    ) in out


def test_what_cannot_be_tried_is_skipped_with_what_to_give_and_a_case_may_be_prepared(
    install: Callable[..., Path], tested: Callable[..., tuple[int, str]]
) -> None:
    status, out = tested(install(), "-q", "-rs", "-k", "from-copy and (loads or cut) or from-web and source")

    assert status == 0
    assert "1 passed, 2 skipped" in out
    assert "give small stand-ins for its archives, by their names, with archives= of the Case" in out


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (
            "raise SystemExit(0)",
            "plugin 'pets' breaks the rule 'can-be-loaded': expected a plugin that is",
        ),
        (
            "import os; os._exit(0)",
            "plugin 'pets' breaks the rule 'comes-in-time': expected to be imported",
        ),
    ],
    ids=["set-aside", "dead"],
)
def test_a_plugin_that_cannot_be_loaded_is_one_test_that_fails_with_the_reason(
    line: str, said: str, install: Callable[..., Path], tested: Callable[..., tuple[int, str]]
) -> None:
    site = install({"hooks.py": ('FINETUNE_API = "1.0"', line)})

    status, out = tested(site, "-q", "-k", "TestConformance")

    assert status == 1
    assert "1 failed" in out
    assert said in out
