"""From a weight record to a backbone plugin that carries it: a distribution that installs and passes its tests."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

from finetune import __version__
from finetune.download import whole_folder, writing_to
from finetune.errors import ConfigError
from finetune.plugins import OWN_DISTRIBUTION, load_plugins
from finetune.run_folder import sha256_of
from finetune.scaffold.filling import fill
from finetune.scaffold.licences import expression, refuse_unstated
from finetune.scaffold.naming import free_name, refuse_existing, refuse_unwritable
from finetune.scaffold.writing import identity
from finetune.types import WeightRecord
from finetune.weight_record import check_record, one_line, read_record
from finetune_export.cli.output import visible

_REMEDY = "Choose another name, or another place."
_MOST_LABELS = 20
"""So many classes are named; all of them are in the record."""


def check_package(folder: Path) -> None:
    """Refuse a folder that ``write_package`` would refuse, before anything is trained for it.

    Raises ``ConfigError`` where there is something already, or the folder's last component is no name or that of
    something installed, and ``ResourceError`` where the folder cannot be made.
    """
    free_name(folder.name)
    refuse_existing(folder, _REMEDY)
    refuse_unwritable(folder.parent)


def write_package(folder: Path, record: Path) -> Path:
    """Write a distribution that carries a weight record into ``folder``, whole or not at all, and return the folder.

    The folder's last component, without the prefix ``finetune-``, is the plugin's name and the backbone's. The same
    record is the same files, byte by byte. Raises as ``check_package`` does; ``ConfigError`` for a file that is not
    there, does not end in .safetensors, has no record or states no licence, and ``ModelError`` for a record that is not
    whole, or wrong about its architecture.
    """
    check_package(folder)
    stated = whole_record(record)
    words = {**identity(free_name(folder.name)), **_words(stated, sha256_of(record))}
    room = "apache" if words["licence_file"] == "LICENSE" else "notice"
    with writing_to(folder.parent), whole_folder(folder, anew=True) as unfinished:
        fill(unfinished, "common", room, "recorded", words=words)
        shutil.copyfile(record, unfinished / words["module"] / f"{words['name']}.safetensors")
    return folder


def whole_record(path: Path) -> WeightRecord:
    """Return what a weight record says that may be shared: one that is whole, with a licence.

    Raises as ``write_package`` does.
    """
    from finetune.networks.weights import check_architecture  # torch, which 'check_package' is asked before

    if path.suffix != ".safetensors":
        raise ConfigError(
            f"{path} does not end in .safetensors; give the pretrained.safetensors of a 'finetune pretrain'."
        )
    if not path.is_file():
        raise ConfigError(f"{path}: there is no such file. {_NEXT}")
    record = read_record(path)
    if record is None:
        raise ConfigError(f"{path} holds weights, and no record of what they are. {_NEXT}")
    check_record(path, record)
    refuse_unstated(record.licence, str(path))
    check_architecture(path, record)
    return record


_NEXT = "Give a weight record: 'finetune pretrain' writes one, pretrained.safetensors in the folder of its run."


def _words(record: WeightRecord, sha256: str) -> dict[str, str]:
    """Return what stands for the placeholders of the templates, beside the names."""
    summary = f"{record.architecture} for finetune, pretrained on {record.dataset}"
    texts = ("architecture", "dataset", "source", "dataset_licence", "licence", "command")
    return {
        **{name: visible(getattr(record, name)) for name in texts},
        "sha256": sha256,
        "summary": _quoted(visible(one_line(summary))),
        "requirements": f"[{', '.join(map(_quoted, _requirements(record)))}]",
        "licence_expression": (licence := expression(record.licence)),
        "licence_file": "LICENSE" if licence == "Apache-2.0" else "NOTICE",  # no text of a licence but the one at hand
        "facts": "\n".join(f"{name:<14}{visible(text)}" for name, text in _facts(record, sha256)),
    }


def _requirements(record: WeightRecord) -> Iterator[str]:
    """Yield finetune and the distribution that offers the architecture, both as they are here.

    Whoever wrote the record has no say in what is installed.
    """
    yield f"{OWN_DISTRIBUTION}>={__version__}"
    owner = load_plugins().owner("backbone", record.architecture)
    if owner.distribution == OWN_DISTRIBUTION:
        return
    try:
        yield f"{canonicalize_name(owner.distribution)}>={Version(owner.version).public}"
    except InvalidVersion as error:
        raise ConfigError(
            f"'{record.architecture}' comes from {owner.distribution} {owner.version}, which is no version that a "
            "package can require. Install that distribution again."
        ) from error


def _quoted(text: str) -> str:
    """Return a text as TOML has it; JSON's strings are TOML's, once control characters are gone."""
    return json.dumps(text, ensure_ascii=False)


def _facts(record: WeightRecord, sha256: str) -> Iterator[tuple[str, str]]:
    """Yield what people want to know of weights before they use them; as plain text, for names may hold markup."""
    named = ", ".join(record.labels[:_MOST_LABELS])
    more = len(record.labels) - _MOST_LABELS
    mean, std = (" ".join(f"{value:g}" for value in values) for values in (record.mean, record.std))
    yield "architecture", f"{record.architecture} of {record.offered_by}, {record.parameters:,} parameters"
    yield "data set", f"{record.dataset}: {record.source}"
    yield "its licence", record.dataset_licence
    yield "pictures", f"{record.train_images:,} to train on, {record.valid_images:,} to validate on"
    yield (
        "classes" if record.task == "single-label" else "labels",
        f"{len(record.labels)}: {named}{f' and {more} more' if more > 0 else ''}",
    )
    yield "scores", ", ".join(f"{name} {value:.4g}" for name, value in sorted(record.metrics.items()))
    yield "input", f"{record.image_size_px} px, crop {record.crop_fraction:g}, mean {mean}, std {std}"
    yield "versions", ", ".join(f"{name} {version}" for name, version in sorted(record.versions.items()))
    yield "licence", record.licence
    yield "SHA-256", sha256
