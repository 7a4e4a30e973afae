"""What is found out of a run before it is published: damaged records, and places on this machine."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import FinetuneError, ModelError
from finetune_hf import publishing
from finetune_hf.finished import Finished, finished
from finetune_hf.privacy import check_privacy


def refusal(run: Path, status: int) -> str:
    """Return what is said where a run is refused, without the folder above it."""
    with pytest.raises(FinetuneError) as caught:
        publishing.prepare(run, "user/pets")
    assert caught.value.exit_code == status
    assert "\n" not in str(caught.value)
    return str(caught.value).replace(f"{run.parent}/", "")


# ── damaged records ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: proof.update(problems=3),
        lambda proof: proof.update(target=["onnx"]),
        lambda proof: proof.update(agreement="all"),
        lambda proof: proof.pop("compared"),
    ],
    ids=["problems", "target", "agreement", "compared"],
)
def test_a_proof_of_other_kinds_of_values_is_damaged(plain: Path, change: Callable[[dict[str, Any]], object]) -> None:
    proofs = json.loads((plain / "verification.json").read_text())
    change(proofs[0])
    (plain / "verification.json").write_text(json.dumps(proofs))

    assert refusal(plain, 2) == "plain/verification.json is damaged. Publish another run."


@pytest.mark.parametrize("result", [7, {"test_scores": [1]}], ids=["number", "list"])
def test_a_result_of_other_kinds_of_values_is_damaged(plain: Path, result: Any) -> None:
    status = json.loads((plain / "run.json").read_text())
    (plain / "run.json").write_text(json.dumps({**status, "result": result}))

    assert refusal(plain, 2) == "plain/run.json is damaged. Publish another run."


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("split.csv", b"part,label\ntrain,cat\n"),
        ("split.csv", b"part,path\ntrain\n"),
        ("split.csv", b"path\n\xff\n"),
        ("config.toml", b"data = "),
        ("config.toml", b"\xff"),
    ],
    ids=["header", "row", "split bytes", "TOML", "TOML bytes"],
)
def test_records_of_the_pictures_that_are_damaged_are_refused(plain: Path, name: str, content: bytes) -> None:
    (plain / name).write_bytes(content)

    assert refusal(plain, 2) == f"plain/{name} is damaged. Publish another run."


@pytest.mark.parametrize("content", [b"\xff\xfe", b"---\nlicense: [\n---\n", b"---\n1: 2\n---\n"])
def test_a_card_of_the_target_that_is_damaged_is_refused(with_hf: Path, content: bytes) -> None:
    (with_hf / "hf" / "README.md").write_bytes(content)

    assert refusal(with_hf, 4) == (
        "with-hf/hf/README.md is damaged: it is no card as the target 'hf' writes it. Export it again."
    )


# ── places on this machine ──────────────────────────────────────────────────────────────────────────


@pytest.fixture
def found(plain: Path) -> Finished:
    return finished(plain)


def of_source(found: Finished, source: str) -> Finished:
    return replace(found, contract=replace(found.contract, dataset=replace(found.contract.dataset, source=source)))


@pytest.mark.parametrize("behind", ["", "/", "/train/cat", ".", ", all of it"])
def test_the_folder_of_the_pictures_is_found_wherever_its_name_ends(found: Finished, drawn: Path, behind: str) -> None:
    with pytest.raises(ModelError, match=rf"^finetune\.onnx names {drawn}, a place on this machine"):
        check_privacy(of_source(found, f"{drawn}{behind}"), "")


@pytest.mark.parametrize("behind", ["-2", "_of_somebody", ".zip", "s"])
def test_a_longer_name_is_another_place(found: Finished, drawn: Path, behind: str) -> None:
    check_privacy(of_source(found, f"{drawn}{behind}"), "")


def test_the_bytes_of_a_graph_are_searched_as_well(found: Finished, drawn: Path, tmp_path: Path) -> None:
    graph = tmp_path / "graph.onnx"
    graph.write_bytes(b"\x0a" + str(drawn).encode() + b"\x12\x00")

    with pytest.raises(ModelError, match=rf"^onnx/model\.onnx names {drawn}, "):
        check_privacy(replace(found, files={**found.files, "onnx/model.onnx": graph}), "")
