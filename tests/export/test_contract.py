from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_export import strict_json
from finetune_export.contract import (
    BackboneOrigin,
    Calibration,
    Contract,
    DatasetOrigin,
    PluginOrigin,
    Preprocessing,
    Scaling,
    Task,
)
from finetune_export.errors import ModelError

text = st.text(st.characters(codec="utf-8"), max_size=12)
finite = st.floats(allow_nan=False, allow_infinity=False)
positive = st.floats(min_value=1e-6, max_value=1e6)
sha256 = st.text("0123456789abcdef", min_size=64, max_size=64)
labels = st.lists(text.filter(bool), min_size=1, max_size=8, unique=True).map(tuple)

preprocessings = st.builds(
    Preprocessing,
    image_size_px=st.integers(1, 4096),
    crop_fraction=st.floats(min_value=0, max_value=1, exclude_min=True),
    mean=st.tuples(finite, finite, finite),
    std=st.tuples(positive, positive, positive),
    resize_filter=st.just("bilinear"),
)
calibrations = st.builds(Calibration, method=st.sampled_from(["none", "temperature"]), temperature=positive)
probabilities = st.floats(0, 1)


@st.composite
def contracts(draw: st.DrawFn) -> Contract:
    """Draw a contract of any task, with what belongs to it."""
    task, names = draw(st.sampled_from(get_args(Task))), draw(labels)
    of_each = [st.lists(numbers, min_size=len(names), max_size=len(names)).map(tuple) for numbers in (finite, positive)]
    common = draw(facts)
    if task == "regression":
        scaling = draw(st.builds(Scaling, offset=of_each[0], scale=of_each[1]))
        return Contract(**common, labels=names, task=task, scaling=scaling)
    thresholds = draw(st.dictionaries(st.sampled_from(names), probabilities))
    return Contract(**common, labels=names, task=task, calibration=draw(calibrations), thresholds=thresholds)


facts = st.fixed_dictionaries(
    {
        "preprocessing": preprocessings,
        "backbone": st.builds(BackboneOrigin, name=text, weights=text, licence=text, sha256=st.none() | sha256),
        "dataset": st.builds(
            DatasetOrigin,
            name=text,
            source=text,
            licence=text,
            fingerprint=sha256,
            train_images=st.integers(0, 10**9),
            valid_images=st.integers(0, 10**9),
        ),
        "plugins": st.lists(
            st.builds(
                PluginOrigin,
                distribution=text,
                version=text,
                licence=text,
                origin=text,
                used_for=st.lists(text, max_size=3).map(tuple),
            ),
            max_size=2,
        ).map(tuple),
        "run_id": text,
        "metrics": st.dictionaries(text, finite, max_size=4),
        "versions": st.dictionaries(text, text, max_size=4),
        "graph_sha256": sha256,
    }
)


@given(contracts())
def test_every_contract_survives_the_round_trip(contract: Contract) -> None:
    assert Contract.from_json(contract.to_json()) == contract


@given(contracts(), st.data())
def test_every_changed_character_is_refused(contract: Contract, data: st.DataObject) -> None:
    text = contract.to_json()
    at = data.draw(st.integers(0, len(text) - 1))
    other = data.draw(st.characters(codec="utf-8").filter(lambda each: each != text[at]))
    with pytest.raises(ModelError):
        Contract.from_json(text[:at] + other + text[at + 1 :])


def test_labels_are_written_in_their_own_script(contract: Contract) -> None:
    assert '"Käfer 甲"' in contract.to_json()


def test_thresholds_are_per_label(contract: Contract) -> None:
    kept = replace(contract, thresholds={"ant": 0.4})
    assert Contract.from_json(kept.to_json()).thresholds == {"ant": 0.4}


def changed(contract: Contract, path: str, value: Any) -> str:
    """Return the contract's JSON, properly sealed, with the value at a dotted path replaced or, for ..., removed."""
    payload = json.loads(json.dumps(asdict(contract)))
    *parents, key = path.split(".")
    target = payload
    for parent in parents:
        target = target[parent]
    if value is ...:
        del target[key]
    else:
        target[key] = value
    return strict_json.seal(payload)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("colour", "red", 'finetune.contract: unknown key "colour"; allowed are labels, preprocessing,'),
        ("preprocessing.gamma", 2, 'finetune.contract.preprocessing: unknown key "gamma"; allowed are image_size_px,'),
        ("labels", ..., 'finetune.contract: key "labels" is missing'),
        ("schema", ..., 'finetune.contract: key "schema" is missing'),
        ("calibration.method", ..., 'finetune.contract.calibration: key "method" is missing'),
        ("labels", "ant", 'finetune.contract.labels: "ant" is not allowed; it has to be a list'),
        ("labels", ["ant", 3], "finetune.contract.labels[1]: 3 is not allowed; it has to be text"),
        ("labels", [], "finetune.contract.labels: () is not allowed; it has to be one non-empty text for each output"),
        ("labels", ["ant", ""], "has to be one non-empty text for each output"),
        ("labels", ["ant", "bee", "ant"], "finetune.contract.labels: 'ant' is not allowed; it has to be unique"),
        ("labels", ["\ud800"], "it has to be text in valid Unicode"),
        ("run_id", None, "finetune.contract.run_id: null is not allowed; it has to be text"),
        ("backbone.sha256", 5, "finetune.contract.backbone.sha256: 5 is not allowed; it has to be text"),
        ("preprocessing.image_size_px", 224.0, "image_size_px: 224.0 is not allowed; it has to be a whole number"),
        ("preprocessing.image_size_px", True, "image_size_px: true is not allowed; it has to be a whole number"),
        ("preprocessing.image_size_px", 0, "preprocessing.image_size_px: 0 is not allowed; it has to be 1 to 4096"),
        ("preprocessing.image_size_px", 10**9, "it has to be 1 to 4096"),
        ("preprocessing.crop_fraction", 1.5, "crop_fraction: 1.5 is not allowed; it has to be over 0 and at most 1"),
        ("preprocessing.crop_fraction", 10**400, "it has to be a finite number"),
        ("preprocessing.crop_fraction", "1", 'crop_fraction: "1" is not allowed; it has to be a finite number'),
        ("preprocessing.mean", [0.5, 0.5], "preprocessing.mean: [0.5, 0.5] is not allowed; it has to be a list of 3"),
        ("preprocessing.std", [0.2, 0.0, 0.2], "std: (0.2, 0.0, 0.2) is not allowed; it has to be over 0"),
        ("preprocessing.resize_filter", "cubic", 'resize_filter: "cubic" is not allowed; it has to be "bilinear"'),
        ("preprocessing.dtype", ["uint8"], 'it has to be "uint8"'),
        ("calibration.method", "platt", 'method: "platt" is not allowed; it has to be "none" or "temperature"'),
        ("calibration.temperature", 0, "calibration.temperature: 0.0 is not allowed; it has to be over 0"),
        ("calibration", [], "finetune.contract.calibration: [] is not allowed; it has to be an object"),
        ("thresholds", {"wasp": 0.5}, "finetune.contract.thresholds: 'wasp' is not allowed; it has to be one of the"),
        ("metrics", {"accuracy": "high"}, "finetune.contract.metrics.accuracy: \"high\" is not allowed"),
        ("thresholds", {"ant": 1.5}, "finetune.contract.thresholds: 1.5 is not allowed; it has to be between 0 and 1"),
        ("task", "ranking", 'finetune.contract.task: "ranking" is not allowed; it has to be "single-label" or "multi-'),
        ("task", "regression", "finetune.contract.scaling: None is not allowed; it has to be an offset and a scale"),
        ("scaling", {"offset": [0, 0, 0], "scale": [1, 1, 1]}, "it has to be null for single-label, whose answers are"),
        ("schema", 0, "finetune.contract.schema: 0 is not allowed; it has to be 1"),
        ("schema", 2, "finetune.contract: schema 2 needs finetune-export >= 0.1.0; upgrade it"),
    ],
)  # fmt: skip
def test_what_the_contract_does_not_allow_is_refused_by_name(
    contract: Contract, path: str, value: Any, message: str
) -> None:
    with pytest.raises(ModelError) as refused:
        Contract.from_json(changed(contract, path, value))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        ("scaling", None, "scaling: None is not allowed; it has to be an offset and a scale for each value"),
        ("scaling", {"offset": [0]}, 'finetune.contract.scaling: key "scale" is missing; needed are offset, scale'),
        ("scaling.scale", [1.0, 2.0], "scaling.scale: (1.0, 2.0) is not allowed; it has to be a finite number for"),
        ("scaling.scale", [], "scaling.scale: () is not allowed; it has to be a finite number for each of the 3"),
        ("scaling.scale", [1, 0, 2], "scale: (1.0, 0.0, 2.0) is not allowed; it has to be over 0 for each value"),
        ("scaling.scale", [1, -1, 2], "it has to be over 0 for each value"),
        ("scaling.offset", [1.0], "offset: (1.0,) is not allowed; it has to be a finite number for each of the 3"),
        ("scaling.offset", [1, 10**400, 1], "finetune.contract.scaling.offset[1]: 1000"),
        ("thresholds", {"age": 0.5}, "it has to be empty for regression, which has no probabilities"),
        ("calibration.temperature", 2, "it has to be method 'none' and temperature 1 for regression"),
        ("calibration.method", "temperature", "it has to be method 'none' and temperature 1 for regression"),
        ("task", "multi-label", "it has to be null for multi-label, whose answers are probabilities"),
    ],
)  # fmt: skip
def test_what_a_regression_does_not_allow_is_refused_by_name(
    contract_of: Callable[[Task], Contract], path: str, value: Any, message: str
) -> None:
    with pytest.raises(ModelError) as refused:
        Contract.from_json(changed(contract_of("regression"), path, value))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("key", ["offset", "scale"])
def test_a_scaling_that_is_not_finite_cannot_be_written(
    contract_of: Callable[[Task], Contract], key: str, number: float
) -> None:
    ours = contract_of("regression")
    assert ours.scaling
    wrong = replace(ours, scaling=replace(ours.scaling, **{key: (1.0, number, 1.0)}))
    with pytest.raises(ModelError, match=f"scaling.{key}: .* it has to be a finite number for each of the 3 values"):
        wrong.to_json()


@pytest.mark.parametrize(("task", "bee", "ant"), [("single-label", 0.3, 0.0), ("multi-label", 0.3, 0.5)])
def test_a_label_has_its_own_threshold_or_its_tasks(task: Task, bee: float, ant: float, contract: Contract) -> None:
    ours = replace(contract, task=task, thresholds={"bee": 0.3})
    assert (ours.threshold_of("bee"), ours.threshold_of("ant")) == (bee, ant)


def test_differences_are_measured_in_shares_of_the_scale_where_there_is_one(
    contract_of: Callable[[Task], Contract],
) -> None:
    assert contract_of("multi-label").units == (1.0, 1.0, 1.0)
    assert contract_of("regression").units == (12.5, 8.0, 0.002)


def test_a_newer_schema_without_a_version_names_the_version_at_hand() -> None:
    with pytest.raises(ModelError, match=r"schema 9 needs finetune-export > 0\.1\.0; upgrade it"):
        Contract.from_json('{"schema": 9, "everything": "else is different"}')


def test_an_invalid_contract_cannot_be_written(contract: Contract) -> None:
    with pytest.raises(ModelError, match="has to be unique"):
        replace(contract, labels=("ant", "ant")).to_json()


def test_swapped_labels_are_noticed(contract: Contract) -> None:
    text = contract.to_json().replace('"ant", "bee"', '"bee", "ant"')
    with pytest.raises(ModelError, match="changed after it was written"):
        Contract.from_json(text)
