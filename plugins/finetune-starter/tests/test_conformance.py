from finetune.testing import Case, Conformance


class TestConformance(Conformance):
    case = Case(plugin="starter")
