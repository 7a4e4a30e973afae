"""What a target writes, and what it leaves alone: one artifact that says what it is, in the folder it was given."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from math import isfinite
from pathlib import Path

import numpy as np

from finetune.errors import FinetuneError
from finetune.testing.rules import Broken, Rule
from finetune.testing.target_subject import TargetSubject
from finetune.testing.watching import changes, first_line
from finetune.types import Artifact
from finetune_export import Contract, Predictor, read_contract

CONTRACT = "contract.json"
"""What a folder without a model file of ours says of itself in, as ``Contract.from_json`` reads it."""
ITS_OWN = ("precision", "graph_sha256", "metrics")
"""What an artifact may say otherwise than the model that it was made of."""


def _states_its_facts(subject: TargetSubject) -> None:
    target = subject.target
    if target.judged_by not in ("answers", "metric"):
        raise Broken(f"judged_by={target.judged_by!r}")
    if not 0 <= target.min_agreement <= 1:
        raise Broken(f"min_agreement={target.min_agreement!r}")
    if not (isfinite(target.max_difference) and target.max_difference >= 0):
        raise Broken(f"max_difference={target.max_difference!r}")


def _exports(subject: TargetSubject) -> None:
    exported = subject.exported()
    if exported.seen.called:
        raise Broken(f"that it asks for {', '.join(exported.seen.called)}")
    if exported.problem:
        raise Broken(exported.problem)
    if not isinstance(exported.artifact, Artifact):
        raise Broken(type(exported.artifact).__name__)


def _writes_one_thing(subject: TargetSubject) -> None:
    path, exported = subject.artifact().path, subject.exported()
    if not isinstance(path, Path) or path.parent != exported.folder or not path.exists():
        raise Broken(f"{str(path).replace(str(exported.folder), 'FOLDER')!r}")
    if others := sorted(other.name for other in exported.folder.iterdir() if other != path):
        raise Broken(f"'{others[0]}' beside '{path.name}'")
    if exported.seen.left:
        raise Broken(f"'{exported.seen.left[0]}', written elsewhere")


def _leaves_its_inputs_alone(subject: TargetSubject) -> None:
    _ = subject.artifact()
    if touched := subject.exported().touched:
        raise Broken(f"that it changes {touched[0]}")


def _leaves_the_network_alone(subject: TargetSubject) -> None:
    _ = subject.artifact()
    if changed := subject.exported().network_changes:
        raise Broken(f"that it changes {changed}")


def _leaves_the_process_alone(subject: TargetSubject) -> None:
    _ = subject.artifact()
    seen, again = subject.exported().seen, subject.again.seen
    if changed := [*changes(seen, again), *(["the state of torch's random generator"] if again.drew else [])]:
        raise Broken(f"that it changes {', '.join(changed)}")


def _prints_nothing(subject: TargetSubject) -> None:
    _ = subject.artifact()
    if printed := first_line(subject.exported().seen.stdout):
        raise Broken(f"'{printed}'")


def _carries_its_contract(subject: TargetSubject) -> None:
    found, expected = asdict(_contract_of(subject.artifact().path)), asdict(subject.trained().contract)
    for name in expected:
        if found[name] != expected[name] and name not in ITS_OWN:
            raise Broken(f"{name} {found[name]!r} in place of {expected[name]!r}")


def _contract_of(path: Path) -> Contract:
    """Return what an artifact says of itself; raises ``Broken`` where it says nothing that can be read."""
    beside = path / CONTRACT
    try:
        return Contract.from_json(beside.read_text(encoding="utf-8")) if beside.is_file() else read_contract(path)
    except FinetuneError as error:
        problem = str(error).replace(str(path), path.name)
        raise Broken(f"none ({problem}); write request.contract.to_json() to {CONTRACT} in the folder") from error


def _can_be_moved(subject: TargetSubject) -> None:
    """Look for the folder that it was written into: a run moves the artifact, and so does who deploys it."""
    artifact = subject.artifact()
    staging = str(subject.exported().folder)
    for file in _files(artifact.path):
        content = file.read_bytes()
        if any(staging.encode(encoding) in content for encoding in ("utf-8", "utf-16-le")):
            raise Broken(f"the folder that it was written into, named in {file.name}")
    _open_elsewhere(artifact.path)


def _open_elsewhere(path: Path) -> None:
    """Open a copy of what finetune-export knows; what it does not know is asked only where it was written."""
    try:
        expected = Predictor(path).contract
    except FinetuneError:
        return
    with tempfile.TemporaryDirectory() as folder:
        moved = Path(folder) / path.name
        (shutil.copytree if path.is_dir() else shutil.copyfile)(path, moved)
        if Predictor(moved).contract != expected:
            raise Broken("another model at its new place")


def _files(path: Path) -> Iterator[Path]:
    return (file for file in ([path] if path.is_file() else sorted(path.rglob("*"))) if file.is_file())


def _exports_the_same_again(subject: TargetSubject) -> None:
    _ = subject.artifact()
    again = subject.again.artifact
    if not isinstance(again, Artifact):
        raise Broken("no artifact the second time")
    if not np.array_equal(again.answers(subject.trained().valid), subject.answers):
        raise Broken("other answers from the second artifact")


_rule = partial(Rule, kind="target")
_REQUEST, _ARTIFACT = "finetune.types.ExportRequest", "finetune.types.Artifact"

RULES = (
    _rule(
        name="states-its-facts",
        expects="judged_by 'answers' or 'metric', min_agreement from 0 to 1, and a finite max_difference from 0 on",
        read="finetune.types.ExportTarget",
        hold=_states_its_facts,
    ),
    _rule(
        name="exports", expects="an Artifact of a small trained model, without a network", read=_REQUEST, hold=_exports
    ),
    _rule(
        name="writes-one-thing",
        expects="one file or folder in the folder that it was given, and nothing elsewhere",
        read=_REQUEST,
        hold=_writes_one_thing,
    ),
    _rule(
        name="leaves-its-inputs-alone",
        expects="that it changes neither request.onnx nor the training pictures",
        read=_REQUEST,
        hold=_leaves_its_inputs_alone,
    ),
    _rule(
        name="leaves-the-network-alone",
        expects="that it changes nothing about request.network",
        read=_REQUEST,
        hold=_leaves_the_network_alone,
    ),
    _rule(
        name="leaves-the-process-alone",
        expects="that it changes nothing in the process",
        read="finetune.testing.surroundings",
        hold=_leaves_the_process_alone,
    ),
    _rule(
        name="prints-nothing",
        expects="that it prints nothing to stdout; request.note is for what people should know",
        read=_REQUEST,
        hold=_prints_nothing,
    ),
    _rule(
        name="carries-its-contract",
        expects="the model's contract in the artifact, but for its precision, graph_sha256 and metrics",
        read="finetune_export.contract",
        hold=_carries_its_contract,
    ),
    _rule(
        name="can-be-moved",
        expects="an artifact that does not depend on where it was written",
        read=_REQUEST,
        hold=_can_be_moved,
    ),
    _rule(
        name="exports-the-same-again",
        expects="the same answers from a second export of the same model",
        read=_ARTIFACT,
        hold=_exports_the_same_again,
    ),
)
"""What a target and its artifact are held against."""
