"""What every export target promises, and how it is tried: rules about what it writes, and what that answers.

Small models are trained on drawn colours, one for each task and once in a process. The target is asked for its artifact
as a run asks it, in a folder of its own and without a network; its answers are held against the trained network's.
"""

from finetune.testing import target_answers, target_artifacts
from finetune.testing.target_subject import TargetSubject

__all__ = ["RULES", "TargetSubject"]

RULES = (*target_artifacts.RULES, *target_answers.RULES)
"""What every target is held against."""
