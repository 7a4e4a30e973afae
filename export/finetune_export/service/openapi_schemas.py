"""The schemas of what the service takes and gives, for its OpenAPI document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from finetune_export.contract import Task
from finetune_export.image_gate import FORMATS
from finetune_export.service.inference import EXTENSIONS
from finetune_export.service.settings import Settings
from finetune_export.session import outputs_of

Json = dict[str, Any]

PICTURE_TYPES = (*(f"image/{name.lower()}" for name in FORMATS), "application/octet-stream")
_TEXT: Json = {"type": "string"}
_YES: Json = {"const": True}
_SHARE: Json = {"type": "number", "minimum": 0, "maximum": 1}
_COUNT: Json = {"type": "integer", "minimum": 0}
_PREDICTIONS: Mapping[Task, str] = {
    "single-label": "Prediction",
    "multi-label": "LabelsPrediction",
    "regression": "ValuesPrediction",
}


def reference(name: str) -> Json:
    """Return a reference to the schema called ``name``."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(settings: Settings, sides_px: Sequence[int], tasks: Sequence[Task]) -> Json:
    """Return every schema by its name; ``sides_px`` are those of the models' pictures, ``tasks`` the models'."""
    outputs = sorted({name for task in tasks for name in outputs_of(task)}, reverse=True)  # the answers before
    return {
        "Error": _object(error=_TEXT),
        "Form": _form(settings.max_pictures),
        **_predictions(tasks),
        **_metadata(),
        **_infer_request(settings.max_pictures, sides_px, outputs),
        **_infer_answer(outputs),
    }


def _form(max_pictures: int) -> Json:
    files = {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1, "maxItems": max_pictures}
    return {**_object(picture=files), "description": "Files, under any field names."}


def _predictions(tasks: Sequence[Task]) -> Json:
    shown = {_PREDICTIONS[task]: _prediction(task) for task in tasks}
    refused = _object(name=_TEXT, error=_TEXT, status={"enum": [413, 415, 422]})
    rows = _list({"anyOf": [reference(name) for name in (*shown, "Refused")]})
    return {
        **shown,
        "Refused": {**refused, "description": "Among several pictures, one that is no picture to be read."},
        "PredictAnswer": _object(
            model=_TEXT, version=_TEXT, predictions=rows, seconds={"type": "number", "minimum": 0}
        ),
    }


def _prediction(task: Task) -> Json:
    shares = _list(_object(label=_TEXT, probability=_SHARE))
    if task == "regression":
        values = {"type": "object", "additionalProperties": {"type": "number"}, "minProperties": 1}
        return {**_object(name=_TEXT, values=values), "description": "`values` by their names, in their own units."}
    if task == "multi-label":
        labels = "`labels` are those that reach their thresholds, most probable first; there may be none."
        return {**_object(name=_TEXT, labels=shares, top=shares), "description": labels}
    return _object(name=_TEXT, label=_TEXT, probability=_SHARE, abstains={"type": "boolean"}, top=shares)


def _metadata() -> Json:
    tensor = _object(name=_TEXT, datatype=_TEXT, shape=_list({"type": "integer", "minimum": -1}))
    return {
        "Server": _object(name=_TEXT, version=_TEXT, extensions=_list({"enum": list(EXTENSIONS)})),
        "Live": _object(live=_YES),
        "Ready": _object(ready=_YES),
        "Models": _object(models=_list(_TEXT)),
        "Model": _object(
            name=_TEXT, versions=_list(_TEXT), platform=_TEXT, inputs=_list(tensor), outputs=_list(tensor)
        ),
        "ModelReady": _object(name=_TEXT, ready=_YES),
    }


def _infer_request(max_pictures: int, sides_px: Sequence[int], outputs: Sequence[str]) -> Json:
    side = {"enum": list(sides_px)}
    count = {"type": "integer", "minimum": 1, "maximum": max_pictures}
    shape = {"type": "array", "prefixItems": [count, side, side, {"const": 3}], "minItems": 4, "maxItems": 4}
    image = _object(name={"const": "image"}, datatype={"const": "UINT8"}, shape=shape, data={"type": "array"})
    image["description"] = "`data` are whole numbers from 0 to 255, flat or nested as the shape says."
    asked = _object(name={"enum": list(outputs)}, parameters=reference("OutputParameters"), needed=("name",))
    requested = {**_list(reference("RequestedOutput")), "minItems": 1, "uniqueItems": True}
    inputs = {**_list(reference("ImageInput")), "minItems": 1, "maxItems": 1}
    return {
        "ImageInput": image,
        "OutputParameters": _object(
            binary_data={"type": "boolean"}, classification={"type": "integer", "minimum": 1}, needed=()
        ),
        "RequestedOutput": asked,
        "InferRequest": _object(
            id=_TEXT, parameters=reference("RequestParameters"), inputs=inputs, outputs=requested, needed=("inputs",)
        ),
        "RequestParameters": _object(binary_data_output={"type": "boolean"}, needed=()),
    }


def _infer_answer(outputs: Sequence[str]) -> Json:
    output = _object(
        name={"enum": list(outputs)},
        datatype={"enum": ["FP32", "BYTES"]},
        shape=_list(_COUNT),
        data=_list({"type": ["number", "string"]}),
        parameters=_object(binary_data_size=_COUNT),
        needed=("name", "datatype", "shape"),
    )
    return {
        "Output": output,
        "InferAnswer": _object(
            model_name=_TEXT,
            model_version=_TEXT,
            id=_TEXT,
            outputs=_list(reference("Output")),
            needed=("model_name", "model_version", "outputs"),
        ),
    }


def _object(*, needed: tuple[str, ...] | None = None, **properties: Json) -> Json:
    """Return the schema of an object with these properties and no others; unless stated, all of them are needed."""
    required = list(properties) if needed is None else list(needed)
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _list(items: Json) -> Json:
    return {"type": "array", "items": items}
