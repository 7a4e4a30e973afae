"""The conformance kit: what a plugin promises, held against what it does.

``finetune plugins check NAME`` runs it from the command line; a plugin's own tests run it with pytest:

    from finetune.testing import Case, Conformance

    class TestConformance(Conformance):
        case = Case(plugin="pets")

Installed code is trusted code: the kit finds faults, and is no sandbox.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from finetune.testing.checks import checks_of
    from finetune.testing.conformance import Conformance
    from finetune.testing.rules import Broken, Case, Check, Finding, NotChecked, Rule

__all__ = ["Broken", "Case", "Check", "Conformance", "Finding", "NotChecked", "Rule", "checks_of"]
_ELSEWHERE = {"checks_of": "checks", "Conformance": "conformance"}


def __getattr__(name: str) -> Any:
    # On first use, because pytest imports this package, for its fixtures, wherever finetune is installed.
    if name not in __all__:
        raise AttributeError(f"module 'finetune.testing' has no attribute '{name}'")
    return getattr(importlib.import_module(f"finetune.testing.{_ELSEWHERE.get(name, 'rules')}"), name)
