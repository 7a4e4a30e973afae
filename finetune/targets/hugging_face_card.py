"""The model card of the target ``hf``: what was measured, what to know, and programs that ask the model."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict

from finetune.types import Task, Verification
from finetune_export.contract import Contract


def card(contract: Contract, found: Verification) -> str:
    """Return ``README.md`` for a folder whose plain graph was found to answer like this."""
    facts = {
        "task": contract.task,
        "labels": len(contract.labels),
        "image_size_px": contract.preprocessing.image_size_px,
        "backbone": asdict(contract.backbone),
        "dataset": asdict(contract.dataset),
        "plugins": [asdict(plugin) for plugin in contract.plugins],
        "calibration": asdict(contract.calibration),
        "versions": contract.versions,
    }
    numbers = {
        "labels": len(contract.labels),
        "metric": found.metric,
        "compared": found.compared,
        "trained": f"{found.value:.4f}",
        "here": f"{found.exported_value:.4f}",
        "agreement": f"{found.agreement:.2%}",
        "difference": f"{found.max_difference:.2g}",
    }
    words = {name: text.format(**numbers) for name, text in _WORDS[contract.task].items()}
    words["thresholds"] = words["thresholds"] if contract.thresholds else ""
    # As JSON in a code block, for names that people chose may hold anything, markup included.
    return _CARD.format(**numbers, **words, facts=json.dumps(facts, indent=2, ensure_ascii=False))


_PIPELINE_IN_JAVASCRIPT = """\
import {{ pipeline }} from "@huggingface/transformers";

const classify = await pipeline("image-classification", "NAME-ON-THE-HUB");
console.log(await classify("photo.jpg"));"""

_LOGITS_IN_JAVASCRIPT = """\
import {{ AutoModelForImageClassification, AutoProcessor, RawImage }} from "@huggingface/transformers";

const model = await AutoModelForImageClassification.from_pretrained("NAME-ON-THE-HUB");
const processor = await AutoProcessor.from_pretrained("NAME-ON-THE-HUB");
const {{ logits }} = await model(await processor(await RawImage.read("photo.jpg")));
console.log(model.config.id2label, logits.tolist());"""

_WORDS: Mapping[Task, Mapping[str, str]] = {
    "single-label": {
        "pipeline": "pipeline_tag: image-classification\n",
        "tag": "image-classification",
        "title": "Image classifier with {labels} labels",
        "summary": "One photo in, one of {labels} labels out (`id2label` in `config.json`).",
        "compared_with": "The second gives the same label as the first on {agreement} of them; the largest difference "
        "of a probability is\n{difference}.",
        "nature": "The labels are exclusive: every photo gets one of them, also one that shows none.",
        "thresholds": "- The thresholds below which the model abstains are in `finetune.onnx` only; others do not know "
        "them.\n",
        "ours": ".top(3)",
        "theirs": "top_k=3",
        "javascript": _PIPELINE_IN_JAVASCRIPT,
    },
    "multi-label": {
        "pipeline": "pipeline_tag: image-classification\n",
        "tag": "image-classification\n- multi-label",
        "title": "Image classifier with {labels} labels, any number at once",
        "summary": "One photo in, any number of {labels} labels out (`id2label` in `config.json`).",
        "compared_with": "The second gives the same labels as the first on {agreement} of them; the largest difference "
        "of a probability is\n{difference}.",
        "nature": "Each label has a probability of its own and is given from 0.5 on; a photo may get several or none.",
        "thresholds": "- Labels with a threshold of their own are given from there on; these are in `finetune.onnx` "
        "only.\n",
        "ours": ".given",
        "theirs": "top_k=3",
        "javascript": _PIPELINE_IN_JAVASCRIPT,
    },
    "regression": {
        "pipeline": "",  # none is for values; the Hub's image classification would show their softmax
        "tag": "image-regression",
        "title": "Image regression (values: {labels})",
        "summary": "One photo in, a value for each name in `id2label` (`config.json`) out, in its own unit.",
        "compared_with": "The largest difference of a value is {difference} of its standard deviation on the training "
        "pictures.",
        "nature": "The logits are the values; no softmax or sigmoid belongs behind them. Every photo gets values, also "
        "one\n  that shows something else.",
        "thresholds": "",
        "ours": ".values",
        "theirs": 'function_to_apply="none", top_k={labels}',
        "javascript": _LOGITS_IN_JAVASCRIPT,
    },
}

_CARD = """\
---
license: other
{pipeline}library_name: transformers.js
tags:
- {tag}
- onnx
- finetune
metrics:
- {metric}
---

# {title}

{summary} The network was fine-tuned with finetune.

## What was measured

On the {compared} validation pictures, which were held out from training, from picture file to label:

| | {metric} |
|---|---|
| the trained network, and `finetune.onnx` | {trained} |
| `onnx/model.onnx` behind Hugging Face's image processor (the Pillow one) | {here} |

{compared_with} The same pictures decided which epoch was kept, so expect a little worse on new ones. Nothing else was
measured: not on other photos, and not for bias or safety.

## What to know

- `finetune.onnx` holds the preprocessing, the labels and a self-check; its answers are those of the trained network.
- Hugging Face's image processor cuts at whole pixels, and drops transparency instead of putting white behind it; hence
  the differences above.
- {nature}
{thresholds}- Licences of the weights, of the pictures it was trained on and of plugins are stated below; mind them all.
- `model_type` says how the graph is called, and not what is in it: the network is the backbone named below.

## How to use it

With onnxruntime alone (`pip install finetune-export`):

```python
from finetune_export import Predictor

print(Predictor("finetune.onnx").predict("photo.jpg")[0]{ours})
```

With transformers (`pip install optimum-onnx[onnxruntime]`); `.` is this folder, or its name on the Hub:

```python
from optimum.onnxruntime import ORTModelForImageClassification
from transformers import AutoImageProcessor, pipeline

model = ORTModelForImageClassification.from_pretrained(".", subfolder="onnx")
processor = AutoImageProcessor.from_pretrained(".")
classify = pipeline("image-classification", model=model, image_processor=processor)
print(classify("photo.jpg", {theirs}))
```

With transformers.js, in Node or in a browser:

```js
{javascript}
```

## Where it comes from

```json
{facts}
```
"""
