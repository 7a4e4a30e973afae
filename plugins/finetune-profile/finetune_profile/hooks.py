"""What the plugin offers: a callback and a section. Light: neither fastai nor matplotlib is loaded here."""

from __future__ import annotations

from collections.abc import Callable

from finetune.hookspecs import hookimpl
from finetune.types import ReportSection, TrainingCallback

FINETUNE_API = "1.0"

PROFILE = TrainingCallback(
    name="profile",
    summary="Measures where the time of training goes: data, forward, loss, backward, optimizer, validation.",
    build="finetune_profile.measuring:build",
)
SECTION = ReportSection(name="profile", title="Where the time went", build="finetune_profile.showing:build")


@hookimpl
def finetune_register_callbacks(register: Callable[[TrainingCallback], None]) -> None:
    """Offer ``profile``."""
    register(PROFILE)


@hookimpl
def finetune_register_sections(register: Callable[[ReportSection], None]) -> None:
    """Offer the section that shows what ``profile`` measured."""
    register(SECTION)
