"""From a trained network to a weight record: rounded, measured as it is in the file, written, and read back as a proof.

Shapes: ``N`` pictures, ``K`` labels.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune import records, run_folder
from finetune.config import FIELDS, PATHS, flag
from finetune.errors import ModelError
from finetune.evaluating import Evaluation, Scores, evaluate, scores_of
from finetune.networks.network import HEAD_PREFIX, Network
from finetune.networks.weight_files import in_half_precision, read_state, record_bytes
from finetune.preparation import Job, build_network
from finetune.run_folder import RunFolder
from finetune.training.journal import Outcome
from finetune.training.objective import Objective
from finetune.training.trainer import Trainer, pictures_of
from finetune.types import Example, Reporter, WeightRecord
from finetune.weight_record import read_record

MOST_LOST = 0.005
"""How much of the headline metric half precision may cost; of few pictures, as much as the answer to one."""
TOLERANCE = 1e-6
"""How far the answers of the file that is read back may be from those that were measured: a few roundings."""


def rounded(folder: RunFolder, job: Job, trainer: Trainer, outcome: Outcome) -> tuple[float, Evaluation]:
    """Round the trained network to half precision, in place, and return how good it is then.

    The number is the headline metric in full precision. Raises ``ModelError`` where rounding costs more of it than is
    allowed, or is not possible.
    """
    whole = evaluate(trainer, job.config, outcome.temperature).scores
    in_half_precision(job.network)
    evaluation = evaluate(trainer, job.config, outcome.temperature)
    before, after = whole.values[whole.headline], evaluation.scores.values.get(whole.headline, math.nan)
    allowed = max(MOST_LOST, 1 / whole.pictures)
    if not before - after <= allowed:
        raise ModelError(
            f"Half precision costs too much: {whole.headline} is {before:.4f} in full precision and {after:.4f} as the "
            f"record would hold it, and {allowed:.4f} may be lost. The network in full precision is "
            f"{folder / run_folder.WEIGHTS}; train with a lower --lr, or a higher --weight-decay."
        )
    return before, evaluation


def record_of(job: Job, evaluation: Evaluation, licence: str, command: str) -> WeightRecord:
    """Return what is to be said of a trained network; its hash is of the file, and comes with it."""
    backbone, dataset, seen = job.intent.backbone, job.dataset, job.preprocessing
    owner = job.intent.plugins.owner("backbone", backbone.name)
    owners = (owner, job.intent.plugins.owner("dataset", job.intent.spec.name))
    return WeightRecord(
        name=job.name,
        architecture=backbone.name,
        offered_by=owner.distribution,
        family=backbone.family,
        parameters=backbone.parameters,
        image_size_px=seen.image_size_px,
        min_image_size_px=backbone.min_image_size_px,
        image_size_multiple_px=backbone.image_size_multiple_px,
        crop_fraction=seen.crop_fraction,
        mean=seen.mean,
        std=seen.std,
        task=dataset.task,
        labels=dataset.labels,
        head=job.config.head,
        dataset=dataset.name,
        source=_last_name(dataset.source) if Path(dataset.source).is_absolute() else dataset.source,
        dataset_licence=dataset.licence,
        fingerprint=job.audit.fingerprint,
        train_images=len(job.split.train),
        valid_images=len(job.split.valid),
        licence=licence,
        metrics={name: value for name, value in evaluation.scores.values.items() if math.isfinite(value)},
        command=command,
        seed=job.config.seed,
        versions={**records.versions(), **{each.distribution: each.version for each in owners}},
        sha256="",
    )


def write_record(
    folder: RunFolder, job: Job, record: WeightRecord, objective: Objective, evaluation: Evaluation, reporter: Reporter
) -> WeightRecord:
    """Write the network with its record, and return that, with its hash; the file has its name once it answers.

    Raises ``ModelError`` where what is read back answers otherwise than what was measured.
    """
    name = run_folder.RECORD
    with folder.staging() as staging:
        reporter.begin(f"Writing {name}")
        content = record_bytes(job.network, record)
        run_folder.write(staging / name, content)
        reporter.begin(f"Verifying {name}")
        answers = objective.answers(logits_of(_read_back(staging / name, job), job, job.split.valid))
        reporter.end()
        _refuse_other_answers(answers, evaluation.answers)
        (staging / name).replace(folder / name)
        run_folder.sync_folder(folder.path)
    return read_record(folder / name) or record


def _read_back(path: Path, job: Job) -> Network:
    """Return a new network with the weights of a file: the body's as a run takes them, and the head's beside them."""
    config = replace(job.config, strategy="finetune", weights=str(path))
    intent = replace(job.intent, config=config)
    network, _ = build_network(intent, len(job.dataset.labels), job.preprocessing.image_size_px)
    state = read_state(path)
    head = {key.removeprefix(HEAD_PREFIX): state[key] for key in state if key.startswith(HEAD_PREFIX)}
    network.head.load_state_dict(head)
    return network.eval()


def _refuse_other_answers(found: NDArray[np.float32], measured: NDArray[np.float32]) -> None:
    if not np.allclose(found, measured, rtol=TOLERANCE, atol=TOLERANCE):
        difference = float(np.abs(found - measured).max())
        raise ModelError(
            f"{run_folder.RECORD} answers differently from the trained network: the largest difference is "
            f"{difference:.1e}, and {TOLERANCE:g} is allowed. It was not kept; please report this."
        )


def score_test_part(job: Job, objective: Objective, evaluation: Evaluation, reporter: Reporter) -> Scores | None:
    """Return how good the rounded network is on the test part, which is looked at once; None where there is none."""
    if not job.split.test:
        return None
    reporter.begin("Scoring the test part")
    answers = objective.answers(logits_of(job.network.eval(), job, job.split.test))
    reporter.end()
    targets = objective.targets(job.split.test)
    scores = scores_of(objective, answers, targets, evaluation.thresholds, job.config.seed)
    for note in scores.notes:
        reporter.note(note)
    return scores


def logits_of(network: Network, job: Job, examples: tuple[Example, ...]) -> Tensor:
    """Return what a network says of pictures as they are deployed, in their order: float32 (N, K)."""
    pictures = pictures_of(job, examples)
    step, views = job.config.batch_size, [(index, 0) for index in range(len(examples))]  # view 0: as deployed
    with torch.no_grad():
        return torch.cat([network(pictures.images(views[i : i + step])) for i in range(0, len(views), step)])


# ── the command ─────────────────────────────────────────────────────────────────────────────────────


def command_of(options: Mapping[str, Any]) -> str:
    """Return the command that makes a record, with what was said; of paths the last name: they are of one machine."""
    ordered = sorted(options, key=lambda name: (*FIELDS, name).index(name))
    said = {name: options[name] for name in ordered if name != "out"}
    said |= {name: _last_name(str(said[name])) for name in PATHS & said.keys() if said[name] is not None}
    return shlex.join(("finetune", "pretrain", *words_of(said)))


def with_licence(command: str, licence: str) -> str:
    """Return a command of ``command_of`` as it is with this licence said, in the place of one that was."""
    begun = shlex.split(command)
    return shlex.join((*begun[: len(begun) - len(licence_in(command))], "--licence", licence))


def licence_in(command: str) -> tuple[str, ...]:
    """Return the words of a command of ``command_of`` that say the licence; none where it was not said."""
    last = shlex.split(command)[-2:]  # it comes last: no run has such an option
    return tuple(last) if last[0] == "--licence" else ()


def words_of(options: Mapping[str, Any]) -> Iterator[str]:
    """Yield options as they are typed; what has no value is left out."""
    for name, value in options.items():
        if isinstance(value, bool):
            yield flag(name if value else f"no_{name}")
        elif value is not None:
            for item in value if isinstance(value, list | tuple) else (value,):
                yield from (flag(name), str(item))


def _last_name(path: str) -> str:
    return Path(path).resolve().name
