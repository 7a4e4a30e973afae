"""The card of a published model: what it is, what was measured, whose licences it stands under, how it is used.

For a run with the target ``hf`` it is the card that this wrote, with the model's name on the hub in its programs. In
either case its front matter, which the hub reads, is made here, from the contract in the model itself.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from huggingface_hub import CardData, EvalResult, ModelCard, ModelCardData

from finetune.errors import ModelError
from finetune.types import Task
from finetune_export import Contract
from finetune_hf.finished import CARD, Finished

PLACEHOLDER = "NAME-ON-THE-HUB"
"""What stands in the card of the target ``hf`` where the model's name on the hub belongs."""
_ON_THE_HUB = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_SOURCE = re.compile(r"Hugging Face: ([\w.-]+/[\w.-]+)(?::.*)?", re.ASCII)
_TAGS: Mapping[Task, tuple[str, ...]] = {
    "single-label": ("image-classification",),
    "multi-label": ("image-classification", "multi-label"),
    "regression": ("image-regression",),
}
_TITLES: Mapping[Task, str] = {
    "single-label": "Image classifier with {labels} labels",
    "multi-label": "Image classifier with {labels} labels, any number at once",
    "regression": "Image regression (values: {labels})",
}


def card(found: Finished, name: str) -> str:
    """Return ``README.md`` for a finished run whose model will be called ``name`` on the hub.

    Raises ``ModelError`` where the target's card is damaged.
    """
    contract = found.contract
    facts = _front_matter(found, name)
    if found.folder:
        written = _written(found.folder / CARD)
        body = written.text.replace(PLACEHOLDER, name)
        _keep_licence(written.data, facts)
    else:
        body = _body(found, name)
    return "\n\n".join([f"---\n{facts.to_yaml()}\n---", body.strip(), _licences(contract)]) + "\n"


def _written(path: Path) -> ModelCard:
    try:
        return ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=True)
    except Exception as error:  # not UTF-8, no YAML, or not as the hub has it
        raise ModelError(f"{path} is damaged: it is no card as the target 'hf' writes it. Export it again.") from error


def _keep_licence(written: CardData, facts: ModelCardData) -> None:
    """Keep the licence that somebody wrote into the target's card, who may know what no program can."""
    if written.get("license") not in (None, "other"):
        for key in ("license", "license_name", "license_link"):
            facts[key] = written.get(key)


# ── what the hub reads ──────────────────────────────────────────────────────────────────────────────


def _front_matter(found: Finished, name: str) -> ModelCardData:
    """Return the metadata of the model; no pipeline of the hub is for values, so a regression names none."""
    contract = found.contract
    is_regression = contract.task == "regression"
    results = list(_results(found))
    source = _SOURCE.fullmatch(contract.dataset.source)
    return ModelCardData(
        license="other",
        license_name=licence_name(contract),
        library_name="transformers.js" if found.folder else "finetune",
        pipeline_tag=None if is_regression else "image-classification",
        tags=[*_TAGS[contract.task], "onnx", "finetune", contract.backbone.name],
        base_model=contract.backbone.weights if _ON_THE_HUB.fullmatch(contract.backbone.weights) else None,
        datasets=[source[1]] if source else None,
        metrics=[result.metric_type for result in results if result.dataset_split == "validation"],
        model_name=name.rpartition("/")[2],
        eval_results=results,
    )


def licence_name(contract: Contract) -> str:
    """Return an identifier that claims no more than is known: the licences of the weights, and of the pictures.

    Which of the hub's licences a model stands under that was made of both, no program can say.
    """
    stated = f"weights-{contract.backbone.licence or 'none'}-data-{contract.dataset.licence or 'unknown'}"
    return re.sub(r"[^a-z0-9.]+", "-", stated.lower()).strip("-")[:96]


def _results(found: Finished) -> Iterator[EvalResult]:
    """Yield every metric that is a number: on the validation pictures, and on those of the test part."""
    contract = found.contract
    for split, scores in (("validation", contract.metrics), ("test", found.tested)):
        for metric, value in scores.items():
            if isinstance(value, float) and math.isfinite(value):
                yield EvalResult(
                    task_type=_TAGS[contract.task][0],
                    dataset_type=contract.dataset.name,
                    dataset_name=contract.dataset.name,
                    dataset_split=split,
                    metric_type=metric,
                    metric_value=round(value, 6),
                )


# ── what people read ────────────────────────────────────────────────────────────────────────────────


def _body(found: Finished, name: str) -> str:
    contract, proof = found.contract, found.verification
    words = {
        "name": name,
        "title": _TITLES[contract.task].format(labels=len(contract.labels)),
        "compared": proof["compared"],
        "agreement": f"{proof['agreement']:.2%}",
        "difference": f"{proof['max_difference']:.2g}",
        "scores": "\n".join(_table(found)),
        "facts": _json(
            {
                "task": contract.task,
                "labels": contract.labels,
                "image_size_px": contract.preprocessing.image_size_px,
                "backbone": asdict(contract.backbone),
                "dataset": asdict(contract.dataset),
                "plugins": [asdict(plugin) for plugin in contract.plugins],
                "calibration": asdict(contract.calibration),
                "versions": contract.versions,
            }
        ),
    }
    return _BODY.format(**words)


def _table(found: Finished) -> Iterator[str]:
    validated, tested = found.contract.metrics, found.tested
    yield "| | validation |" + (" test |" if tested else "")
    yield "|---|---|" + ("---|" if tested else "")
    for metric, value in validated.items():
        yield f"| {metric} | {value:.4f} |" + (f" {tested[metric]:.4f} |" if metric in tested else "")


def _licences(contract: Contract) -> str:
    stated = {
        "weights": f"{contract.backbone.weights}: {contract.backbone.licence}" if contract.backbone.licence else "none",
        "pictures": f"{contract.dataset.name}: {contract.dataset.licence}",
    }
    return _LICENCES.format(stated=_json(stated))


def _json(facts: Mapping[str, object]) -> str:
    """Return facts as JSON for a code block: names that people chose may hold anything, markup included."""
    return json.dumps(facts, indent=2, ensure_ascii=False)


_BODY = """\
# {title}

One photo in, an answer out. The network was fine-tuned with finetune; `finetune.onnx` holds its preprocessing, its
labels and a self-check.

## What was measured

{scores}

The validation pictures also decided which epoch was kept, so expect a little worse on new ones; those of a test part
decided nothing. On the {compared} validation pictures the file gives the same answer as the trained network on
{agreement} of them, and the largest difference is {difference}. Nothing else was measured: not on other photos, and not
for bias or safety.

## How to use it

```bash
finetune fetch {name} --out model.onnx
finetune predict model.onnx photo.jpg
```

Or with onnxruntime alone (`pip install finetune-export`): `Predictor("model.onnx").predict("photo.jpg")`.

## Where it comes from

```json
{facts}
```
"""

_LICENCES = """\
## Licences

The model was made of weights and of pictures, and stands under what both of them ask for:

```json
{stated}
```"""
