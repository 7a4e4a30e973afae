"""Callbacks are tried in a tiny training, sections with the records of real runs; each fault is found by its rule."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from finetune.testing import Case, Finding, checks_of

pytestmark = pytest.mark.slow

COACH = Path(__file__).parent / "broken" / "finetune_coach"
CALLBACK, SECTION = "finetune.types.TrainingCallback", "finetune.types.ReportSection"
LOSS = '        with self.file.open("a") as file:'
SAID = '    said = f"{'


@pytest.fixture
def findings(install: Callable[..., Path]) -> Callable[..., dict[str, Finding]]:
    """Install the plugin with an edit, and return what comes of the rules for one kind of thing."""

    def found(kind: str, edits: dict[str, tuple[str, str]] | None = None) -> dict[str, Finding]:
        install(edits, COACH, "coach")
        checks = [check for check in checks_of(Case(plugin="coach")) if check.rule.kind == kind]
        return {check.rule.name: check.run() for check in checks}

    return found


@pytest.mark.parametrize("kind", ["callback", "section"])
def test_what_keeps_every_rule_is_found_to(kind: str, findings: Callable[..., dict[str, Finding]]) -> None:
    assert {finding.message or finding.verdict for finding in findings(kind).values()} == {"ok"}


def test_a_callback_that_draws_random_numbers_is_found_and_weights_that_differ(
    findings: Callable[..., dict[str, Finding]],
) -> None:
    drawing = (
        "        import os, random\n        random.random()\n"
        "        self.learn.loss_grad = self.learn.loss_grad * (1 + os.urandom(1)[0])\n"
    )

    found = findings("callback", {"calling.py": (LOSS, f"{drawing}{LOSS}")})

    assert found["takes-part"].verdict == "ok"
    assert found["leaves-chance-alone"].message == (
        "callback 'coach' breaks the rule 'leaves-chance-alone': expected that the random numbers of others are left "
        f"as they are; found that it draws or seeds them in after_loss. Read: python -m pydoc {CALLBACK}"
    )
    assert found["trains-the-same-twice"].message.startswith(
        "callback 'coach' breaks the rule 'trains-the-same-twice': expected the same weights for the same seed; found"
    )


def test_a_callback_that_breaks_is_told_and_the_rest_is_not_checked(
    findings: Callable[..., dict[str, Finding]],
) -> None:
    found = findings("callback", {"calling.py": ("return Coach(request)", "return str(request)")})

    assert found.pop("takes-part").message == (
        "callback 'coach' breaks the rule 'takes-part': expected a Callback of fastai's, with which a training comes "
        "to its end; found The callback 'coach' is broken: its build function returned str instead of a Callback of "
        f"fastai's. Read: python -m pydoc {CALLBACK}"
    )
    untried = "a training with it did not end; see the rule 'takes-part'"
    assert {(finding.verdict, finding.message) for finding in found.values()} == {("not checked", untried)}


@pytest.mark.parametrize(
    ("rule", "edit", "said"),
    [
        (
            "builds-blocks",
            ('(row["epoch"], row["phase"])', '(row["epoch"],)'),
            "expected blocks that a page can show, or none; found of a run of single-label: The section 'coach' "
            "(finetune-coach 1.2) is broken: a row of a table has other columns than the 2 of its header.",
        ),
        (
            "builds-blocks",
            (SAID, f'    if records.task == "multi-label":\n        raise SystemExit(0)\n{SAID}'),
            "expected blocks that a page can show, or none; found of a run of multi-label: The section 'coach' "
            "(finetune-coach 1.2) failed: SystemExit: 0. FINETUNE_DEBUG=1 shows where.",
        ),
        (
            "is-the-same-again",
            (
                SAID,
                f"    import os; os.environ['TURN'] += '|'\n{SAID}len(os.environ['TURN'])}} {{",
            ),
            "expected the same blocks for the same records; found others the second time, of a run of single-label.",
        ),
        (
            "changes-nothing",
            (SAID, f"    (records.run / 'coach.txt').write_text('x')\n{SAID}"),
            "expected that the run's folder is left as it is; found that it changes coach.txt.",
        ),
    ],
    ids=["row", "task", "turn", "file"],
)
def test_a_fault_of_a_section_is_found(
    rule: str,
    edit: tuple[str, str],
    said: str,
    findings: Callable[..., dict[str, Finding]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("TURN", "")

    found = findings("section", {"telling.py": edit})[rule]

    assert found.message == f"section 'coach' breaks the rule '{rule}': {said} Read: python -m pydoc {SECTION}"
