"""The kit in a plugin's own tests: a class to derive from, which pytest turns into one test for each check."""

from __future__ import annotations

import unittest
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from finetune.errors import FinetuneError
from finetune.testing.checks import checks_of
from finetune.testing.rules import Broken, Case, Check, Rule


class Conformance:
    """Every check of one plugin; give the ``case``, and ``prepare`` what it needs.

        class TestConformance(Conformance):
            case = Case(plugin="pets")

    What breaks a rule fails with what was expected, what was found and where to read; what cannot be tried is skipped,
    with what to give. What there is to check is asked of the plugin, in a process of its own first; no data set,
    network or target is loaded before a check runs.
    """

    case: ClassVar[Case]
    _ready: ClassVar[Mapping[str, Check]]

    @classmethod
    def prepare(cls, folder: Path) -> Case:  # noqa: ARG003 - for those who override it
        """Return the case, once whatever it names was written into an empty ``folder``, which the tests share.

        Which plugin it is, and what ``only`` says, has to be in ``case``: it is asked what there is to check.
        """
        return cls.case

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Give ``test_rule`` every check there is."""
        if "check" in metafunc.fixturenames:
            checks = _checks(self.case)
            metafunc.parametrize("check", checks, ids=[check.id for check in checks])

    def test_rule(self, check: Check, tmp_path_factory: Any) -> None:
        """Hold one thing against one rule."""
        __tracebackhide__ = True
        finding = self._prepared(tmp_path_factory).get(check.id, check).run()
        if finding.verdict == "failed":
            raise AssertionError(finding.message)
        if finding.verdict == "not checked":
            raise unittest.SkipTest(finding.message)

    @classmethod
    def _prepared(cls, tmp_path_factory: Any) -> Mapping[str, Check]:
        if "_ready" not in vars(cls):  # once for each class, because loads are kept by their checks
            case = cls.prepare(tmp_path_factory.mktemp("conformance"))
            cls._ready = {check.id: check for check in _checks(case)}
        return cls._ready


def _checks(case: Case) -> list[Check]:
    """Return the checks; of a plugin that cannot be loaded, one, which fails with the reason."""
    try:
        return checks_of(case)
    except FinetuneError as error:
        rule = Rule(
            name="can-be-loaded",
            kind="plugin",
            expects="a plugin that is installed and not set aside",
            read="finetune.hookspecs",
            hold=_refuse,
        )
        return [Check(rule=rule, subject=f"plugin '{case.plugin}'", thing=str(error).rstrip("."))]


def _refuse(reason: str) -> None:
    raise Broken(reason)
