"""What the model was made of, and how to make it again."""

from __future__ import annotations

import numpy as np

from finetune.report.sections.provenance import provenance

from .conftest import Made, said, table


def test_data_weights_and_plugins_have_their_licences_and_the_command_can_be_typed(made: Made) -> None:
    records = made("single-label", np.eye(3), [0, 1, 2])

    blocks = list(provenance(records))

    assert table(blocks, "What the model was made of").rows == (
        ("data", "insects & <b>more</b>", "CC0-1.0", "drawn"),
        ("weights", "none", "Apache-2.0", "tiny"),
        ("plugin, for callback x", "some 2.0", "MIT", "a disk"),
    )
    assert table(blocks, "Versions").rows == (("python", "3.11"),)
    assert said(blocks) == [f"To repeat the run: finetune run --config '{records.run}/config.toml'"]


def test_pictures_that_were_left_out_are_counted(made: Made) -> None:
    found = dict(table(provenance(made("single-label", np.eye(3), [0, 1, 2])), "How to recognise it").rows)

    assert found["pictures left out"] == "0 refused, 0 of other formats"
    assert found["sha256 of the weights it began with"] == "none"
