"""Where a trained network looks: one PNG for each picture, with a heat map beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from os import PathLike, fsencode, fspath
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from finetune import run_folder
from finetune.errors import ConfigError, DataError, ImageError
from finetune.evaluation.side_by_side import is_side_by_side, side_by_side
from finetune.insights.grad_cam import heat_maps
from finetune.names import unknown_name
from finetune.networks.answering import Answering
from finetune.networks.network import Network
from finetune.reporting import SILENT
from finetune.trained_network import NEEDED, refuse_foreign_model, run_of, trained_network
from finetune.types import Reporter, Task
from finetune_export import Contract, Prediction, read_contract
from finetune_export.bulk.sources import entries
from finetune_export.contract import Preprocessing
from finetune_export.image import read_pixels

OUT = Path("explained")
SUFFIX = ".explained.png"
BATCH_SIZE = 16
LONGEST_STEM_BYTES = 200
"""So much of a picture's name is kept; with what is added, it is within the 255 bytes that file systems allow."""


@dataclass(frozen=True, kw_only=True)
class Explanation:
    """A picture, and the file that shows where the network looks.

    ``path`` is the picture as it was given or found, ``file`` the PNG. ``explains`` is the label or the value that the
    heat map is of, ``answer`` the network's for it: a probability 0..1, or by ``task`` the value in its own units.
    ``says`` are the labels that the model gives the picture, empty for a regression; ``abstains``: it would rather not
    say. ``speaks`` is false where nothing in the picture speaks for the label, so that the heat map is empty.
    """

    path: str
    file: Path
    task: Task
    explains: str
    answer: float
    says: tuple[str, ...]
    abstains: bool
    speaks: bool


def explain(
    model_or_run: Path | str,
    pictures: Sequence[str | PathLike[str]],
    *,
    label: str | None = None,
    out: Path | str = OUT,
    run: Path | str | None = None,
    reporter: Reporter = SILENT,
) -> list[Explanation]:
    """Write a PNG for each picture into the folder ``out``: what the network sees, and beside it where it looks.

    ``model_or_run`` is the folder of a run that is done, or a model that it exported, with ``run`` where that lies
    elsewhere. ``pictures`` are files, folders and patterns, as for ``predict``. The heat maps (Grad-CAM, see
    ``finetune.insights.grad_cam``) are of ``label``; by default of the most probable one of each picture, and of a
    regression's first value. The answers are the trained network's, calibrated as in the model.

    A PNG is called ``<stem>.explained.png``, with a number where that is taken, and replaces only what was written
    here before. Everything is looked at before the first is written. Raises ``ConfigError`` for a model away from its
    run, a label that it does not know, a backbone without a place for a map, and a file that is in the way,
    ``ModelError`` for a model that is damaged or of another run, ``ImageError`` and ``DataError`` for pictures that
    cannot be read, and ``ResourceError`` where the files cannot be written.
    """
    model, folder = _model_and_run(Path(model_or_run), None if run is None else Path(run))
    contract = read_contract(model)
    refuse_foreign_model(model, contract, folder)
    number = _number_of(label, contract)
    paths = _paths(pictures)
    files = _files(paths, Path(out))
    _refuse_unreadable(paths, contract.preprocessing, reporter)
    if contract.precision != "fp32":
        reporter.note(f"{model} is {contract.precision}; shown is the trained network that it was made of.")
    network = trained_network(model, contract, folder)
    found: list[Explanation] = []
    reporter.begin("Explaining", len(paths), "pictures")
    for start in range(0, len(paths), BATCH_SIZE):
        some = list(zip(paths, files, strict=True))[start : start + BATCH_SIZE]
        found += _explained(network, contract, number, some)
        reporter.advance(len(some))
    reporter.end()
    return found


# ── what is asked ───────────────────────────────────────────────────────────────────────────────────


def _model_and_run(given: Path, run: Path | None) -> tuple[Path, Path]:
    """Return the model that has the contract, and the folder of the run that has the network."""
    if not (given / run_folder.STATUS).is_file():
        read_contract(given)  # what is no model at all is told first
        if folder := run_of(given, run):
            return given, folder
        raise ConfigError(
            f"{given} has no gradients, which heat maps are made of; its run has: give --run, the folder of the run "
            "that exported it."
        )
    if run:
        raise ConfigError(f"--run {run} is for a model away from its run, and {given} is a run's folder; leave it out.")
    if missing := [name for name in (*NEEDED, run_folder.MODEL) if not (given / name).is_file()]:
        if run_folder.is_done(given):
            raise ConfigError(f"{given} has no {missing[0]} any more. Put it back, or train again.")
        raise ConfigError(
            f"{given} has no {missing[0]}: its run is not done. Go on with it: {run_folder.resuming_command(given)}"
        )
    return given / run_folder.MODEL, given


def _number_of(label: str | None, contract: Contract) -> int | None:
    """Return the number of the output to explain; None for the most probable one of each picture."""
    if label is None:
        return 0 if contract.task == "regression" else None
    if label not in contract.labels:
        raise ConfigError(unknown_name("--label", label, contract.labels))
    return contract.labels.index(label)


def _paths(pictures: Sequence[str | PathLike[str]]) -> list[str]:
    """Return the pictures that are meant, without earlier explanations of some."""
    if not pictures:
        raise ConfigError("There is no picture to explain. Name pictures, folders or patterns.")
    found = list(entries([fspath(picture) for picture in pictures]))
    if problem := next((entry for entry in found if entry.problem), None):
        raise ImageError(problem.path, problem.problem)
    paths = [entry.path for entry in found if not _is_explanation(Path(entry.path))]
    if not paths:
        raise DataError(
            "There is no picture to explain. Name a picture, a folder or a pattern; what was written here is left out."
        )
    return paths


def _refuse_unreadable(paths: Sequence[str], preprocessing: Preprocessing, reporter: Reporter) -> None:
    refused: list[ImageError] = []
    reporter.begin("Looking at the pictures", len(paths), "pictures")
    for path in paths:
        try:
            read_pixels(path, preprocessing)
        except ImageError as error:
            refused.append(error)
        reporter.advance()
    reporter.end()
    if len(refused) == 1:
        raise refused[0]
    if refused:
        raise DataError(f"{len(refused)} of {len(paths)} pictures cannot be read, first {refused[0]}. Leave them out.")


# ── the files ───────────────────────────────────────────────────────────────────────────────────────


def _files(paths: Sequence[str], out: Path) -> list[Path]:
    """Return a file for each picture, no two the same; raise ``ConfigError`` where something else is in the way."""
    if out.exists() and not out.is_dir():
        raise ConfigError(f"--out {out} is a file; give a folder.")
    files = [out / name for name in _names(paths)]
    if foreign := [file for file in files if file.exists() and not is_side_by_side(file)]:
        raise ConfigError(
            f"{foreign[0]} is there already, and 'finetune explain' did not write it. Move it, or give another --out."
        )
    return files


def _names(paths: Sequence[str]) -> Iterator[str]:
    """Yield a name for each picture; such as differ in case alone are one name on some machines."""
    taken: set[str] = set()
    for path in paths:
        stem = fsencode(Path(path).stem)[:LONGEST_STEM_BYTES].decode(errors="ignore") or "picture"
        number = 1
        while (name := stem if number == 1 else f"{stem}-{number}").casefold() in taken:
            number += 1
        taken.add(name.casefold())
        yield name + SUFFIX


def _is_explanation(path: Path) -> bool:
    return path.name.endswith(SUFFIX) and is_side_by_side(path)


# ── the work ────────────────────────────────────────────────────────────────────────────────────────


def _explained(
    network: Network, contract: Contract, number: int | None, pictures: Sequence[tuple[str, Path]]
) -> Iterator[Explanation]:
    """Write the files of a few pictures, and yield what is in them."""
    pixels = np.stack([read_pixels(path, contract.preprocessing) for path, _ in pictures])
    images = _normalised(pixels, contract.preprocessing)
    answers = _answers(network, images, contract)
    numbers = answers.argmax(axis=1) if number is None else np.full(len(answers), number)
    maps = heat_maps(network, images, torch.from_numpy(numbers))
    if maps is None:
        raise ConfigError(
            f"The backbone '{contract.backbone.name}' has no place for a heat map: nowhere in it lie all cells as in "
            "the picture. Train another one to look at; see 'finetune list backbones'."
        )
    for (path, file), seen, cells, row, one in zip(pictures, pixels, maps, answers, numbers, strict=True):
        prediction = Prediction.of(path, row, contract)
        explanation = Explanation(
            path=path,
            file=file,
            task=contract.task,
            explains=contract.labels[one],
            answer=prediction.answers[one],
            says=prediction.given,
            abstains=prediction.abstains,
            speaks=bool(cells.any()),
        )
        _write(file, side_by_side(seen, cells, _lines(explanation, prediction)))
        yield explanation


def _normalised(pixels: NDArray[np.uint8], preprocessing: Preprocessing) -> Tensor:
    """Return pixels uint8 (N, S, S, 3) as the network takes them: float32 (N, 3, S, S)."""
    mean, std = (torch.tensor(numbers).reshape(1, 3, 1, 1) for numbers in (preprocessing.mean, preprocessing.std))
    return (torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255 - mean) / std


def _answers(network: Network, images: Tensor, contract: Contract) -> NDArray[np.float32]:
    answering = Answering(contract.task, contract.calibration.temperature, contract.scaling)
    with torch.inference_mode():
        answers: NDArray[np.float32] = answering(network(images)).numpy()
    return answers


def _lines(explanation: Explanation, prediction: Prediction) -> list[str]:
    """Return what is said below the pictures: the file's name, what the model says, and what is bright."""
    label = explanation.explains
    does = "raises" if prediction.task == "regression" else "speaks for"
    is_said = label in explanation.says or prediction.task == "regression"
    named = f"'{label}'" if is_said else f"'{label}' ({explanation.answer:.1%})"
    seen = f"Bright: what {does} {named}." if explanation.speaks else f"Nothing in the picture {does} {named}."
    return [Path(explanation.path).name, _said(prediction), seen]


def _said(prediction: Prediction) -> str:
    """Return what the model says of a picture, in a line."""
    if prediction.task == "regression":
        return ", ".join(f"{name} {value:.6g}" for name, value in prediction.values.items())
    probabilities = dict(zip(prediction.labels, prediction.answers, strict=True))
    given = ", ".join(f"{label} {probabilities[label]:.1%}" for label in prediction.given)
    if prediction.abstains:
        return f"{given}, too little for the model to say so"
    return given or "no label reaches its threshold"


def _write(file: Path, png: bytes) -> None:
    with run_folder.writing(file):
        file.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write(file, png)
