"""A plugin that keeps every rule is found to keep every rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from finetune.testing import Case, checks_of

DOWNLOADS = ("takes-up-a-cut-download", "refuses-other-bytes", "compares-checksums")


def test_it_keeps_every_rule_and_all_can_be_tried_but_downloads_where_there_are_none(
    install: Callable[..., Path], case: Case
) -> None:
    install()

    findings = [check.run() for check in checks_of(case)]

    assert [finding.message for finding in findings if finding.verdict == "failed"] == []
    assert {(f.subject, f.rule, f.message) for f in findings if f.verdict == "not checked"} == {
        (f"data set 'pets' from '{source}'", rule, "it downloads nothing by way of finetune.download")
        for source in ("drawn", "copy")
        for rule in DOWNLOADS
    }
