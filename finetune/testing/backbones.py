"""What every backbone promises, and how it is tried: rules about its record, its stages and its answers.

Nothing is downloaded. The network is built with random weights, at the smallest image size that it takes, and brought
near a trained one; the rules ask it what training, export and deployment will ask it.
"""

from finetune.testing import backbone_answers, backbone_recorded, backbone_records, backbone_stages
from finetune.testing.backbone_recorded import brings_its_weights
from finetune.testing.backbone_subject import BackboneSubject
from finetune.testing.rules import Rule
from finetune.types import Backbone

__all__ = ["RULES", "BackboneSubject", "rules_of"]

RULES = (*backbone_records.RULES, *backbone_stages.RULES, *backbone_answers.RULES)
"""What every backbone is held against, what is cheap first."""


def rules_of(backbone: Backbone) -> tuple[Rule, ...]:
    """Return all rules for a backbone: of one that brings its weights, those about the record behind them as well."""
    return (*RULES, *backbone_recorded.RULES) if brings_its_weights(backbone) else RULES
