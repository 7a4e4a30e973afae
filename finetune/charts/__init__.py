"""Charts of a run as PNG files, for light and dark pages; of matplotlib's objects alone, so without global state.

They hold no names of classes: the page beside them does, in any script. Each is five inches wide, about twice as sharp
as a screen needs, with letters that can still be read on a phone. Numbers that are not finite are left out, and a chart
of nothing is refused with ``ValueError``.
"""

from finetune.charts.learning import learning_curve
from finetune.charts.rates import rate_curve
from finetune.charts.reliability import reliability_diagram
from finetune.charts.standing import Rung, standings
from finetune.charts.style import DARK, LIGHT, Drawing, Theme
from finetune.charts.values import fit

__all__ = [
    "DARK",
    "LIGHT",
    "Drawing",
    "Rung",
    "Theme",
    "fit",
    "learning_curve",
    "rate_curve",
    "reliability_diagram",
    "standings",
]
