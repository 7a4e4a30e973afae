"""``finetune inspect``: the contract inside a model file, readable."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from finetune.cli.output import print_json, print_table

if TYPE_CHECKING:
    from finetune_export import Contract


def inspect(
    model: Annotated[Path, Parameter(help="The .onnx file of a run.")],
    /,
    *,
    json: Annotated[bool, Parameter(negative=(), help="Print the contract as JSON.")] = False,
) -> None:
    """Show what a model expects, answers and comes from, as its contract states it. Runs nothing.

    Examples:
      finetune inspect model.onnx --json
    """
    from finetune_export import read_contract

    contract = read_contract(model)
    print_json(contract) if json else print_table(_rows(contract))


def _rows(contract: Contract) -> list[tuple[str, str]]:
    p = contract.preprocessing
    temperature = f", temperature {contract.calibration.temperature:g}"
    return [
        ("task", f"{contract.task}, {len(contract.labels)} labels"),
        *(("" if index else "labels", f"{index}  {label}") for index, label in enumerate(contract.labels)),
        ("input", f"image: {p.dtype} (N, {p.image_size_px}, {p.image_size_px}, 3), {p.layout}, {p.colour_order}"),
        ("pictures", f"EXIF orientation {p.exif_orientation}, {p.animation}, alpha {p.alpha}, 16 bit {p.sixteen_bit}"),
        ("resize", f"{p.crop} of {p.crop_fraction:g} of the shorter side, {p.resize_filter}, to {p.image_size_px} px"),
        ("in the graph", f"mean {_numbers(p.mean)}, std {_numbers(p.std)} on 0..1{temperature}, softmax"),
        ("metrics", ", ".join(f"{name} {value:.4f}" for name, value in contract.metrics.items())),
        ("backbone", f"{contract.backbone.name}, weights {contract.backbone.weights}{_licence(contract)}"),
        (
            "data",
            f"{contract.dataset.name}, {contract.dataset.train_images} + {contract.dataset.valid_images} pictures",
        ),
        ("", f"from {contract.dataset.source} ({contract.dataset.licence})"),
        ("", f"fingerprint {contract.dataset.fingerprint}"),
        ("run", contract.run_id),
        ("graph", f"sha256 {contract.graph_sha256}"),
        ("versions", ", ".join(f"{name} {version}" for name, version in contract.versions.items())),
    ]


def _licence(contract: Contract) -> str:
    return f" ({contract.backbone.licence})" if contract.backbone.licence else ""  # random weights have none


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:g}" for value in values)
