"""The model card of a run: what others need to know before they use the model, and nothing that was not measured.

Its headings are those of Mitchell et al. 2019, "Model Cards for Model Reporting", and its first lines the YAML that the
Hugging Face hub reads. It names no folder of the machine that the run was on, for cards are published.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from math import isfinite

from finetune.report.against import constant_named, constant_of
from finetune.report.model_card_findings import calibrated, each_label, limits
from finetune.report.model_card_text import Tree, bullets, code, front_matter, plain, table
from finetune.report.wording import PARTS, UNDEFINED, counted, few, interval_of, value_of
from finetune.types import RunRecords, Task
from finetune_export.contract import Contract

MODEL_CARD = "MODEL_CARD.md"
NOT_STATED = "not stated"
MOST_LABELS_NAMED = 20
MOST_OF_A_LICENCE = 100
"""Characters of a licence's name on the hub; whole it is in the text."""
HUB_LICENCES = (
    "afl-3.0 agpl-3.0 apache-2.0 artistic-2.0 bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 cc-by-2.0 cc-by-2.5 "
    "cc-by-3.0 cc-by-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 "
    "cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nd-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc0-1.0 cdla-permissive-1.0 "
    "cdla-permissive-2.0 cdla-sharing-1.0 ecl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 gpl-2.0 gpl-3.0 isc lgpl-2.1 "
    "lgpl-3.0 mit mpl-2.0 ms-pl ncsa odc-by ofl-1.1 osl-3.0 pddl postgresql unlicense wtfpl zlib"
)
"""Licences by the names that the hub knows them by; others are "other" there, with a name."""
HUB_METRICS = {"accuracy": "accuracy", "macro-f1": "f1", "mean-auroc": "roc_auc", "mae": "mae", "r2": "r_squared"}
"""What the hub calls metrics that it knows; others keep their name."""

FACTORS = (
    "Results are given for each label. Others, such as cameras, light, places, seasons or groups of people, are not "
    "recorded with the pictures, and were not measured apart."
)

_DATA_ON_THE_HUB = re.compile(r"^Hugging Face: ([\w.-]+/[\w.-]+)$")  # as the plugin for the hub has it
_A_PATH = re.compile(r"(?:^|[\s'\"(=])(?:[~.]{0,2}/|[A-Za-z]:\\)\S")
_TAGS: Mapping[Task, tuple[str, ...]] = {
    "single-label": ("image-classification",),
    "multi-label": ("image-classification", "multi-label"),
    "regression": ("image-regression",),
}
_ANSWERS: Mapping[Task, str] = {
    "single-label": "Which one of these classes does a picture show?",
    "multi-label": "Which of these labels, any number of them, does a picture show?",
    "regression": "What are these values of what a picture shows?",
}
_ALWAYS: Mapping[Task, str] = {
    "single-label": "Every picture gets one of these classes, also one that shows none of them.",
    "multi-label": "A picture of anything else may get some of these labels, too.",
    "regression": "Every picture gets values, also one that shows something else.",
}
_SAID: Mapping[Task, str] = {
    "single-label": "prediction.label, prediction.probability",
    "multi-label": "prediction.given",
    "regression": "prediction.values",
}


def model_card(records: RunRecords) -> str:
    """Return the card as Markdown that begins with YAML; bytes of a name that are no text are left as they are."""
    sections = {
        "Model details": _details(records),
        "Intended use": _use(records),
        "Factors": iter([FACTORS]),
        "Training data": _training_data(records),
        "Evaluation": _evaluation(records),
        "Results for each label": each_label(records),
        "Calibration": calibrated(records),
        "Limits that were found": iter([bullets(list(limits(records)))]),
        "Ethical considerations": iter(["Not stated; nothing about bias, fairness or safety was measured."]),
        "How to use": _how_to_use(records),
        "Verification": _verification(records),
        "Provenance": _provenance(records),
    }
    written = [front_matter(_facts(records)), *_heading(records)]
    for heading, blocks in sections.items():
        if found := [block for block in blocks if block]:
            written += [f"## {heading}", *found]
    return "\n\n".join(written) + "\n"


# ── for the hub ─────────────────────────────────────────────────────────────────────────────────────


def _facts(records: RunRecords) -> dict[str, Tree]:
    found = [name for name in _metrics(records, "valid") if name == records.result.metric or name in HUB_METRICS]
    on_hub = _DATA_ON_THE_HUB.match(records.contract.dataset.source)
    return {
        **_licence(records),
        "library_name": "onnx",
        **({} if records.task == "regression" else {"pipeline_tag": "image-classification"}),
        "tags": [*_TAGS[records.task], "onnx", "finetune"],
        **({"datasets": [on_hub[1]]} if on_hub else {}),
        **({"metrics": [HUB_METRICS.get(name, name) for name in found]} if found else {}),
        **_model_index(records),
    }


def _licence(records: RunRecords) -> dict[str, Tree]:
    """Return the licence that weights and data were recorded with; where they have two, both are named.

    Where one of them has none that was stated, nobody knows what the model may be used for.
    """
    weights, data = records.contract.backbone.licence, records.contract.dataset.licence
    stated = {what: said for what, said in (("weights", weights), ("data", data)) if _is_stated(said)}
    if "data" not in stated or (_is_from_weights(records) and "weights" not in stated):
        return {"license": "unknown"}
    names = {said.strip().lower() for said in stated.values()}
    if len(names) > 1:
        return _other(" ".join(f"{what} {said}" for what, said in stated.items()))
    (name,) = names
    return {"license": name} if name in HUB_LICENCES.split() else _other(name)


def _other(said: str) -> dict[str, Tree]:
    """Return a licence that the hub does not know, under a name in small letters and dashes, as it asks for."""
    name = re.sub(r"[^a-z0-9.]+", "-", said.lower())[:MOST_OF_A_LICENCE].strip("-")
    return {"license": "other", "license_name": name or "see-provenance"}


def _is_from_weights(records: RunRecords) -> bool:
    return bool(records.contract.backbone.sha256)


def _is_stated(licence: str) -> bool:
    return licence.strip().lower() not in ("", "unknown")


def _model_index(records: RunRecords) -> dict[str, Tree]:
    """Return what was measured; nothing where nothing was, for the hub takes no empty list."""
    name = records.contract.dataset.name
    kind = "image-classification" if records.task != "regression" else "image-regression"
    results: list[Tree] = [
        {
            "task": {"type": kind},
            "dataset": {"type": name, "name": name, "split": PARTS[part]},
            "metrics": [{"type": HUB_METRICS.get(m, m), "name": m, "value": value} for m, value in measured.items()],
        }
        for part in PARTS
        if (measured := _metrics(records, part))
    ]
    return {"model-index": [{"name": records.contract.run_id, "results": results}]} if results else {}


def _metrics(records: RunRecords, part: str) -> dict[str, float]:
    """Return the metrics of a part that are numbers."""
    values = (records.metrics[part] or {}).get("values", {})
    return {name: float(value) for name, value in values.items() if value is not None and isfinite(value)}


# ── for people ──────────────────────────────────────────────────────────────────────────────────────


def _heading(records: RunRecords) -> Iterator[str]:
    what = "Image regression" if records.task == "regression" else "Image classifier"
    name = code(records.contract.dataset.name)
    yield f"# {what} trained on {name}"
    backbone, pictures = code(records.contract.backbone.name), counted(records.result.train_images)
    yield (
        f"{backbone}, fine-tuned with finetune on {pictures} of {name}, and exported as "
        f"{code(records.result.onnx.name)}. {_in_short(records)}"
    )


def _in_short(records: RunRecords) -> str:
    result, pictures = records.result, counted(records.result.valid_images, "validation picture")
    if not isfinite(result.value):
        return f"How good it is remains unknown: {code(result.metric)} is undefined on its {pictures}."
    interval = interval_of(records, result.metric, result.interval)
    return f"On {pictures} its {code(result.metric)} is {value_of(records, result.metric, result.value)}{interval}."


def _details(records: RunRecords) -> Iterator[str]:
    result, contract = records.result, records.contract
    pixels = contract.preprocessing
    yield table(
        ("what", "is"),
        (
            ("task", records.task),
            ("network", code(contract.backbone.name)),
            ("weights that it began with", code(contract.backbone.weights)),
            ("strategy", f"{code(result.strategy)}, of which {code(result.kept)} is kept"),
            ("input", f"a picture, its centre square at {pixels.image_size_px} × {pixels.image_size_px} pixels, RGB"),
            ("output", _output(records)),
            ("file", f"{code(result.onnx.name)}, {result.onnx_bytes / 1e6:.1f} MB, {contract.precision}"),
            ("run", code(contract.run_id)),
            ("developed by, contact", NOT_STATED),
        ),
    )
    yield plain(result.verdict)


def _output(records: RunRecords) -> str:
    number = len(records.labels)
    if records.task == "regression":
        return counted(number, "value")
    return f"the probability of each of {counted(number, 'label')}, and an embedding"


def _use(records: RunRecords) -> Iterator[str]:
    are_cut = len(records.labels) > MOST_LABELS_NAMED
    yield f"It answers one question: {_ANSWERS[records.task]}"
    yield few(list(map(code, records.labels)), MOST_LABELS_NAMED) + (
        f", all of which are in {code(records.result.onnx.name)}." if are_cut else ""
    )
    yield "Who is meant to ask it, and what for, is not stated."
    yield f"**Out of scope:** pictures of anything else. {_ALWAYS[records.task]}{_abstaining(records)}"


def _abstaining(records: RunRecords) -> str:
    if records.task != "single-label" or not records.contract.thresholds:
        return ""
    return " Where its probability stays below the threshold of the class, the model abstains."


def _training_data(records: RunRecords) -> Iterator[str]:
    data, result = records.contract.dataset, records.result
    licence = code(data.licence) if _is_stated(data.licence) else NOT_STATED
    yield table(
        ("what", "is"),
        (
            ("name", code(data.name)),
            ("source", code(data.source)),
            ("licence", licence),
            ("pictures", _divided(records)),
            ("left out", f"{len(records.data['refused'])} unreadable, {len(records.data['ignored'])} of other formats"),
            ("fingerprint", code(data.fingerprint)),
        ),
    )
    notes = [plain(note) for note in result.notes if not _A_PATH.search(note)]
    yield "What the run noted:\n\n" + bullets(notes) if notes else ""


def _divided(records: RunRecords) -> str:
    result = records.result
    return (
        f"{result.train_images:,} to train on, {result.valid_images:,} to validate on, {result.test_images:,} to test"
    )


def _evaluation(records: RunRecords) -> Iterator[str]:
    result = records.result
    chosen = "The epoch was" if records.task == "regression" else "Epoch, temperature and thresholds were"
    yield (
        f"{counted(result.valid_images, 'validation picture')} of the same data set, held out from training. {chosen} "
        "chosen by them, so expect a little worse on new pictures."
        if result.valid_images
        else "There were no validation pictures, so nothing is known of how good the model is."
    )
    if result.test_images:
        yield (
            f"{counted(result.test_images, 'test picture')}, looked at once, by the exported file; nothing was chosen "
            "by them."
        )
    yield _scores(records)
    yield _against_baseline(records)


def _scores(records: RunRecords) -> str:
    result = records.result
    parts = {part: records.metrics[part] for part in PARTS if records.metrics[part]}
    names = dict.fromkeys(name for found in parts.values() for name in found["values"])
    intervals = {"valid": result.interval, "test": result.test_interval}
    rows = [
        (
            code(name),
            *(
                value_of(records, name, found["values"].get(name))
                + (interval_of(records, name, intervals[part]) if name == result.metric else "")
                for part, found in parts.items()
            ),
        )
        for name in names
    ]
    return table(("metric", *(f"{PARTS[part]} pictures" for part in parts)), rows) if rows else ""


def _against_baseline(records: RunRecords) -> str:
    found = constant_of(records)
    if found is None or not isfinite(found.value):
        return "There is no baseline to hold it against."
    reached = value_of(records, found.metric, found.value)
    constant = plain(constant_named(records, found))
    return f"Without looking at any picture, {constant} reaches {code(found.metric)} {reached}."


def _how_to_use(records: RunRecords) -> Iterator[str]:
    file = records.result.onnx.name
    yield "With onnxruntime alone, on the command line or in Python (`pip install finetune-export`):"
    yield f"```sh\nfinetune-export predict {file} photo.jpg\n```"
    yield (
        "```python\nfrom finetune_export import Predictor\n\n"
        f'predictor = Predictor("{file}")  # refused unless its hash and its golden answers are right\n'
        'for prediction in predictor.predict(["photo.jpg"]):\n'
        f"    print(prediction.source, {_SAID[records.task]})\n```"
    )
    yield "`finetune predict` is the same command. Preprocessing and labels are in the file, and nowhere else."


def _verification(records: RunRecords) -> Iterator[str]:
    yield (
        "Every file was asked about the validation pictures, from picture file to answer, and held against the trained "
        "network."
    )
    header = ("target", "file", "pictures", "same answer", "largest difference", "trained", "exported", "verdict")
    rows = [
        (
            *(code(found.target), code(found.file), f"{found.compared:,}", f"{found.agreement:.2%}"),
            f"{found.max_difference:.1e}" if isfinite(found.max_difference) else UNDEFINED,
            *(value_of(records, found.metric, value) for value in (found.value, found.exported_value)),
            plain("; ".join(found.problems)) or "passed",
        )
        for found in records.verification
    ]
    yield table(header, rows)


def _provenance(records: RunRecords) -> Iterator[str]:
    contract = records.contract
    rows = [
        (plain(what), code(name), code(licence) if _is_stated(licence) else NOT_STATED, code(origin))
        for what, name, licence, origin in _made_of(contract)
    ]
    yield table(("what", "name", "licence", "from"), rows)
    yield "Mind all of these licences; what they mean together for the model nobody has stated."
    yield table(("what", "is"), list(_identity(contract, records.versions)))


def _made_of(contract: Contract) -> Iterator[tuple[str, str, str, str]]:
    """Yield what the model was made of: what it is, its name, its licence, and where it is from."""
    data, backbone = contract.dataset, contract.backbone
    yield "data", data.name, data.licence, data.source
    yield "weights", backbone.weights, backbone.licence, backbone.name
    for plugin in contract.plugins:
        used, name = ", ".join(plugin.used_for), f"{plugin.distribution} {plugin.version}"
        yield f"plugin, for {used}", name, plugin.licence, plugin.origin


def _identity(contract: Contract, versions: Mapping[str, object]) -> Iterator[tuple[str, str]]:
    """Yield what the model is recognised by, and how to make it again."""
    yield "run", code(contract.run_id)
    yield "fingerprint of the data", code(contract.dataset.fingerprint)
    yield "sha256 of the weights that it began with", code(contract.backbone.sha256 or "")
    yield "sha256 of the exported graph", code(contract.graph_sha256)
    yield "command", f"{code('finetune run --config config.toml')}, which is in the run's folder"
    yield from ((code(name), code(version)) for name, version in versions.items() if isinstance(version, str))
