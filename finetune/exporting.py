"""Export to every target asked for; an artifact gets its final name only after its answers were compared."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.errors import ModelError, PluginError
from finetune.evaluating import Scores, scores_of
from finetune.plugins import blaming, load_function
from finetune.preparation import Job
from finetune.report import ANSWERS, METRICS, MODEL_CARD, REPORT
from finetune.run_folder import (
    CONFIG,
    DATA,
    HEAT_MAPS,
    HISTORY,
    LABEL_ERRORS,
    LOCK,
    PICTURE_MAP,
    RATE_CURVE,
    SPLIT,
    STATUS,
    VERIFICATION,
    VERSIONS,
    WEIGHTS,
    RunFolder,
)
from finetune.training.objective import Objective
from finetune.types import Artifact, ExportRequest, ExportTarget, Reporter, Verification
from finetune.verification import verify
from finetune_export import Contract, Predictor

_OWN_FOLDERS = ("checkpoints", "callbacks")
RECORDS = frozenset(
    (
        STATUS,
        CONFIG,
        VERSIONS,
        DATA,
        SPLIT,
        HISTORY,
        WEIGHTS,
        METRICS,
        ANSWERS,
        REPORT,
        MODEL_CARD,
        VERIFICATION,
        RATE_CURVE,
        LABEL_ERRORS,
        HEAT_MAPS,
        PICTURE_MAP,
        LOCK,
        *_OWN_FOLDERS,
    )
)
"""What a run has written about itself: no artifact, whatever else says so."""


@dataclass(frozen=True, kw_only=True)
class Export:
    """A verified artifact in its place."""

    path: Path
    verification: Verification


def score_test_part(
    export: Export, job: Job, objective: Objective, contract: Contract, reporter: Reporter
) -> Scores | None:
    """Return how good the exported file's answers to the test part are; None where there is none.

    Nothing was chosen by these pictures: they are looked at once, at the very end.
    """
    if not job.split.test:
        return None
    reporter.begin("Scoring the test part")
    answers = Predictor(export.path).answers([example.path for example in job.split.test])
    reporter.end()
    targets = objective.targets(job.split.test)
    scores = scores_of(objective, answers, targets, contract.thresholds, job.config.seed)
    for note in scores.notes:
        reporter.note(note)
    return scores


def export_and_verify(
    folder: RunFolder, job: Job, contract: Contract, reference: NDArray[np.float32], reporter: Reporter
) -> dict[str, Export]:
    """Return the verified exports by target, ``onnx`` first; all results are in the run folder.

    ``reference`` holds the trained network's answers to the validation pictures, float32 (N, K). Raises
    ``ModelError`` at the first artifact that answers differently; it stays under a name that says it failed.
    """
    clear_exports(folder)
    exports: dict[str, Export] = {}
    for name in dict.fromkeys(("onnx", *job.config.target)):
        target = job.intent.plugins.find_target(name)
        judge = partial(_judge, target=target, job=job, contract=contract, reference=reference)
        with folder.staging() as staging:
            reporter.begin(f"Exporting to {name}")
            request = ExportRequest(
                network=job.network.cpu().eval(),
                contract=contract,
                folder=staging,
                onnx=exports["onnx"].path if exports else None,
                training_images=tuple(example.path for example in job.split.train),
                judge=judge,
                note=reporter.note,
            )
            artifact = _export(target, request)
            _refuse_misplaced(artifact, target, staging, folder)
            reporter.begin(f"Verifying {artifact.path.name}")
            with blaming(f"The target '{name}'"):
                verification = judge(artifact)
            reporter.end()
            exports[name] = _settle(folder, artifact, verification, [*exports.values()])
    return exports


def clear_exports(folder: RunFolder) -> None:
    """Remove what an earlier attempt at this run exported before it was stopped."""
    try:
        verified = json.loads((folder / VERIFICATION).read_text(encoding="utf-8"))
        names = [each["file"] for each in verified]
    except (OSError, ValueError, TypeError, KeyError):  # none, or damaged: then nothing had its name yet
        return
    for artifact in (folder / name for name in names if _is_name_of_an_artifact(name)):
        if artifact.is_dir():
            shutil.rmtree(artifact)
        else:
            artifact.unlink(missing_ok=True)


def _is_name_of_an_artifact(name: object) -> bool:
    """Whether it names one entry of the run's folder that is none of its records: a file says so, and may be forged."""
    is_entry = isinstance(name, str) and name not in ("", ".", "..") and Path(name).name == name
    return is_entry and name not in RECORDS


def _judge(
    artifact: Artifact, *, target: ExportTarget, job: Job, contract: Contract, reference: NDArray[np.float32]
) -> Verification:
    pictures = [example.path for example in job.split.valid]
    return verify(artifact, target, pictures, job.valid_targets, reference, contract, job.config.max_drop)


def _export(target: ExportTarget, request: ExportRequest) -> Artifact:
    what = f"The target '{target.name}'"
    export = load_function(target.export, what)
    with blaming(what):
        artifact = export(request)
    if not isinstance(artifact, Artifact):
        raise PluginError(f"{what} is broken: {target.export} returned {type(artifact).__name__} instead of Artifact.")
    return artifact


def _refuse_misplaced(artifact: Artifact, target: ExportTarget, staging: Path, folder: RunFolder) -> None:
    """Refuse what would be left behind, or would overwrite a file of the run's."""
    path = artifact.path
    if path.parent != staging or not path.exists() or (folder / path.name).exists() or path.name in RECORDS:
        raise PluginError(
            f"The target '{target.name}' is broken: its artifact is {path}; it has to write one new file or folder "
            f"into {staging}, under a name that the run's folder does not have yet."
        )


def _settle(folder: RunFolder, artifact: Artifact, verification: Verification, before: Sequence[Export]) -> Export:
    """Record the verification and give the artifact its final name, or the one that says it failed."""
    name = artifact.path.name
    final = folder / (name if verification.passed else f"{artifact.path.stem}.failed{artifact.path.suffix}")
    folder.write_json(VERIFICATION, [export.verification for export in before] + [verification])
    artifact.path.replace(final)
    if not verification.passed:
        raise ModelError(_refusal(name, verification, final, folder))
    return Export(path=final, verification=verification)


def _refusal(name: str, found: Verification, final: Path, folder: RunFolder) -> str:
    """Return what to tell of an artifact that failed: other answers are our fault, lost accuracy is the price."""
    problems = "; ".join(found.problems)
    if found.max_drop_allowed is None:
        report = f"please report this with {folder / VERIFICATION}"
        return f"{name} answers differently from the trained network: {problems}. It was left as {final}; {report}."
    return f"{name} is refused: {problems}. It was left as {final}; allow more with --max-drop, or deploy model.onnx."
