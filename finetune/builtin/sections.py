"""The built-in sections of a run's report."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import ReportSection

SECTIONS = (
    ReportSection(name="summary", title="Summary", build="finetune.report.results:summary"),
    ReportSection(name="scores", title="Scores", build="finetune.report.results:scores"),
    ReportSection(name="learning-curves", title="Learning curves", build="finetune.report.results:learning_curves"),
    ReportSection(name="calibration", title="Calibration", build="finetune.report.results:calibration"),
    ReportSection(name="verification", title="Verification", build="finetune.report.origins:verification"),
    ReportSection(name="provenance", title="Provenance", build="finetune.report.origins:provenance"),
)


@hookimpl
def finetune_register_sections(register: Callable[[ReportSection], None]) -> None:
    """Offer the sections that the project brings along."""
    for section in SECTIONS:
        register(section)
