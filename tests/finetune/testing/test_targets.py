"""The rules for targets: the project's own keep them, and each deliberately broken one is told what it broke."""

from __future__ import annotations

import random
import re
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from finetune.plugins import Plugins, load_plugins
from finetune.testing.rules import Case, Check, Finding, Rule
from finetune.testing.target_training import trained
from finetune.testing.targets import RULES, TargetSubject
from finetune.types import ExportTarget

CASE = Case(plugin="copy")
BY_NAME = {rule.name: rule for rule in RULES}
ON_OTHER_TASKS = ("agrees-on-multi-label", "agrees-on-regression")
OF_ONE_TASK = tuple(rule for rule in RULES if rule.name not in ON_OTHER_TASKS)


@pytest.fixture(scope="module", autouse=True)
def broken() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parent))
        yield
    for name in [name for name in sys.modules if name.partition(".")[0] == "broken"]:
        del sys.modules[name]


@pytest.fixture(scope="module")
def plugins() -> Plugins:
    return load_plugins()


def copying(export: str = "sound", **facts: object) -> ExportTarget:
    from broken.targets import SOUND  # type: ignore[import-not-found]

    return replace(SOUND, export=f"broken.targets:{export}", **facts)


def found(rule: str, target: ExportTarget, plugins: Plugins) -> Finding:
    thing = TargetSubject(target, plugins, CASE)
    return Check(rule=BY_NAME[rule], subject=f"target '{target.name}'", thing=thing).run()


# ── what is sound ───────────────────────────────────────────────────────────────────────────────────


def held_against(rules: tuple[Rule, ...], target: ExportTarget, plugins: Plugins) -> list[str]:
    subject = TargetSubject(target, plugins, CASE)
    findings = [Check(rule=rule, subject=target.name, thing=subject).run() for rule in rules]
    return [f"{finding.rule} {finding.verdict}: {finding.message}" for finding in findings if finding.verdict != "ok"]


@pytest.mark.parametrize("export", ["sound", "in_a_folder"])
def test_a_sound_target_keeps_every_rule(export: str, plugins: Plugins) -> None:
    assert held_against(OF_ONE_TASK, copying(export), plugins) == []


@pytest.mark.parametrize("name", ["int8", "fp16", "triton", "web"])
def test_the_projects_own_targets_keep_every_rule(name: str, plugins: Plugins) -> None:
    assert held_against(OF_ONE_TASK, plugins.find_target(name), plugins) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", ["onnx", "int8", "fp16", "triton", "web", "hf"])
def test_the_projects_own_targets_keep_every_rule_for_every_task(name: str, plugins: Plugins) -> None:
    assert held_against(RULES, plugins.find_target(name), plugins) == []


def test_the_model_that_targets_are_tried_on_has_learnt_its_colours(plugins: Plugins) -> None:
    model = trained("single-label")
    answers = model.reference(model.network(plugins))
    assert (answers.argmax(axis=1) == model.targets).all()
    assert np.sort(answers, axis=1)[:, -2].max() < 0.5, "it is sure enough for small differences not to matter"
    assert len(model.valid) > 16
    assert len(model.valid) % 16


def test_libraries_that_a_target_imports_in_its_function_may_change_the_process(
    plugins: Plugins, restored: None
) -> None:
    assert found("leaves-the-process-alone", copying("importing"), plugins).message == ""


def test_trying_a_target_leaves_the_process_as_it_was(plugins: Plugins) -> None:
    state, numbers, folder = random.getstate(), np.random.get_state()[1].tobytes(), Path.cwd()
    found("exports", copying("seeding"), plugins)
    assert random.getstate() == state
    assert np.random.get_state()[1].tobytes() == numbers
    assert Path.cwd() == folder


# ── what is broken ──────────────────────────────────────────────────────────────────────────────────

REQUEST, ARTIFACT, TARGET = "finetune.types.ExportRequest", "finetune.types.Artifact", "finetune.types.ExportTarget"
FACTS = "judged_by 'answers' or 'metric', min_agreement from 0 to 1, and a finite max_difference from 0 on"
EXPORTS = "an Artifact of a small trained model, without a network"
ONE_THING = "one file or folder in the folder that it was given, and nothing elsewhere"
INPUTS = "that it changes neither request.onnx nor the training pictures"
NETWORK = "that it changes nothing about request.network"
CONTRACT = "the model's contract in the artifact, but for its precision, graph_sha256 and metrics"
ANSWERS = "answers float32 (N, K) for N picture files and K labels, one picture or many"
PROBABLE = "probabilities from 0 to 1 which, of single labels, add up to 1"
ALONE = "answers for a picture that do not depend on the others that are asked for with it"
AGREES = "answers that agree with the trained network's, as the target's own facts say"
WITHOUT = "write request.contract.to_json() to contract.json in the folder"

BROKEN = {
    "failing": ("exports", EXPORTS, "RuntimeError: no compiler", REQUEST),
    "exiting": ("exports", EXPORTS, "SystemExit: 0", REQUEST),
    "returning_a_path": ("exports", EXPORTS, f"{type(Path()).__name__}", REQUEST),
    "downloading": ("exports", EXPORTS, "that it asks for compiler.example.org", REQUEST),
    "writing_twice": ("writes-one-thing", ONE_THING, "'notes.txt' beside 'copy.onnx'", REQUEST),
    "writing_elsewhere": (
        *("writes-one-thing", ONE_THING),
        *("'working folder/calibration.cache', written elsewhere", REQUEST),
    ),
    "misplacing": ("writes-one-thing", ONE_THING, "'FOLDER/deep/copy.onnx'", REQUEST),
    "touching": ("leaves-its-inputs-alone", INPUTS, "that it changes model.onnx", REQUEST),
    "training": ("leaves-the-network-alone", NETWORK, "that it changes the mode of ''", REQUEST),
    "rounding": (
        *("leaves-the-network-alone", NETWORK),
        *("that it changes the tensor 'head.classifier.2.weight'", REQUEST),
    ),
    "seeding": (
        *("leaves-the-process-alone", "that it changes nothing in the process"),
        *("that it changes the state of random, the state of numpy.random", "finetune.testing.surroundings"),
    ),
    "deaf": (
        *("leaves-the-process-alone", "that it changes nothing in the process"),
        *("that it changes the handler of SIGUSR1", "finetune.testing.surroundings"),
    ),
    "talking": (
        *("prints-nothing", "that it prints nothing to stdout; request.note is for what people should know"),
        *("'Converting … done'", REQUEST),
    ),
    "forgetful": (
        *("carries-its-contract", CONTRACT),
        "none (copy.onnx: metadata key 'finetune.contract' is missing; only models that finetune exported can be run); "
        + WITHOUT,
        "finetune_export.contract",
    ),
    "in_a_folder_without_contract": (
        *("carries-its-contract", CONTRACT),
        f"none (compiled: a folder with 0 models; give the .onnx file itself); {WITHOUT}",
        "finetune_export.contract",
    ),
    "renaming": (
        *("carries-its-contract", CONTRACT),
        "labels ('a', 'b', 'c', 'd') in place of ('blue', 'green', 'red', 'violet')",
        "finetune_export.contract",
    ),
    "bound_to_its_place": (
        *("can-be-moved", "an artifact that does not depend on where it was written"),
        *("the folder that it was written into, named in manifest.json", REQUEST),
    ),
    "different_each_time": (
        *("exports-the-same-again", "the same answers from a second export of the same model"),
        *("other answers from the second artifact", ARTIFACT),
    ),
    "answering_no_more": ("answers", ANSWERS, "SystemExit: 0 for 20 pictures", ARTIFACT),
    "doubling": ("answers", ANSWERS, "float64 (20, 4) for 20 pictures", ARTIFACT),
    "forgetting_one": ("answers", ANSWERS, "float32 (19, 4) for 20 pictures", ARTIFACT),
    "of_full_batches": ("answers", ANSWERS, "ValueError: a batch of 1 for 1 picture", ARTIFACT),
    "not_a_number": ("gives-probabilities", PROBABLE, "numbers that are not finite", ARTIFACT),
    "unsure": ("gives-probabilities", PROBABLE, "a sum that misses 1 by 0.5", ARTIFACT),
    "drifting": (
        *("says-the-same-twice", "the same answers for the same pictures"),
        *("other answers the second time", ARTIFACT),
    ),
}


@pytest.mark.parametrize("export", BROKEN)
def test_a_target_that_breaks_a_rule_is_told_which_and_how(export: str, plugins: Plugins) -> None:
    rule, expected, what, read = BROKEN[export]
    finding = found(rule, copying(export), plugins)
    assert finding.verdict == "failed"
    assert finding.message == (
        f"target 'copy' breaks the rule '{rule}': expected {expected}; found {what}. Read: python -m pydoc {read}"
    )


@pytest.mark.parametrize(
    ("facts", "what"),
    [
        ({"judged_by": "eye"}, "judged_by='eye'"),
        ({"min_agreement": 90}, "min_agreement=90"),
        ({"max_difference": float("inf")}, "max_difference=inf"),
    ],
    ids=["judged by eye", "agreement in percent", "any difference"],
)
def test_facts_that_decide_nothing_are_refused(facts: dict[str, object], what: str, plugins: Plugins) -> None:
    assert found("states-its-facts", copying(**facts), plugins).message == (
        f"target 'copy' breaks the rule 'states-its-facts': expected {FACTS}; found {what}. "
        f"Read: python -m pydoc {TARGET}"
    )


SWAPPED = r"the same answer on 0\.00% of the pictures, at least 100\.00% is asked for; an answer differs by 0\.\d+, .*"


@pytest.mark.parametrize(
    ("export", "facts", "rule", "expected", "what", "read"),
    [
        ("swapping", {}, "agrees-on-single-label", AGREES, SWAPPED, TARGET),
        (
            *("swapping", {"judged_by": "metric"}, "agrees-on-single-label", AGREES),
            r"accuracy falls from 1\.0000 to 0\.0000, a drop of 0\.005 is allowed \(--max-drop\)",
            TARGET,
        ),
        (
            *("imprecise", {}, "agrees-on-single-label", AGREES),
            r"an answer differs by 0\.00\d+, at most 0\.0001 is allowed \(PICTURES/.*\.png\)",
            TARGET,
        ),
        (
            *("sociable", {}, "sees-each-picture-alone", ALONE),
            r"answers that differ by 0\.\d+ between one picture and 20",
            ARTIFACT,
        ),
    ],
    ids=["swapped labels", "swapped labels by the metric", "imprecise", "in company"],
)
def test_answers_of_its_own_are_told_by_how_much_they_differ(
    export: str, facts: dict[str, object], rule: str, expected: str, what: str, read: str, plugins: Plugins
) -> None:
    message = found(rule, copying(export, **facts), plugins).message
    before = re.escape(f"target 'copy' breaks the rule '{rule}': expected {expected}; found ")
    after = re.escape(f". Read: python -m pydoc {read}")
    assert re.fullmatch(before + what + after, message)


# ── what cannot be tried ────────────────────────────────────────────────────────────────────────────


def test_without_an_artifact_nothing_else_is_judged(plugins: Plugins) -> None:
    subject = TargetSubject(copying("failing"), plugins, CASE)
    findings = [Check(rule=rule, subject="it", thing=subject).run() for rule in OF_ONE_TASK]
    assert [finding.rule for finding in findings if finding.verdict == "failed"] == ["exports"]
    left_out = {finding.message for finding in findings if finding.verdict == "not checked"}
    assert left_out == {"there is no artifact; see the rule 'exports'"}


@pytest.mark.slow
def test_a_task_that_a_target_refuses_is_told_as_that(plugins: Plugins) -> None:
    finding = found("agrees-on-multi-label", copying("refusing"), plugins)
    assert finding.verdict == "not checked"
    assert finding.message == (
        "it refuses multi-label models: ConfigError: --target copy is for single labels, not for multi-label."
    )
