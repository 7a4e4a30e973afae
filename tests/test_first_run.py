"""The first thing that people type, without a network: it transfers, and says what from."""

from __future__ import annotations

from pathlib import Path

import finetune
from finetune.reporting import SilentReporter


class Notes(SilentReporter):
    """A reporter that remembers what it was told."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def note(self, text: str) -> None:
        self.said.append(text)


def test_the_first_run_starts_from_the_starter_and_is_right_after_three_epochs_of_a_head(tmp_path: Path) -> None:
    notes = Notes()

    result = finetune.run(plugin="dogbreeds", strategy="probe", freeze_epochs=3, out=tmp_path, reporter=notes)

    assert any("starter starts from the weights dogbreeds-resnet18_half" in note for note in notes.said)
    assert any("learned from drawn dogs of other kinds" in note for note in notes.said)
    assert (result.backbone, result.weights) == ("starter", "dogbreeds-resnet18_half")
    assert (
        result.value > 0.9
    )  # from random weights it takes twenty epochs of all layers, and more pictures, to get there
    assert result.agreement == 1
