"""Several runs side by side: matched picture by picture, tested against the first, on one page. No torch in here."""

from finetune.report.comparison.comparing import Against, ComparedRun, Comparison
from finetune.report.comparison.making import COMPARISON, Compared, make_comparison

__all__ = ["COMPARISON", "Against", "Compared", "ComparedRun", "Comparison", "make_comparison"]
