"""The model card: facts of the records alone, YAML and Markdown whatever they hold, and code that runs."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from finetune.report.model_card import model_card
from finetune.report.model_card_text import code, front_matter, plain, table
from finetune.types import LabelError, LabelErrors, RunRecords, Task
from finetune_export import golden, model_file
from finetune_export.cli import main
from finetune_export.cli.output import visible
from finetune_export.contract import (
    CONTRACT_KEY,
    GOLDEN_KEY,
    BackboneOrigin,
    Calibration,
    Contract,
    DatasetOrigin,
    PluginOrigin,
    Preprocessing,
    Scaling,
)

from .conftest import result_of, verified

LABELS = ("ant", "bee", "Käfer 甲")
HOSTILE = (
    *("<img src=x onerror=alert(1)>", "a | b", "`` ` ``", "[link](http://x.example)", "**bold** _it_ ~~no~~"),
    *("\n# heading\n", "a\\|b", "https://x.example www.x.example", "- point", "1. first", "</td>&amp;", " ", "\\"),
    *("---", "'\": {x: [", "😀\x85\u2028\ufeff"),
)
EACH = 3


def contract_of(labels: Sequence[str], task: Task, **facts: Any) -> Contract:
    numbers = (1.0,) * len(labels)
    known = Contract(
        labels=tuple(labels),
        preprocessing=Preprocessing(image_size_px=8, crop_fraction=1.0, mean=(0.5,) * 3, std=(0.5,) * 3),
        backbone=BackboneOrigin(name="tiny", weights="tiny-v1", licence="BSD-3-Clause", sha256="f" * 64),
        dataset=DatasetOrigin(
            **{"name": "insects", "source": "drawn", "licence": "unknown", "fingerprint": "0" * 64},
            **{"train_images": 9, "valid_images": 9},
        ),
        run_id="a-run",
        metrics={"accuracy": 0.5},
        versions={"finetune-export": "0.1.0"},
        calibration=Calibration(method="temperature", temperature=1.25) if task != "regression" else Calibration(),
        scaling=Scaling(offset=numbers, scale=numbers) if task == "regression" else None,
        task=task,
        graph_sha256="a" * 64,
    )
    return replace(known, **facts)


def scores_of(labels: Sequence[str], task: Task) -> dict[str, Any]:
    if task == "regression":
        values, headline = {"r2": 0.5, "mae": 2.0}, "r2"
        each: list[dict[str, Any]] = [{"label": label, "mae": 1.0, "rmse": 1.0 + n} for n, label in enumerate(labels)]
    else:
        headline = "accuracy" if task == "single-label" else "mean-average-precision"
        values = {headline: 0.5, "log-loss": 1e-5}
        each = [
            {"label": label, "pictures": EACH, "precision": None, "f1": (n + 1) / len(labels)}
            for n, label in enumerate(labels)
        ]
    return {"values": values, "headline": headline, "labels": each, "coverage": None, "precision": None}


def records_of(labels: Sequence[str] = LABELS, task: Task = "single-label", **facts: Any) -> RunRecords:
    """Return the records of a run, in which every answer is the first label, or every value 1."""
    metrics, n = scores_of(labels, task), EACH * len(labels)
    result = replace(
        result_of(Path("a run"), len(labels)),
        **{"task": task, "metric": metrics["headline"], "train_images": n, "valid_images": n},
    )
    shown = np.repeat(np.arange(len(labels)), EACH)
    targets: Any = shown if task == "single-label" else np.eye(len(labels), dtype=np.float32)[shown]
    texts = [" ".join("1" for _ in labels)] * n if task == "regression" else [labels[k] for k in shown]
    known = {
        **{"run": Path("a run"), "task": task, "labels": tuple(labels), "options": {}, "result": result},
        "data": {"refused": [], "ignored": [], "findings": []},
        "metrics": {"valid": metrics, "test": None},
        **{"versions": {"python": "3.11", "plugins": {}}, "shares": ("accuracy", "mean-average-precision")},
        **{"history": (), "verification": (verified(),)},
        "split": tuple(
            {"part": p, "label": text, "path": "x", "sha256": ""} for p in ("train", "valid") for text in texts
        ),
        "paths": (Path("x"),) * n,
        "answers": np.tile(np.eye(len(labels), dtype=np.float32)[0], (n, 1)),
        **{"targets": targets, "contract": contract_of(labels, task)},
    }
    return RunRecords(**{**known, **facts})


def facts_in(card: str) -> dict[str, Any]:
    """Return the YAML at the beginning of a card."""
    _, facts, _ = card.split("\n---\n" if not card.startswith("---\n") else "---\n", 2)
    return dict(yaml.safe_load(facts))


def body_of(card: str) -> str:
    return card.split("\n---\n", 1)[1]


def inline_tokens(markdown: str) -> Iterator[Any]:
    for block in MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"]).parse(markdown):
        assert block.type != "html_block", block.content
        yield from block.children or ()


def spans(markdown: str) -> list[str]:
    """Return what the code spans hold, having seen that nothing is markup but our own bold words."""
    found = []
    for token in inline_tokens(markdown):
        assert token.type in ("text", "code_inline", "softbreak", "strong_open", "strong_close", "text_special"), token
        if token.type == "code_inline":
            found.append(token.content)
    return found


# ── whatever the names are ──────────────────────────────────────────────────────────────────────────


@settings(max_examples=40, deadline=None)
@given(st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=5, unique=True))
@example(list(HOSTILE))
def test_no_name_becomes_markup_and_every_name_is_there(labels: list[str]) -> None:
    records = records_of(labels)
    hostile = labels[0]
    contract = replace(
        records.contract,
        dataset=replace(records.contract.dataset, name=hostile, source=labels[1], licence=hostile),
        plugins=(
            PluginOrigin(distribution=hostile, version=hostile, licence=hostile, origin=hostile, used_for=("x",)),
        ),
    )
    result = replace(records.result, notes=(hostile, labels[1]), verdict=hostile)

    card = model_card(replace(records, contract=contract, result=result))

    (entry,) = facts_in(card)["model-index"]
    assert entry["results"][0]["dataset"]["name"] == hostile
    written = spans(body_of(card))
    for label in labels:
        assert {visible(label), visible(label).replace("\\|", "\\x7c")} & set(written), label
    headings = [line for line in body_of(card).splitlines() if line.startswith("#")]
    assert len(headings) == 13, headings


@settings(max_examples=60, deadline=None)
@given(
    st.dictionaries(st.text(min_size=1), st.text() | st.floats(allow_nan=False, allow_infinity=False) | st.integers())
)
@example({"a": "\ud800", "b": 1e-05, "c": "😀\x85\u2028\x7f\ufeff", "d": "no", "e": 5e-324, "f": "\r\n"})
def test_yaml_reads_back_what_was_written(facts: dict[str, Any]) -> None:
    values = list(facts.values())
    tree: Any = {"entries": [{"name": "x", "value": value} for value in values]}
    text = front_matter({**tree, "values": values} if values else {"none": "x"})
    found = yaml.safe_load(text.removeprefix("---").removesuffix("---"))
    assert found == ({**tree, "values": values} if values else {"none": "x"})
    assert all(type(a) is type(b) for a, b in zip(found.get("values", ()), values, strict=True))


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_cell_stays_in_its_place(hostile: str) -> None:
    tokens = MarkdownIt("commonmark").enable("table").parse(table(("a", "b"), [(code(hostile), plain(hostile))] * 2))
    cells = [token.content for token, before in zip(tokens[1:], tokens, strict=False) if before.type == "td_open"]
    assert len(cells) == 4
    assert spans(table(("a", "b"), [("x", plain(hostile))])) == []


def test_a_number_that_is_none_has_no_place_in_yaml() -> None:
    with pytest.raises(ValueError, match="nan has no place in a model card"):
        front_matter({"value": float("nan")})


# ── what it says ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("task", "tags", "says"),
    [
        ("single-label", ["image-classification"], "Every picture gets one of these classes, also one that shows none"),
        ("multi-label", ["image-classification", "multi-label"], "may get some of these labels, too"),
        ("regression", ["image-regression"], "Values have no confidence"),
    ],
)
def test_every_task_has_its_card(task: Task, tags: list[str], says: str) -> None:
    card = model_card(records_of(task=task))
    facts = facts_in(card)
    assert facts["tags"] == [*tags, "onnx", "finetune"]
    assert facts.get("pipeline_tag") == (None if task == "regression" else "image-classification")
    assert says in card
    assert "50.0% (95 % interval: 21.0% to 79.0%)" in card or "0.5 (95 % interval: 0.21 to 0.79)" in card
    spans(body_of(card))


def test_it_is_held_against_an_answer_that_looks_at_no_picture() -> None:
    card = model_card(records_of())
    assert "Without looking at any picture, always saying 'ant' reaches `accuracy` 33.3%." in card
    assert "These pictures do not show that it is better than always saying 'ant'." in card
    assert (
        "Most often taken for another, with the number of pictures: `bee` for `ant` (3), `Käfer 甲` for `ant` (3)."
        in card
    )


@pytest.mark.parametrize(
    ("weights", "data", "said"),
    [
        ("BSD-3-Clause", "unknown", {"license": "unknown"}),
        ("Apache-2.0", "apache-2.0", {"license": "apache-2.0"}),
        ("MIT", "CC-BY-NC-4.0", {"license": "other", "license_name": "weights-mit-data-cc-by-nc-4.0"}),
        ("Our Own! (v2)", "our own! (V2)", {"license": "other", "license_name": "our-own-v2"}),
        ("MIT", "", {"license": "unknown"}),
        ("甲", "甲", {"license": "other", "license_name": "see-provenance"}),
        ("unknown", "CC0-1.0", {"license": "unknown"}),
        ("unknown", "unknown", {"license": "unknown"}),
    ],
)
def test_a_licence_is_claimed_only_as_it_was_recorded(weights: str, data: str, said: dict[str, str]) -> None:
    contract = contract_of(LABELS, "single-label")
    contract = replace(
        contract,
        backbone=replace(contract.backbone, licence=weights),
        dataset=replace(contract.dataset, licence=data),
    )
    facts = facts_in(model_card(records_of(contract=contract)))
    assert {name: facts[name] for name in facts if name.startswith("license")} == said


def test_a_model_from_random_weights_has_the_licence_of_its_data() -> None:
    contract = contract_of(LABELS, "single-label", backbone=BackboneOrigin(name="tiny", weights="none", licence=""))
    contract = replace(
        contract, dataset=replace(contract.dataset, licence="CC0-1.0", source="Hugging Face: me/insects")
    )
    facts = facts_in(model_card(records_of(contract=contract)))
    assert facts["license"] == "cc0-1.0"
    assert facts["datasets"] == ["me/insects"]


def test_what_is_unknown_is_not_stated() -> None:
    card = model_card(records_of())
    assert "| licence | not stated |" in card
    assert "Who is meant to ask it, and what for, is not stated." in card


def test_no_folder_of_the_machine_is_named() -> None:
    records = records_of()
    notes = ("2 pictures equal, first /home/me/a.jpg.", "x starts from ../w.pth", r"in C:\me", "Drawn, 1/2 of them.")
    card = model_card(replace(records, result=replace(records.result, notes=notes)))
    assert "Drawn, 1/2 of them." in card
    assert not re.search(r"home/me|w\.pth|C:", card)


def test_of_a_thousand_classes_the_worst_and_the_best_are_shown() -> None:
    card = model_card(records_of([f"class {n}" for n in range(1000)]))
    assert "The 20 worst and the 20 best of 1,000 labels by `f1`" in card
    shown = re.findall(r"^\| `class (\d+)` \|", card, re.MULTILINE)
    assert shown == [str(n) for n in (*range(20), *range(980, 1000))]
    assert "`class 19` and 980 more, all of which are in `model.onnx`" in card
    assert len(card) < 20_000


def test_scores_of_the_test_part_come_beside_those_of_the_validation_part() -> None:
    records = records_of()
    metrics = {
        "valid": records.metrics["valid"],
        "test": {**scores_of(LABELS, "single-label"), "values": {"accuracy": 0.25}},
    }
    result = replace(records.result, test_images=9, test_scores={"accuracy": 0.25}, test_interval=(0.1, 0.4))
    card = model_card(replace(records, metrics=metrics, result=result))
    assert "| `accuracy` | 50.0% (95 % interval: 21.0% to 79.0%) | 25.0% (95 % interval: 10.0% to 40.0%) |" in card
    assert "| `log-loss` | 1e-05 | – |" in card
    assert "On the test pictures:" in card
    results = facts_in(card)["model-index"][0]["results"]
    assert [found["dataset"]["split"] for found in results] == ["validation", "test"]


def test_without_validation_pictures_nothing_is_claimed() -> None:
    records = records_of()
    nothing = {"values": {"accuracy": None, "log-loss": float("nan")}, "labels": []}
    card = model_card(
        replace(
            records,
            metrics={"valid": nothing, "test": None},
            result=replace(records.result, value=float("nan"), interval=None, valid_images=0, ece_before=None),
            **{"answers": records.answers[:0], "targets": records.targets[:0], "paths": ()},
        )
    )
    assert "model-index" not in facts_in(card)
    assert "There were no validation pictures, so nothing is known of how good the model is." in card
    assert not re.search(r"\bnan\b", card, re.IGNORECASE)


def test_what_was_found_about_the_pictures_is_a_limit() -> None:
    errors = LabelErrors(
        pictures=18,
        doubted=3,
        method="",
        found=(
            LabelError(
                path="x", part="train", given="ant", likely="bee", given_probability=0.1, likely_probability=0.9
            ),
        ),
    )
    found = [{"kind": "near-duplicate", "detail": "", "pictures": [{}, {}]}]
    data = {"refused": [{}], "ignored": ["x"], "findings": found}
    answers = records_of().answers.copy()
    answers[0] = np.nan
    card = model_card(records_of(data=data, label_errors=errors, answers=answers))
    for line in (
        "- Likely labelled wrong, by confident learning: 3 of 18 pictures.",
        "- Findings of the kind `near-duplicate` are about 2 pictures, which nearly equal another one.",
        "- Left out, for they could not be read: 1 picture.",
        "- 1 picture got answers that are no finite numbers.",
        "- 3 labels have fewer than 10 validation pictures, such as `ant`.",
        "- With 9 validation pictures, the true `accuracy` may well be anywhere from 21.0% to 79.0%.",
    ):
        assert line in card


# ── how to use ──────────────────────────────────────────────────────────────────────────────────────


def model_of(contract: Contract) -> bytes:
    """Return a model that looks at the mean colour alone, with golden pairs."""
    last = {"single-label": "Softmax", "multi-label": "Sigmoid", "regression": "Identity"}[contract.task]
    answer = "values" if contract.task == "regression" else "probabilities"
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["image"], ["float"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["float", "axes"], ["embedding"], keepdims=0),
            helper.make_node("MatMul", ["embedding", "weights"], ["logits"]),
            helper.make_node(last, ["logits"], [answer]),
        ],
        "tiny",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["N", 8, 8, 3])],
        [
            helper.make_tensor_value_info(answer, TensorProto.FLOAT, ["N", len(contract.labels)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3]),
        ],
        [
            numpy_helper.from_array(np.array([1, 2], np.int64), "axes"),
            numpy_helper.from_array(np.eye(3, len(contract.labels), dtype=np.float32) / 100, "weights"),
        ],
    )
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10).SerializeToString()
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    pairs = golden.make(contract.preprocessing, lambda pixels: session.run(None, {"image": pixels})[0])
    sealed = replace(contract, graph_sha256=model_file.read(data).graph_sha256)
    return model_file.with_metadata(data, {CONTRACT_KEY: sealed.to_json(), GOLDEN_KEY: golden.dump(pairs)})


@pytest.mark.parametrize(
    ("task", "says"),
    [
        ("single-label", r"photo\.jpg ant 0\.\d+"),
        ("multi-label", r"photo\.jpg \('ant', .*"),
        ("regression", r"photo\.jpg \{'ant': .*\}"),
    ],
)
def test_the_code_on_the_card_runs(
    task: Task, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    records = records_of(task=task)
    (tmp_path / "model.onnx").write_bytes(model_of(records.contract))
    Image.new("RGB", (20, 10), "red").save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    card = model_card(records)

    (program,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
    exec(compile(program, "card", "exec"), {})
    assert re.fullmatch(says, capsys.readouterr().out.strip())

    (command,) = re.findall(r"```sh\n(.*?)\n```", card, re.DOTALL)
    words = command.split()
    assert words[:2] == ["finetune-export", "predict"]
    with pytest.raises(SystemExit) as ended:
        main(words[1:])
    assert not ended.value.code
    assert "photo.jpg" in capsys.readouterr().out
