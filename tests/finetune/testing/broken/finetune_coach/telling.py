"""The section ``coach``."""

from finetune.types import Block, Paragraph, RunRecords, Table


def build(records: RunRecords) -> list[Block]:
    """Return how many pictures the run answered to, and its epochs."""
    rows = tuple((row["epoch"], row["phase"]) for row in records.history)
    said = f"{len(records.answers)} pictures of {len(records.labels)} labels."
    return [Paragraph(said), Table(("epoch", "phase"), rows)]
