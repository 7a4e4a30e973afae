"""Export to every target asked for; an artifact gets its final name only after its answers were compared."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from finetune.errors import ModelError
from finetune.plugins import load_function
from finetune.preparation import Job
from finetune.run_folder import VERIFICATION, RunFolder
from finetune.types import Artifact, ExportRequest, ExportTarget, Reporter, Verification
from finetune.verification import verify
from finetune_export.contract import Contract

UNVERIFIED = ".unverified"


@dataclass(frozen=True, kw_only=True)
class Export:
    """A verified artifact in its place."""

    path: Path
    verification: Verification


def export_and_verify(
    folder: RunFolder, job: Job, contract: Contract, reference: NDArray[np.float32], reporter: Reporter
) -> dict[str, Export]:
    """Return the verified exports by target, ``onnx`` first; all results are in the run folder.

    ``reference`` holds the trained network's probabilities for the validation pictures, float32 (N, K). Raises
    ``ModelError`` at the first artifact that answers differently; it stays under a name that says it failed.
    """
    exports: dict[str, Export] = {}
    staging = folder / UNVERIFIED
    staging.mkdir()
    for name in dict.fromkeys(("onnx", *job.config.target)):
        target = job.intent.plugins.find_target(name)
        reporter.begin(f"Exporting to {name}")
        artifact = _export(target, job, contract, staging, exports["onnx"].path if exports else None)
        reporter.begin(f"Verifying {artifact.path.name}")
        pictures = [example.path for example in job.split.valid]
        verification = verify(artifact, target, pictures, job.valid_targets, reference)
        reporter.end()
        exports[name] = _settle(folder, artifact, verification, [*exports.values()])
    shutil.rmtree(staging)
    return exports


def _export(target: ExportTarget, job: Job, contract: Contract, staging: Path, onnx: Path | None) -> Artifact:
    export = load_function(target.export, f"The target '{target.name}'")
    request = ExportRequest(
        network=job.network.cpu().eval(),
        contract=contract,
        folder=staging,
        onnx=onnx,
        training_images=tuple(example.path for example in job.split.train),
    )
    return export(request)  # type: ignore[no-any-return]


def _settle(folder: RunFolder, artifact: Artifact, verification: Verification, before: Sequence[Export]) -> Export:
    """Record the verification and give the artifact its final name, or the one that says it failed."""
    name = artifact.path.name
    final = folder / (name if verification.passed else f"{artifact.path.stem}.failed{artifact.path.suffix}")
    folder.write_json(VERIFICATION, [export.verification for export in before] + [verification])
    artifact.path.replace(final)
    if not verification.passed:
        raise ModelError(
            f"{name} answers differently from the trained network: {'; '.join(verification.problems)}. "
            f"It was left as {final}; please report this with {folder / VERIFICATION}."
        )
    return Export(path=final, verification=verification)
