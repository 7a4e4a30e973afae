"""``finetune predict``: what is in these pictures? Without torch."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from finetune.cli.output import print_json, print_table
from finetune.errors import ConfigError, DataError, ImageError

if TYPE_CHECKING:
    from finetune_export import Prediction


def predict(
    model: Annotated[Path, Parameter(help="The .onnx file of a run.")],
    /,
    *paths: Annotated[Path, Parameter(help="Pictures, or folders of them.")],
    top: Annotated[int, Parameter(help="How many labels to show per picture.")] = 1,
    json: Annotated[bool, Parameter(negative=(), help="Print a JSON array.")] = False,
    csv: Annotated[bool, Parameter(negative=(), help="Print CSV with a header line.")] = False,
) -> int:
    """Classify pictures with an exported model, through onnxruntime alone.

    A picture that cannot be read is reported and makes the exit status 3; the others are answered all the same.

    Examples:
      finetune predict runs/my-run/model.onnx photo.jpg
      finetune predict model.onnx holiday/ --top 3 --csv
    """
    if top < 1:
        raise ConfigError(f"--top {top} is not allowed; give a whole number of at least 1.")
    if json and csv:
        raise ConfigError("--json and --csv exclude each other; give one of them.")
    from finetune_export import Predictor

    sources = list(_pictures(paths))
    errors: list[ImageError] = []
    predictor = Predictor(model)
    for note in predictor.notes:
        print(f"finetune: {note}", file=sys.stderr)
    predictions = predictor.predict(sources, errors=errors)
    show = _show_json if json else _show_csv if csv else _show_table
    show(predictions, errors, top)
    return ImageError.exit_code if errors else 0


def _pictures(paths: tuple[Path, ...]) -> Iterator[Path]:
    from finetune_export.image import PICTURE_SUFFIXES

    if not paths:
        raise ConfigError("No pictures were given; name files or folders after the model.")
    for path in paths:
        if not path.is_dir():
            yield path
            continue
        found = sorted(p for p in path.rglob("*") if p.suffix.lower() in PICTURE_SUFFIXES and _is_wanted(p, path))
        if not found:
            raise DataError(f"The folder {path} holds no pictures; known are {', '.join(sorted(PICTURE_SUFFIXES))}.")
        yield from found


def _is_wanted(path: Path, folder: Path) -> bool:
    """Return whether a file is one that a run would read, too: no hidden one, such as macOS leaves behind."""
    return path.is_file() and not any(part.startswith(".") for part in path.relative_to(folder).parts)


def _show_table(predictions: list[Prediction], errors: list[ImageError], top: int) -> None:
    rows = [(p.source, "  ".join(f"{label} {value:.1%}" for label, value in p.top(top))) for p in predictions]
    if rows:
        print_table(rows)
    for error in errors:
        print(f"finetune: {error}", file=sys.stderr)


def _show_json(predictions: list[Prediction], errors: list[ImageError], top: int) -> None:
    answers: list[dict[str, Any]] = [
        {"path": p.source, "label": p.label, "probability": p.probability, "top": [list(pair) for pair in p.top(top)]}
        for p in predictions
    ]
    print_json(answers + [{"path": error.source, "error": error.reason} for error in errors])


def _show_csv(predictions: list[Prediction], errors: list[ImageError], top: int) -> None:
    table = csv.writer(sys.stdout, lineterminator="\n")
    table.writerow(["path", "rank", "label", "probability", "error"])
    for prediction in predictions:
        for rank, (label, value) in enumerate(prediction.top(top), 1):
            table.writerow([prediction.source, rank, label, f"{value:.6f}", ""])
    table.writerows([error.source, "", "", "", error.reason] for error in errors)
