"""What a finished run has to publish: its model, looked at once more, and what belongs with it.

A run's records are believed only as far as they can be held against the model itself: its graph and its contract have
their hashes inside, and its golden pairs their answers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetune import run_folder
from finetune.errors import ConfigError, ModelError
from finetune_export import Contract, Predictor

OURS = "finetune.onnx"
"""What the self-describing file is called on the hub: not ``model.onnx``, which other tools take for theirs."""
CARD = "README.md"
TARGET = "hf"
"""The target, and the folder that it writes."""
_FAILED = "*.failed*"


@dataclass(frozen=True, kw_only=True)
class Finished:
    """A finished run whose model is as it was verified.

    ``files`` are those that go up, by their names on the hub, without the card; ``folder`` is what the target ``hf``
    wrote, None where the run has none. ``verification`` is the model's proof as the run recorded it, ``tested`` the
    metrics on the test part.
    """

    run: Path
    contract: Contract
    files: Mapping[str, Path]
    folder: Path | None
    verification: Mapping[str, Any]
    tested: Mapping[str, float]


def finished(run: Path) -> Finished:
    """Return what there is to publish of the run in a folder.

    Raises ``ConfigError`` for a folder whose run is not done, and ``ModelError`` for a model that did not pass its
    verification, or that is no longer the one that did.
    """
    status = _record(run, run_folder.STATUS, "status", "id")
    proofs = {proof["target"]: proof for proof in _proofs(run, status)}
    model = run / run_folder.MODEL
    contract = Predictor(model).contract
    if contract.run_id != status["id"]:
        raise ModelError(f"{model} was made by the run {contract.run_id}, and {run} holds the run {status['id']}.")
    folder = run / TARGET if TARGET in proofs else None
    return Finished(
        run=run,
        contract=contract,
        files=_in_folder(folder, model, contract) if folder else {OURS: model},
        folder=folder,
        verification=proofs["onnx"],
        tested=status.get("result", {}).get("test_scores", {}),
    )


def _in_folder(folder: Path, model: Path, contract: Contract) -> Mapping[str, Path]:
    from finetune_hf.folder import checked_files  # which needs torch, to say what the graph for others answers

    return checked_files(folder, model, contract)


def _proofs(run: Path, status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what was found of each artifact, all of which passed."""
    proofs: list[dict[str, Any]] = []
    if (run / run_folder.VERIFICATION).is_file():
        proofs = _record(run, run_folder.VERIFICATION, "target", "file", "problems")
    for proof in proofs:
        if proof["problems"]:
            raise ModelError(f"{proof['file']} of {run} failed its verification: {'; '.join(proof['problems'])}.")
    if failed := sorted(path.name for path in run.glob(_FAILED)):
        raise ModelError(f"{run} holds {failed[0]}, which failed its verification. Publish a run without.")
    if status["status"] != "done":
        raise ConfigError(
            f"{run} is not done: it is {status['status']}. Finish it with 'finetune run --resume {run}', then publish."
        )
    if "onnx" not in {proof["target"] for proof in proofs}:
        raise ModelError(f"{run} has no proof of its model in {run_folder.VERIFICATION}. Publish a run that has.")
    return proofs


def _record(run: Path, name: str, *keys: str) -> Any:
    """Return a record of the run, or a list of records, with these keys; raise ``ConfigError`` where there is none."""
    try:
        found = json.loads((run / name).read_text(encoding="utf-8"))
        for record in found if isinstance(found, list) else [found]:
            _ = [record[key] for key in keys]
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"{run} is no run's folder: it has no {name}. Name the folder that the run was written to."
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(f"{run / name} is damaged. Publish another run.") from error
    return found
