"""Where a plugin is found."""

from __future__ import annotations

from importlib.metadata import EntryPoint, entry_points

from finetune import hookspecs


def entry_point(name: str) -> EntryPoint | None:
    """Return the entry point of a plugin, of several the one that discovery takes; None where there is none."""
    found = entry_points(group=hookspecs.PROJECT, name=name)
    return min(found, key=lambda point: point.dist.name or "" if point.dist else "", default=None)
