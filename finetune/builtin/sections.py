"""The built-in sections of a run's report."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import ReportSection

SECTIONS = tuple(
    ReportSection(name=name, title=title, build=f"finetune.report.sections.{build}")
    for name, title, build in (
        ("summary", "Summary", "summary:summary"),
        ("scores", "Scores", "scores:scores"),
        ("confusion", "Confusion", "confusion:confusion"),
        ("mistakes", "Mistakes", "mistakes:mistakes"),
        ("values", "True and predicted values", "values:values"),
        ("calibration", "Calibration", "calibration:calibration"),
        ("learning-curves", "Learning curves", "curves:curves"),
        ("picture-map", "Map of the pictures", "picture_map:picture_map"),
        ("data-faults", "Faults in the data", "data_faults:data_faults"),
        ("classes", "Classes", "classes:classes"),
        ("artifacts", "Exported files", "artifacts:artifacts"),
        ("provenance", "Provenance", "provenance:provenance"),
    )
)
"""In the order of the page, which leaves out the pictures of later ones first where it has no more room."""


@hookimpl
def finetune_register_sections(register: Callable[[ReportSection], None]) -> None:
    """Offer the sections that the project brings along."""
    for section in SECTIONS:
        register(section)
