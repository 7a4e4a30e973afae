"""The report that a run ends with: one page, ``report.html``, of what the run has written down. No torch in here."""

from finetune.report.making import REPORT, make_again, make_report
from finetune.report.model_card import MODEL_CARD
from finetune.report.reading import ANSWERS, METRICS

__all__ = ["ANSWERS", "METRICS", "MODEL_CARD", "REPORT", "make_again", "make_report"]
