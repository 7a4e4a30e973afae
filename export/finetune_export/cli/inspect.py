"""``finetune-export inspect``: the contract inside a model file, readable."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from finetune_export.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune_export.contract import Contract

_OUTPUTS = {
    "single-label": "labels, one of which is right",
    "multi-label": "labels, each of which may be right",
    "regression": "values",
}
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
    from finetune_export.contract import read_contract

    contract = read_contract(arguments.model)
    print_json(contract) if arguments.json else print_table(_rows(contract))
    return 0


def _rows(contract: Contract) -> list[tuple[str, str]]:
    p, data = contract.preprocessing, contract.dataset
    outputs = "values" if contract.task == "regression" else "labels"
    return [
        ("task", f"{contract.task}, {len(contract.labels)} {_OUTPUTS[contract.task]}"),
        *(("" if index else outputs, f"{index}  {label}") for index, label in enumerate(_labels(contract))),
        ("input", f"image: {p.dtype} (N, {p.image_size_px}, {p.image_size_px}, 3), {p.layout}, {p.colour_order}"),
        ("pictures", f"EXIF orientation {p.exif_orientation}, {p.animation}, alpha {p.alpha}, 16 bit {p.sixteen_bit}"),
        ("resize", f"{p.crop} of {p.crop_fraction:g} of the shorter side, {p.resize_filter}, to {p.image_size_px} px"),
        ("in the graph", f"mean {_numbers(p.mean)}, std {_numbers(p.std)} on 0..1{_last_step(contract)}"),
        ("precision", contract.precision),
        ("validation", ", ".join(f"{name} {value:.4f}" for name, value in contract.metrics.items())),
        ("backbone", f"{contract.backbone.name}, weights {contract.backbone.weights}{_licence(contract)}"),
        ("data", f"{data.name}, {data.train_images} + {data.valid_images} pictures"),
        ("", f"from {data.source} ({data.licence})"),
        ("", f"fingerprint {data.fingerprint}"),
        *_plugins(contract),
        ("run", contract.run_id),
        ("graph", f"sha256 {contract.graph_sha256}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in contract.versions.items())),
    ]


def _labels(contract: Contract) -> list[str]:
    """Return the labels, each with its threshold where it has one, or with its values in the training pictures."""
    labels, thresholds, scaling = contract.labels, contract.thresholds, contract.scaling
    if scaling:
        values = zip(labels, scaling.offset, scaling.scale, strict=True)
        return [
            f"{label}, mean {mean:g}, standard deviation {deviation:g} in training" for label, mean, deviation in values
        ]
    if contract.task == "multi-label":
        return [f"{label}, given from {contract.threshold_of(label):g}" for label in labels]
    return [f"{label}, abstains below {thresholds[label]:g}" if label in thresholds else label for label in labels]


def _plugins(contract: Contract) -> Iterator[tuple[str, str]]:
    for number, plugin in enumerate(contract.plugins):
        whose = f"{plugin.distribution} {plugin.version} ({plugin.licence}), for {', '.join(plugin.used_for)}"
        yield "" if number else "plugins", whose
        yield "", f"from {plugin.origin}"


def _last_step(contract: Contract) -> str:
    """Return what the graph does to the network's outputs, so that they are answers."""
    if contract.task == "regression":
        return ", output × standard deviation + mean"
    function = "softmax" if contract.task == "single-label" else "sigmoid"
    return f", temperature {contract.calibration.temperature:g}, {function}"


def _licence(contract: Contract) -> str:
    return f" ({contract.backbone.licence})" if contract.backbone.licence else ""  # random weights have none


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
