"""What a finished run has to publish: its model, looked at once more, and what belongs with it.

A run's records are believed only as far as they can be held against the model itself: its graph and its contract have
their hashes inside, and its golden pairs their answers.
"""

from __future__ import annotations

import json
import shlex
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
_PROOF: Mapping[str, Any] = {"target": str, "file": str, "problems": list}
_MEASURED: Mapping[str, Any] = {"compared": int, "agreement": int | float, "max_difference": int | float}


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
    status = _record(run, run_folder.STATUS, dict)
    _check_kinds(run / run_folder.STATUS, status, {"status": str, "id": str})
    proofs = {proof["target"]: proof for proof in _proofs(run, status)}
    model = run / run_folder.MODEL
    contract = Predictor(model).contract
    if contract.run_id != status["id"]:
        raise ModelError(f"{model} was made by the run {contract.run_id}, and {run} holds the run {status['id']}.")
    _check_kinds(run / run_folder.VERIFICATION, proofs["onnx"], _MEASURED)
    folder = run / TARGET if TARGET in proofs else None
    return Finished(
        run=run,
        contract=contract,
        files=_in_folder(folder, model, contract) if folder else {OURS: model},
        folder=folder,
        verification=proofs["onnx"],
        tested=_tested(run, status),
    )


def _in_folder(folder: Path, model: Path, contract: Contract) -> Mapping[str, Path]:
    from finetune_hf.folder import checked_files  # which needs torch, to say what the graph for others answers

    return checked_files(folder, model, contract)


def _proofs(run: Path, status: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return what was found of each artifact, all of which passed."""
    there = (run / run_folder.VERIFICATION).is_file()
    proofs: list[dict[str, Any]] = _record(run, run_folder.VERIFICATION, list) if there else []
    for proof in proofs:
        _check_kinds(run / run_folder.VERIFICATION, proof, _PROOF)
        if proof["problems"]:
            said = "; ".join(map(str, proof["problems"]))
            raise ModelError(f"{proof['file']} of {run} failed its verification: {said}.")
    if failed := sorted(path.name for path in run.glob(_FAILED)):
        raise ModelError(f"{run} holds {failed[0]}, which failed its verification. Publish a run without.")
    if status["status"] != "done":
        raise ConfigError(
            f"{run} is not done: it is {status['status']}. Finish it, then publish; the command is: finetune run "
            f"--resume {shlex.quote(str(run))}"
        )
    if "onnx" not in {proof["target"] for proof in proofs}:
        raise ModelError(f"{run} has no proof of its model in {run_folder.VERIFICATION}. Publish a run that has.")
    return proofs


def _tested(run: Path, status: Mapping[str, Any]) -> Mapping[str, float]:
    """Return the metrics on the test part that are numbers; {} where the run had none."""
    result = status.get("result", {})
    scores = result.get("test_scores", {}) if isinstance(result, dict) else None
    if not isinstance(scores, dict):
        raise damaged(run / run_folder.STATUS)
    return {name: value for name, value in scores.items() if isinstance(value, int | float)}


def _record(run: Path, name: str, kind: type) -> Any:
    """Return a record of the run, a mapping or a list; raise ``ConfigError`` where there is none."""
    try:
        found = json.loads((run / name).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError) as error:
        raise ConfigError(
            f"{run} is no run's folder: it has no {name}. Name the folder that the run was written to."
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        raise damaged(run / name) from error
    if not isinstance(found, kind):
        raise damaged(run / name)
    return found


def _check_kinds(path: Path, record: object, kinds: Mapping[str, Any]) -> None:
    """Refuse a record that is no mapping with these keys, or has something else at one of them."""
    if not isinstance(record, dict) or not all(isinstance(record.get(key), kind) for key, kind in kinds.items()):
        raise damaged(path)


def damaged(path: Path) -> ConfigError:
    """Return the error that says that a record of a run cannot be read."""
    return ConfigError(f"{path} is damaged. Publish another run.")
