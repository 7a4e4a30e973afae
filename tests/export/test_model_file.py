from __future__ import annotations

import hashlib
import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest

from finetune_export import model_file, wire
from finetune_export.contract import CONTRACT_KEY, GOLDEN_KEY
from finetune_export.errors import ModelError

MakeGraph = Callable[..., onnx.ModelProto]


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("data.pkl", b"x")
    return file.getvalue()


def test_the_hash_is_of_the_file_without_its_metadata(make_graph: MakeGraph) -> None:
    graph = make_graph().SerializeToString()
    expected = hashlib.sha256(graph).hexdigest()
    sealed = model_file.with_metadata(graph, {"a": "1", "b": "zwei"})
    assert model_file.read(graph).graph_sha256 == expected
    assert model_file.read(sealed).graph_sha256 == expected
    assert model_file.read(sealed).metadata == {"a": "1", "b": "zwei"}
    assert model_file.read(sealed).data == sealed


def test_metadata_written_here_and_by_onnx_are_the_same(make_graph: MakeGraph) -> None:
    model = make_graph()
    ours = model_file.with_metadata(model.SerializeToString(), {"key": "Käfer", "empty": ""})
    onnx.helper.set_model_props(model, {"key": "Käfer", "empty": ""})
    theirs = model_file.read(model.SerializeToString())
    assert theirs.metadata == model_file.read(ours).metadata
    assert theirs.graph_sha256 == model_file.read(ours).graph_sha256
    assert {each.key: each.value for each in onnx.load_from_string(ours).metadata_props} == theirs.metadata


def test_metadata_are_replaced_not_added(model: bytes) -> None:
    assert set(model_file.read(model).metadata) == {CONTRACT_KEY, GOLDEN_KEY, "names"}
    assert model_file.read(model_file.with_metadata(model, {"x": "y"})).metadata == {"x": "y"}


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"<!DOCTYPE html><html>404</html>", "it looks like a web page"),
        (b"\n  <html>", "it looks like a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "Git LFS pointer; fetch the file itself with"),
        (pickle.dumps({"state": [1, 2]}), "it looks like a Python pickle"),
        (zipped(), "it looks like a zip archive, perhaps a PyTorch checkpoint"),
        (b'{"model": 1}', "it looks like JSON"),
        (b"\x08\x0a", "not an ONNX file (it has no graph)"),
        (bytes(100), "not a whole ONNX file"),
        (b"just some words that are no model", "not a"),
    ],
)
def test_what_is_not_a_model_is_named(data: bytes, message: str, write: Callable[[bytes], Path]) -> None:
    for source in (data, write(data)):
        with pytest.raises(ModelError) as refused:
            model_file.read(source)
        assert message in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (b"", "a metadata entry is damaged"),
        (wire.encode_field(2, b"value"), "a metadata entry is damaged"),
        (wire.encode_field(1, b"k") + wire.encode_field(1, b"k"), "a metadata entry is damaged"),
        (wire.encode_field(1, b"k") + wire.encode_field(3, b"v"), "a metadata entry is damaged"),
        (wire.encode_field(1, b"k") + b"\x10\x05", "a metadata entry is damaged"),
        (wire.encode_field(1, b"k") + wire.encode_field(2, b"\xff"), "a metadata entry is not UTF-8 text"),
        (wire.encode_field(1, b"names") + wire.encode_field(2, b"again"), "metadata key 'names' occurs twice"),
    ],
)
def test_damaged_metadata_are_refused(model: bytes, entry: bytes, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        model_file.read(model + wire.encode_field(14, entry))


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(model_file.MAX_BYTES + 1)  # sparse
    for name, message in [
        ("absent", r"cannot be read \(No such file or directory\)"),
        ("", "not a regular file"),
        ("pipe", "not a regular file"),
        ("nul\0", "embedded null byte"),
        ("huge", "2147483649 bytes; at most 2147483648 are allowed"),
    ]:
        with pytest.raises(ModelError, match=message):
            model_file.read(tmp_path / name)
