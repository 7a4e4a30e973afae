"""What was exported: its size, its pace, and whether it passed."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from finetune.report.sections.artifacts import artifacts
from finetune.types import RunRecords

from .conftest import Made, said, table


@pytest.fixture
def records(made: Made) -> RunRecords:
    return made("single-label", np.eye(3), [0, 1, 2])


def test_files_and_folders_are_measured_and_what_is_gone_is_not(records: RunRecords) -> None:
    (whole,) = records.verification
    (records.run / "model.onnx").write_bytes(bytes(1_500_000))
    (records.run / "web" / "deep").mkdir(parents=True)
    (records.run / "web" / "a").write_bytes(bytes(1_000_000))
    (records.run / "web" / "deep" / "b").write_bytes(bytes(250_000))
    others = (replace(whole, target="web", file="web"), replace(whole, target="int8", file="gone.onnx"))

    found = table(artifacts(replace(records, verification=(whole, *others))), "What was exported")

    assert [row[:3] for row in found.rows] == [
        ("onnx", "model.onnx", "1.50"),
        ("web", "web", "1.25"),
        ("int8", "gone.onnx", "–"),
    ]


def test_the_pace_is_the_time_of_the_verification_over_its_pictures(records: RunRecords) -> None:
    (whole,) = records.verification  # 8 pictures in 0.16 seconds
    none = replace(whole, compared=0)

    rows = table(artifacts(replace(records, verification=(whole, none))), "What was exported").rows

    assert [row[3] for row in rows] == ["20.0", "–"]


def test_what_failed_says_why_and_what_is_judged_by_its_metric_what_it_may_lose(records: RunRecords) -> None:
    (whole,) = records.verification
    lossy = replace(whole, target="int8", min_agreement=None, max_difference_allowed=None, max_drop_allowed=0.005)
    failed = replace(lossy, problems=("accuracy falls", "and more"))

    blocks = list(artifacts(replace(records, verification=(whole, failed))))

    assert [row[4] for row in table(blocks, "What was exported").rows] == ["passed", "accuracy falls; and more"]
    assert [row[-1] for row in table(blocks, "Each artifact against").rows] == [
        "100% the same, off by 0.0001",
        "to drop by 0.005",
    ]


def test_the_command_to_verify_again_can_be_typed(records: RunRecords) -> None:
    assert said(artifacts(records))[0].endswith(f"To do so again: finetune verify '{records.run}/model.onnx'")
