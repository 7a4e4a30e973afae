"""Where a plugin is found."""

from __future__ import annotations

from importlib.metadata import Distribution, EntryPoint

from finetune.plugins.candidates import points_of, publishers


def entry_point(name: str) -> EntryPoint | None:
    """Return the entry point of a plugin, of several the one that discovery takes; None where there is none to read."""
    for distribution, _ in sorted(publishers(), key=lambda each: (each[1].name, each[1].version)):
        for point in _readable(distribution):
            if point.name == name:
                return point
    return None


def _readable(distribution: Distribution) -> list[EntryPoint]:
    """Return its entry points, none where they are damaged: discovery sets that distribution aside with the reason."""
    try:
        return points_of(distribution)
    except Exception:  # whatever the parser makes of it
        return []
