from __future__ import annotations

from finetune.testing import Case, Conformance


class TestConformance(Conformance):
    case = Case(plugin="profile")
