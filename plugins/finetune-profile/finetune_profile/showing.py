"""The section of the report: a table of where the time went, and the same as bars."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from itertools import groupby

from finetune.types import Block, RunRecords, Table
from finetune.types import Figure as Picture
from finetune_profile.record import STAGES, EpochProfile, read

SHOWN = (*STAGES, "other")
COLOURS = ("#4C72B0", "#DD8452", "#937860", "#C44E52", "#8172B3", "#2E8B57", "#B0B0B0")
FOLDER = ("callbacks", "profile")


def build(records: RunRecords) -> Iterator[Block]:
    """Show where the time went; nothing where it was not measured."""
    epochs = read(records.run.joinpath(*FOLDER))
    phases = [(phase, summed([*found])) for phase, found in groupby(epochs, key=lambda epoch: epoch.phase)]
    if not phases:
        return
    header = ("phase", "epochs", "seconds", "pictures/s", *SHOWN, "peak memory")
    caption = "Seconds of training, and the share of each stage in them"
    yield Table(header, tuple(_row(phase, found) for phase, found in phases), caption)
    largest = [f"{phase}: mostly {max(SHOWN, key=found.seconds.__getitem__)}" for phase, found in phases]
    yield Picture(_bars(phases), f"A bar for each phase, divided by where its seconds went. {'; '.join(largest)}.")


def summed(epochs: Sequence[EpochProfile]) -> EpochProfile:
    """Return all epochs of a phase as one, its ``epoch`` their number, with 'other' among the seconds."""
    seconds = {stage: sum(epoch.seconds[stage] for epoch in epochs) for stage in STAGES}
    peaks = [epoch.peak_memory_bytes for epoch in epochs if epoch.peak_memory_bytes is not None]
    return EpochProfile(
        phase=epochs[0].phase,
        epoch=len(epochs),
        pictures=sum(epoch.pictures for epoch in epochs),
        total_s=sum(epoch.total_s for epoch in epochs),
        seconds=seconds | {"other": sum(epoch.other_s for epoch in epochs)},
        peak_memory_bytes=max(peaks, default=None),
    )


def _row(phase: str, found: EpochProfile) -> tuple[str, ...]:
    total_s = max(found.total_s, 1e-9)
    shares = (f"{found.seconds[stage] / total_s:.1%}" for stage in SHOWN)
    peak = "" if found.peak_memory_bytes is None else f"{found.peak_memory_bytes / 1e6:,.0f} MB"
    return (phase, f"{found.epoch}", f"{found.total_s:.2f}", f"{found.pictures / total_s:,.0f}", *shares, peak)


def _bars(phases: Sequence[tuple[str, EpochProfile]]) -> bytes:
    """Return a PNG with a bar of seconds for each phase, divided by stage."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 1.6 + 0.5 * len(phases)), dpi=110, layout="constrained")
    axes = figure.subplots()
    names, left = [phase for phase, _ in phases], [0.0] * len(phases)
    for stage, colour in zip(SHOWN, COLOURS, strict=True):
        widths = [found.seconds[stage] for _, found in phases]
        axes.barh(names, widths, left=left, color=colour, label=stage)
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    figure.legend(loc="outside upper center", ncols=len(SHOWN), frameon=False, fontsize=8)
    picture = io.BytesIO()
    figure.savefig(picture, format="png")
    return picture.getvalue()
