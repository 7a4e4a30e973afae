"""What every backbone promises, and how it is tried: rules about its record, its stages and its answers.

Nothing is downloaded. The network is built with random weights, at the smallest image size that it takes, and brought
near a trained one; the rules ask it what training, export and deployment will ask it.
"""

from finetune.testing import backbone_answers, backbone_records, backbone_stages
from finetune.testing.backbone_subject import BackboneSubject

__all__ = ["RULES", "BackboneSubject"]

RULES = (*backbone_records.RULES, *backbone_stages.RULES, *backbone_answers.RULES)
"""What every backbone is held against, what is cheap first."""
