"""The rules for backbones that bring their weights: what carries a record keeps them, and broken ones are told so."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from finetune.testing import backbone_recorded, backbone_records
from finetune.testing.backbones import BackboneSubject, rules_of
from finetune.testing.rules import Case, Check, Finding
from finetune.types import Backbone
from finetune.weight_record import backbone_of

Toys = Callable[..., bytes]
CASE = Case(plugin="toys")
RECORD, WEIGHTS = "finetune.types.WeightRecord", "finetune.types.Weights"


@pytest.fixture(scope="module")
def record(toys: Toys, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("a plugin") / "toys.safetensors"
    path.write_bytes(toys())
    return path


def offered(path: Path) -> Backbone:
    return backbone_of(path, name="toys", sha256=hashlib.sha256(path.read_bytes()).hexdigest())


def with_weights(backbone: Backbone, **facts: Any) -> Backbone:
    assert backbone.weights
    return replace(backbone, weights=replace(backbone.weights, **facts))


def found(rule: str, backbone: Backbone) -> Finding:
    (held,) = (each for each in rules_of(backbone) if each.name == rule)
    return Check(rule=held, subject="backbone 'toys'", thing=BackboneSubject(backbone, CASE)).run()


def broken(rule: str, backbone: Backbone) -> str:
    """Return what was found instead, without the sentence around it."""
    finding = found(rule, backbone)
    assert (finding.verdict, finding.message.endswith(f". Read: python -m pydoc {RECORD}")) == ("failed", True)
    return finding.message.partition("; found ")[2].rpartition(". Read: ")[0]


def test_a_backbone_that_carries_a_record_keeps_every_rule_about_what_it_states(record: Path) -> None:
    subject = BackboneSubject(offered(record), CASE)
    rules = (*backbone_records.RULES, *backbone_recorded.RULES)
    findings = [Check(rule=rule, subject="it", thing=subject).run() for rule in rules]
    assert [finding.message for finding in findings if finding.verdict == "failed"] == []
    assert {finding.rule: finding.message for finding in findings if finding.verdict == "not checked"} == {
        "checks-its-weights": "it brings its weights, which the rule 'carries-a-whole-record' holds against their hash"
    }


def test_only_a_backbone_that_brings_its_weights_is_asked_for_a_record(record: Path) -> None:
    own = {rule.name for rule in rules_of(offered(record))}
    published = {rule.name for rule in rules_of(with_weights(offered(record), url="https://example.org/a.pth"))}
    assert own - published == {"carries-a-whole-record", "says-what-its-record-says", "fits-its-architecture"}
    assert rules_of(replace(offered(record), weights=None)) == rules_of(with_weights(offered(record), url="http://x/a"))


# ── the file ────────────────────────────────────────────────────────────────────────────────────────


def test_another_file_than_the_plugin_states_is_found(record: Path) -> None:
    backbone = with_weights(offered(record), sha256="0" * 64)
    sha256 = hashlib.sha256(record.read_bytes()).hexdigest()
    what = f"toys.safetensors with the SHA-256 {sha256[:16]}… instead of {'0' * 16}…"
    assert broken("carries-a-whole-record", backbone) == what


def test_a_record_that_was_left_out_of_the_wheel_is_found(record: Path, tmp_path: Path) -> None:
    gone = tmp_path / "toys.safetensors"
    assert (
        broken("carries-a-whole-record", with_weights(offered(record), url=gone.as_uri()))
        == f"no file at {gone.as_uri()}"
    )


def test_tensors_that_are_not_those_of_the_record_are_found(toys: Toys, tmp_path: Path) -> None:
    content = bytearray(toys())
    content[-1] ^= 1
    (tmp_path / "toys.safetensors").write_bytes(content)
    what = broken("carries-a-whole-record", offered(tmp_path / "toys.safetensors"))
    assert what.startswith("toys.safetensors is damaged or was changed: the SHA-256 of its tensors and facts begins ")


def test_weights_without_a_record_are_found(record: Path, tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    plain = tmp_path / "plain.safetensors"
    save_file({"conv1": np.zeros((2, 2), np.float32)}, plain)
    stated = {"url": plain.as_uri(), "sha256": hashlib.sha256(plain.read_bytes()).hexdigest()}
    backbone = with_weights(offered(record), **stated)
    assert broken("carries-a-whole-record", backbone) == "plain.safetensors, which has none"
    for rule in ("says-what-its-record-says", "fits-its-architecture"):
        finding = found(rule, backbone)
        why = "no record can be read; see the rule 'carries-a-whole-record'"
        assert (finding.verdict, finding.message) == ("not checked", why)


# ── what it says ────────────────────────────────────────────────────────────────────────────────────


def test_a_licence_that_is_not_the_records_is_found(record: Path) -> None:
    what = broken("says-what-its-record-says", with_weights(offered(record), licence="MIT"))
    assert what == "licence='MIT' where its record has 'CC-BY-4.0'"


def test_a_normalisation_that_is_not_the_records_is_found(record: Path) -> None:
    what = broken("says-what-its-record-says", replace(offered(record), mean=(0.5, 0.5, 0.5)))
    assert what == "mean=(0.5, 0.5, 0.5) where its record has (0.485, 0.456, 0.406)"


def test_names_and_summaries_are_the_plugins_own(record: Path) -> None:
    backbone = replace(offered(record), summary="All of our toys.")
    assert found("says-what-its-record-says", with_weights(backbone, name="v2")).verdict == "ok"


# ── what it is for ──────────────────────────────────────────────────────────────────────────────────


def test_weights_of_another_architecture_are_found(toys: Toys, tmp_path: Path) -> None:
    path = tmp_path / "toys.safetensors"
    path.write_bytes(toys(architecture="squeezenet1_1"))
    what = broken("fits-its-architecture", offered(path))
    assert "do not fit the backbone 'toys': missing keys: " in what


def test_an_architecture_that_nobody_offers_is_found_where_it_is_built(toys: Toys, tmp_path: Path) -> None:
    path = tmp_path / "toys.safetensors"
    path.write_bytes(toys(architecture="resnet18_quarter", offered_by="finetune-quarters"))
    finding = found("builds", offered(path))
    assert finding.verdict == "failed"
    assert "resnet18_quarter" in finding.message
    assert found("fits-its-architecture", offered(path)).message == "it cannot be built; see the rule 'builds'"


# ── what every backbone is held against ─────────────────────────────────────────────────────────────


def test_a_file_needs_the_functions_that_find_it(record: Path) -> None:
    backbone = with_weights(offered(record), find="", fetch="")
    finding = found("states-its-weights", backbone)
    assert finding.message.endswith(f"; found url={record.as_uri()!r}. Read: python -m pydoc {WEIGHTS}")


def test_a_licence_that_says_nothing_is_found(record: Path) -> None:
    finding = found("states-its-weights", with_weights(offered(record), licence="unknown"))
    assert finding.message.endswith(f"; found licence='unknown'. Read: python -m pydoc {WEIGHTS}")
