"""Weight records: what was written is read, and a file that is damaged, forged or newer is refused in one line."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune.builtin.folder import LOCAL as FOLDER
from finetune.builtin.table.loading import LOCAL as TABLE
from finetune.errors import ModelError
from finetune.types import WeightRecord
from finetune.weight_record import (
    METADATA_KEY,
    backbone_of,
    check_record,
    from_text,
    pretraining,
    read_record,
    record_sha256,
    to_text,
)

from .recording import RECORD, TENSORS, content, hashed, whole, write

AGAIN = "Copy it again, or pretrain it anew."


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "dogs.safetensors"


def refused(path: Path, record: WeightRecord | None = None) -> str:
    """Return the one line that refuses to read the file, or to believe its record."""
    with pytest.raises(ModelError) as caught:
        check_record(path, record) if record else read_record(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def said(**facts: Any) -> str:
    """Return the JSON of a record with other facts, of any type."""
    return json.dumps({"schema": 1, **asdict(whole()), **facts})


# ── reading ─────────────────────────────────────────────────────────────────────────────────────────


def test_what_was_written_is_read_and_holds(path: Path) -> None:
    record = read_record(write(path))

    assert record == whole()
    check_record(path, record)


@pytest.mark.parametrize("metadata", [None, {}, {"format": "pt", "licence": "MIT"}], ids=["none", "empty", "others"])
def test_a_file_without_a_record_has_none(path: Path, metadata: dict[str, str] | None) -> None:
    path.write_bytes(content(metadata))

    assert read_record(path) is None


def test_only_the_header_is_read(path: Path) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")

    assert read_record(path) == whole()


def test_the_hash_is_of_the_tensors_and_of_no_other_metadata() -> None:
    assert record_sha256(content({"licence": "MIT"}), RECORD) == record_sha256(content(), RECORD)
    assert record_sha256(content(tensors=dict(reversed(TENSORS.items()))), RECORD) != record_sha256(content(), RECORD)


@pytest.mark.parametrize(
    "facts",
    [
        {"labels": ("collie", "pug", "beagle")},
        {"labels": ("pug", "collie", "Käfer 甲")},
        {"licence": "MIT"},
        {"dataset": "cats"},
        {"mean": (0.5, 0.5, 0.5)},
        {"metrics": {"accuracy": 0.999, "f1": 0.9}},
    ],
    ids=["renamed", "reordered", "licence", "dataset", "preprocessing", "metrics"],
)
def test_a_fact_that_was_changed_afterwards_is_found(path: Path, facts: dict[str, Any]) -> None:
    record = read_record(write(path, sha256=whole().sha256, **facts))

    assert record
    assert refused(path, record).startswith(f"{path} is damaged or was changed: the SHA-256 of its tensors and facts ")


@pytest.mark.parametrize(
    "other", [{"conv.bias": ("F16", (4, 3))}, {"conv.weight": ("BF16", (4, 3))}, {"conv.weight": ("F16", (3, 4))}]
)
def test_another_name_type_or_shape_is_another_hash(other: dict[str, Any]) -> None:
    here = {"conv.weight": ("F16", (4, 3))}

    assert record_sha256(content(tensors=other), RECORD) != record_sha256(content(tensors=here), RECORD)


def test_reading_a_record_loads_neither_numpy_nor_torch() -> None:
    code = "import sys, finetune.weight_record; print([m for m in ('numpy', 'torch', 'PIL') if m in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


def test_one_flipped_byte_of_a_tensor_is_found(path: Path) -> None:
    record = read_record(write(path))
    damaged = bytearray(path.read_bytes())
    damaged[-5] ^= 1
    path.write_bytes(damaged)

    assert record
    found = record_sha256(bytes(damaged), record)
    assert refused(path, record) == (
        f"{path} is damaged or was changed: the SHA-256 of its tensors and facts begins {found[:16]}, and its record "
        f"says {record.sha256[:16]}. Copy it again, or pretrain it anew."
    )


@pytest.mark.parametrize("labels", [("collie", "pug"), ("collie", "pug", "Käfer", "beagle")], ids=["fewer", "more"])
def test_a_record_with_other_labels_than_the_head_has_outputs_is_refused(path: Path, labels: tuple[str, ...]) -> None:
    assert refused(write(path, labels=labels), whole(labels=labels)) == (
        f"{path} is damaged: its head has 3 outputs, and its record names {len(labels)} labels. {AGAIN}"
    )


def test_a_record_of_a_file_without_a_head_is_refused(path: Path) -> None:
    body = content(tensors={"conv.weight": ("F16", (4, 3))})
    path.write_bytes(body)

    assert "its head has 0 outputs" in refused(path, hashed(RECORD, body))


def test_of_a_head_of_two_layers_the_last_one_counts(path: Path) -> None:
    head = {"head.classifier.2.weight": ("F16", (512, 8)), "head.classifier.10.weight": ("F16", (3, 512))}
    path.write_bytes(content(tensors=head))

    check_record(path, hashed(RECORD, path.read_bytes()))


@pytest.mark.parametrize("kept", [0, 7, 8, 100, -1], ids=["empty", "length", "no-header", "header", "last-byte"])
def test_a_file_that_was_cut_is_refused(path: Path, kept: int) -> None:
    write(path)
    path.write_bytes(path.read_bytes()[:kept])

    assert refused(path, whole()).startswith(f"{path} is damaged or no safetensors file: ")
    if kept >= 0:
        assert refused(path) == f"{path} is damaged or no safetensors file: its header is not whole. Copy it again."


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        (b"\xff\xfe", "'utf-8' codec can't decode"),
        (b"[]", "its header is no JSON object"),
        (b'{"__metadata__": []}', "its metadata are no texts by name"),
        (b'{"__metadata__": {"finetune.weights": 1}}', "its metadata are no texts by name"),
        (b'{"a": 1, "a": 2}', 'key "a" occurs twice'),
        (b"[" * 100_000, "maximum recursion depth exceeded"),
    ],
    ids=["bytes", "list", "metadata", "number", "twice", "deep"],
)
def test_a_header_that_is_none_is_refused(path: Path, header: bytes, problem: str) -> None:
    path.write_bytes(len(header).to_bytes(8, "little") + header)

    assert problem in refused(path)
    assert problem in refused(path, whole())


@pytest.mark.parametrize("size", [2**24 + 1, 100_000_001])
def test_a_header_that_would_take_gigabytes_is_refused_before_it_is_read(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.write(size.to_bytes(8, "little"))
        file.truncate(200_000_000)  # sparse: it takes no room

    assert f"its header has {size} bytes, and at most 16777216 are read" in refused(path)
    assert f"its header has {size} bytes, and at most 16777216 are read" in refused(path, whole())


def test_a_file_is_held_against_its_record_without_being_in_memory(path: Path) -> None:
    path.write_bytes(content(tensors={"conv.weight": ("F16", (2**14, 2**10))}))
    tracemalloc.start()
    try:
        refused(path, whole())
        assert tracemalloc.get_traced_memory()[1] < path.stat().st_size / 4
    finally:
        tracemalloc.stop()


def test_the_hash_of_many_blocks_is_the_documented_one() -> None:
    tensor = content(tensors={"conv.weight": ("F16", (3, 2**19 + 1))})
    facts = {name: fact for name, fact in asdict(RECORD).items() if name != "sha256"}
    told = (
        json.dumps(facts, sort_keys=True).encode() + b'["conv.weight", "F16", [3, 524289]]' + tensor[-6 * (2**19 + 1) :]
    )

    assert record_sha256(tensor, RECORD) == hashlib.sha256(told).hexdigest()


@pytest.mark.parametrize(
    ("offsets", "problem"),
    [
        ([0, 25], "its tensors have 25 bytes, and 24 are there"),
        ([0, 20], "its tensors have 20 bytes, and 24 are there"),
        ([4, 24], "its tensors overlap, or leave something between them"),
        ([24, 0], "its tensors overlap, or leave something between them"),
        ([0, "24"], 'conv.weight.data_offsets[1]: "24" is not allowed'),
        ([0], "a list of 2"),
    ],
)
def test_tensors_that_are_not_where_the_header_says_are_refused(path: Path, offsets: list[Any], problem: str) -> None:
    header = json.dumps({"conv.weight": {"dtype": "F16", "shape": [4, 3], "data_offsets": offsets}}).encode()
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))

    assert problem in refused(path, whole())


def test_a_record_of_a_newer_schema_asks_for_a_newer_finetune(path: Path) -> None:
    assert refused(write(path, '{"schema": 2, "anything": "else"}')) == (
        f"The weight record of {path} has the schema 2, and this finetune reads 1: it needs a newer finetune."
    )


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"schema": "1"}', '{"schema": true}', '{"schema": 0}', "9" * 9999]
)
def test_a_text_that_is_no_record_is_refused(path: Path, text: str) -> None:
    assert refused(write(path, text)).startswith(f"The weight record of {path} is damaged: ")


def test_a_record_that_says_something_twice_is_refused(path: Path) -> None:
    assert refused(write(path, '{"schema": 1, "name": "a", "name": "b"}')) == (
        f'The weight record of {path} is damaged: key "name" occurs twice. Copy it again, or pretrain it anew.'
    )


def test_a_record_that_lacks_something_is_refused_with_its_name_alone(path: Path) -> None:
    assert refused(write(path, '{"schema": 1, "name": "a"}')) == (
        f'The weight record of {path} is damaged: its key "architecture" is missing. {AGAIN}'
    )


def test_ten_megabytes_of_record_are_refused(path: Path) -> None:
    text = said(command="x" * 10_000_000)

    assert refused(write(path, text)) == (
        f"The weight record of {path} has {len(text)} characters; at most 4194304 are allowed. {AGAIN}"
    )


@pytest.mark.parametrize(
    ("facts", "problem"),
    [
        ({"name": ""}, "its name is not text"),
        ({"architecture": ""}, "its architecture is not text"),
        ({"labels": []}, "its labels is not a list of names"),
        ({"labels": ["pug", "pug"]}, "its labels is not a list of names"),
        ({"labels": ["pug", ""]}, "its labels is not a list of names"),
        ({"image_size_px": 0}, "its image_size_px is not what --image-size may be"),
        ({"image_size_px": 10**6}, "its image_size_px is not what --image-size may be"),
        ({"min_image_size_px": 4097}, "its min_image_size_px is not a number of pixels up to 4096"),
        ({"image_size_multiple_px": 10**6}, "its image_size_multiple_px is not a number of pixels up to 4096"),
        ({"parameters": -1}, "its parameters is not a count"),
        ({"parameters": 10**400}, "its parameters is not a count"),
        ({"train_images": 2**63}, "its train_images is not a count"),
        ({"crop_fraction": 0}, "its crop_fraction is not what --crop-fraction may be"),
        ({"crop_fraction": 0.05}, "its crop_fraction is not what --crop-fraction may be"),
        ({"seed": -1}, "its seed is not what --seed may be"),
        ({"mean": [0, 0, 123.7]}, "its mean is not within 0 and 1"),
        ({"std": [1, 1, 0]}, "its std is not over 0 and up to 1"),
        ({"sha256": "abc"}, "its sha256 is not 64 hexadecimal digits"),
        ({"build": "os:system"}, 'is damaged: it has no key "build". Copy it again, or pretrain it anew.'),
        ({"task": "segmentation"}, '.task: "segmentation" is not allowed'),
        ({"seed": 1.5}, "record.seed: 1.5 is not allowed; it has to be a whole number. Copy it again, or pretrain it"),
        ({"metrics": {"accuracy": "high"}}, '.metrics.accuracy: "high" is not allowed'),
        ({"metrics": {"\ud800": 1.0}}, "surrogates not allowed"),
        ({"licence": "\ud800"}, "it has to be text in valid Unicode"),
    ],
)
def test_a_record_with_something_else_than_it_has_to_hold_is_refused(
    path: Path, facts: dict[str, Any], problem: str
) -> None:
    assert problem in refused(write(path, said(**facts)))


@pytest.mark.parametrize("value", ["NaN", "Infinity", "1e999"])
def test_a_metric_that_is_no_number_is_refused(path: Path, value: str) -> None:
    assert "finite number" in refused(write(path, said(metrics={"accuracy": 0}).replace('cy": 0', f'cy": {value}')))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    assert refused(tmp_path / "gone.safetensors") == (
        f"Cannot read {tmp_path / 'gone.safetensors'}: No such file or directory. Check the path."
    )
    assert refused(tmp_path, whole()) == f"Cannot read {tmp_path}: Is a directory. Check the path."


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=9,
)


@given(name=st.sampled_from([field.name for field in fields(WeightRecord)]), value=ANYTHING)
def test_whatever_stands_in_a_field_is_taken_or_refused(name: str, value: Any) -> None:
    try:
        record = from_text(said(**{name: value}), "a file")
    except ModelError:
        return
    assert from_text(to_text(record), "a file") == record
    backbone_words = pretraining(record)
    assert "\n" not in backbone_words


@given(header=st.dictionaries(st.text(max_size=9) | st.just("__metadata__"), ANYTHING, max_size=3) | ANYTHING)
def test_whatever_stands_in_a_header_is_hashed_or_refused(header: Any) -> None:
    text = json.dumps(header).encode()
    try:
        found = record_sha256(len(text).to_bytes(8, "little") + text, RECORD)
    except ModelError:
        return
    assert len(found) == 64


@given(where=st.integers(0, len(content({METADATA_KEY: to_text(RECORD)})) - 1), bit=st.integers(0, 7))
def test_whatever_bit_is_flipped_the_file_is_read_or_refused(where: int, bit: int, tmp_path_factory: Any) -> None:
    path = write(tmp_path_factory.getbasetemp() / "flipped.safetensors")
    damaged = bytearray(path.read_bytes())
    damaged[where % len(damaged)] ^= 1 << bit
    path.write_bytes(damaged)

    with suppress(ModelError):
        check_record(path, read_record(path) or whole())


# ── words ───────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "dogs: kinds (1200 pictures of 3 classes, accuracy 93.1%)"),
        ({"source": FOLDER}, "dogs (1200 pictures of 3 classes, accuracy 93.1%)"),
        ({"source": TABLE}, "dogs (1200 pictures of 3 classes, accuracy 93.1%)"),
        ({"metrics": {}}, "dogs: kinds (1200 pictures of 3 classes)"),
        (
            {"task": "multi-label", "metrics": {"accuracy": 0.5, "mean-average-precision": 0.75}},
            "dogs: kinds (1200 pictures of 3 labels, mean-average-precision 75.0%)",
        ),
        ({"task": "regression", "metrics": {"r2": 0.5}}, "dogs: kinds (1200 pictures of 3 labels, r2 0.500)"),
        ({"dataset": "a\n\x0bb" + "c" * 200}, f"a b{'c' * 117}… (1200 pictures of 3 classes, accuracy 93.1%)"),
    ],
    ids=["single-label", "folder", "table", "no-metric", "multi-label", "regression", "hostile"],
)
def test_what_a_network_was_pretrained_on_is_said_in_one_line(facts: dict[str, Any], words: str) -> None:
    assert pretraining(whole(**facts)) == words


# ── plugins that carry one ──────────────────────────────────────────────────────────────────────────


def test_the_backbone_of_a_record_has_its_facts_and_says_where_its_weights_are_from(path: Path) -> None:
    backbone = backbone_of(write(path), name="puppies", sha256="ab" * 32)

    assert (backbone.name, backbone.family, backbone.parameters) == ("puppies", "resnet", 2_795_040)
    assert (backbone.image_size_px, backbone.min_image_size_px, backbone.crop_fraction) == (48, 16, 0.9)
    assert (backbone.mean, backbone.std) == (RECORD.mean, RECORD.std)
    assert backbone.summary == "resnet18_half, pretrained on dogs"
    assert backbone.weights
    assert (backbone.weights.name, backbone.weights.licence) == ("dogs-resnet18_half", "CC-BY-4.0")
    assert backbone.weights.source == "a pretraining on dogs: kinds (1200 pictures of 3 classes, accuracy 93.1%)"
    assert (backbone.weights.url, backbone.weights.sha256) == (path.as_uri(), "ab" * 32)


@pytest.mark.parametrize("content", [b"cut", None], ids=["damaged", "gone"])
def test_a_plugins_file_that_is_not_whole_asks_for_the_plugin_again(path: Path, content: bytes | None) -> None:
    if content:
        path.write_bytes(content)

    with pytest.raises(ModelError, match=r"(whole|directory)\. Install the plugin again that offers the weights\.$"):
        backbone_of(path, name="puppies", sha256="ab" * 32)


def test_a_file_without_a_record_is_no_backbone(path: Path) -> None:
    path.write_bytes(content())

    with pytest.raises(ModelError, match=r"dogs\.safetensors has no weight record\. Carry a file that 'finetune pre"):
        backbone_of(path, name="puppies", sha256="ab" * 32)
