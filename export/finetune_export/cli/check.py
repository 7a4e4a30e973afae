"""``finetune-export check``: whether model files may be used on this machine."""

from __future__ import annotations

import argparse
from typing import Any

from finetune_export.cli.output import print_json, visible
from finetune_export.errors import ModelError

EXAMPLES = """examples:
  %(prog)s model.onnx
  %(prog)s models/*.onnx --json"""


def add(subparsers: Any) -> None:
    """Describe the command's options."""
    description = (
        "Check model files: that they are whole and unchanged, safe to load, fit their contract, and answer their\n"
        "golden pairs on this machine as on the day of their export. A refused one makes the exit status 4."
    )
    parser = subparsers.add_parser("check", description=description, epilog=EXAMPLES)
    parser.add_argument("models", metavar="MODEL", nargs="+", help="an .onnx file, or a folder an export target wrote")
    parser.add_argument(
        "--provider", action="append", default=[], metavar="NAME", help="onnxruntime's, repeatable [CPU]"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array")


def run(arguments: argparse.Namespace) -> int:
    """Check each model, and return 4 if one of them was refused."""
    found = [_checked(model, arguments.provider) for model in arguments.models]
    if arguments.json:
        print_json(found)
    else:
        for each in found:
            _print(each)
    return ModelError.exit_code if any(each["error"] for each in found) else 0


def _checked(model: str, providers: list[str]) -> dict[str, Any]:
    """Return what there is to say about a model; ``error`` is None if it may be used."""
    from finetune_export.predictor import Predictor

    try:
        predictor = Predictor(model, providers=providers or None)
    except ModelError as error:
        return {"model": model, "error": str(error).removeprefix(f"{model}: "), "notes": []}
    contract = predictor.contract
    return {
        "model": model,
        "error": None,
        "notes": list(predictor.notes),
        "labels": len(contract.labels),
        "precision": contract.precision,
        "graph_sha256": contract.graph_sha256,
        "providers": list(predictor.providers),
    }


def _print(found: dict[str, Any]) -> None:
    if found["error"]:
        print(visible(f"{found['model']}: refused: {found['error']}"))
        return
    facts = f"{found['labels']} labels, {found['precision']}, graph and golden pairs are right"
    print(visible(f"{found['model']}: passed: {facts}"))
    for note in found["notes"]:
        print(f"  {note}")
