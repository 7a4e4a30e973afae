"""What the plugin offers."""

from finetune.hookspecs import hookimpl
from finetune.types import ReportSection, TrainingCallback

FINETUNE_API = "1.0"


@hookimpl
def finetune_register_callbacks(register):
    """Offer ``coach``."""
    register(TrainingCallback(name="coach", summary="Writes the loss down", build="finetune_coach.calling:build"))


@hookimpl
def finetune_register_sections(register):
    """Offer ``coach``."""
    register(ReportSection(name="coach", title="What the coach says", build="finetune_coach.telling:build"))
