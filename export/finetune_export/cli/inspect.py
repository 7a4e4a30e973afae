"""``finetune-export inspect``: the contract inside a model file, readable."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING, Any

from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune_export import Contract

EXAMPLES = """examples:
  %(prog)s model.onnx
  %(prog)s model.onnx --json"""


def add(subparsers: Any) -> None:
    """Describe the command's options."""
    description = "Show what a model expects, answers and comes from, as its contract states it. Runs nothing."
    parser = subparsers.add_parser("inspect", description=description, epilog=EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="an .onnx file, or a folder that an export target wrote")
    parser.add_argument("--json", action="store_true", help="print the contract as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Print the contract of the model at ``arguments.model``."""
    from finetune_export import read_contract

    contract = read_contract(arguments.model)
    print_json(contract) if arguments.json else print_table(_rows(contract))
    return 0


def _rows(contract: Contract) -> list[tuple[str, str]]:
    p, data = contract.preprocessing, contract.dataset
    temperature = f", temperature {contract.calibration.temperature:g}"
    return [
        ("task", f"{contract.task}, {len(contract.labels)} labels"),
        *(("" if index else "labels", f"{index}  {label}") for index, label in enumerate(_labels(contract))),
        ("input", f"image: {p.dtype} (N, {p.image_size_px}, {p.image_size_px}, 3), {p.layout}, {p.colour_order}"),
        ("pictures", f"EXIF orientation {p.exif_orientation}, {p.animation}, alpha {p.alpha}, 16 bit {p.sixteen_bit}"),
        ("resize", f"{p.crop} of {p.crop_fraction:g} of the shorter side, {p.resize_filter}, to {p.image_size_px} px"),
        ("in the graph", f"mean {_numbers(p.mean)}, std {_numbers(p.std)} on 0..1{temperature}, softmax"),
        ("precision", contract.precision),
        ("metrics", ", ".join(f"{name} {value:.4f}" for name, value in contract.metrics.items())),
        ("backbone", f"{contract.backbone.name}, weights {contract.backbone.weights}{_licence(contract)}"),
        ("data", f"{data.name}, {data.train_images} + {data.valid_images} pictures"),
        ("", f"from {data.source} ({data.licence})"),
        ("", f"fingerprint {data.fingerprint}"),
        ("run", contract.run_id),
        ("graph", f"sha256 {contract.graph_sha256}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in contract.versions.items())),
    ]


def _labels(contract: Contract) -> list[str]:
    """Return the labels, with the probability below which the model abstains where there is one."""
    thresholds = contract.thresholds
    return [
        f"{label}, abstains below {thresholds[label]:g}" if label in thresholds else label for label in contract.labels
    ]


def _licence(contract: Contract) -> str:
    return f" ({contract.backbone.licence})" if contract.backbone.licence else ""  # random weights have none


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
