"""The catalogue of bad models, X01 to X40: what each file is, and why the predictor refuses it."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from finetune_export import Predictor, model_file, model_gate
from finetune_export.contract import CONTRACT_KEY, Contract
from finetune_export.errors import ModelError

Model = onnx.ModelProto
WEIGHTS = 2  # the place of the matrix among the initialisers


@dataclass(frozen=True)
class Workshop:
    """What the cases are made from: an honest graph, its honest file, the metadata to go with a graph, a folder."""

    make_graph: Callable[..., Model]
    seal: Callable[..., bytes]
    honest: bytes
    folder: Path

    def graph(self, *nodes: onnx.NodeProto, **tensors: Any) -> Model:
        """Return the honest graph with more operators and initialisers in front of its own."""
        model = self.make_graph()
        own = list(model.graph.node)
        del model.graph.node[:]
        model.graph.node.extend([*nodes, *own])
        model.graph.initializer.extend(numpy_helper.from_array(np.asarray(value), n) for n, value in tensors.items())
        return model

    def sealed(self, model: Model | bytes) -> bytes:
        """Return a file whose contract names this very graph, with the golden pairs of the honest one."""
        data = model if isinstance(model, bytes) else model.SerializeToString()
        pairs = model_file.read(self.honest).metadata
        own = model_file.read(self.seal(data, pairs=False)).metadata
        return model_file.with_metadata(data, {**pairs, **own})

    def with_contract(self, change: Callable[[str], str]) -> bytes:
        metadata = dict(model_file.read(self.honest).metadata)
        metadata[CONTRACT_KEY] = change(metadata[CONTRACT_KEY])
        return model_file.with_metadata(self.honest, metadata)


Build = Callable[[Workshop], bytes]


@pytest.fixture
def workshop(make_graph: Callable[..., Model], seal: Callable[..., bytes], model: bytes, tmp_path: Path) -> Workshop:
    return Workshop(make_graph, seal, model, tmp_path)


def text(content: bytes) -> Build:
    return lambda _: content


def external(location: str, prepare: Callable[[Path], object] = lambda _: None, **more: str) -> Build:
    """Build a model whose matrix is said to be in another file; ``prepare`` puts that file into the folder."""

    def build(shop: Workshop) -> bytes:
        prepare(shop.folder)
        model = shop.make_graph()
        tensor = model.graph.initializer[WEIGHTS]
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in {"location": location.format(folder=shop.folder), **more}.items():
            tensor.external_data.add(key=key, value=value)
        return shop.sealed(model)

    return build


def weights_in(*parts: str) -> Callable[[Path], object]:
    return lambda folder: folder.joinpath(*parts).write_bytes(np.zeros((48, 3), np.float32).tobytes())


def symlinked(folder: Path) -> None:
    weights_in("real.data")(folder)
    (folder / "weights.data").symlink_to("real.data")


def hard_linked(folder: Path) -> None:
    weights_in("real.data")(folder)
    os.link(folder / "real.data", folder / "weights.data")


def changed(change: Callable[[Model], object]) -> Build:
    def build(shop: Workshop) -> bytes:
        model = shop.make_graph()
        change(model)
        return shop.sealed(model)

    return build


def added(*nodes: onnx.NodeProto, **tensors: Any) -> Build:
    return lambda shop: shop.sealed(shop.graph(*nodes, **tensors))


def loop() -> Build:
    """Build a loop without a limit whose condition is always true."""
    inputs = [helper.make_tensor_value_info(n, k, []) for n, k in [("i", TensorProto.INT64), ("go", TensorProto.BOOL)]]
    outputs = [helper.make_tensor_value_info("again", TensorProto.BOOL, [])]
    body = helper.make_graph([helper.make_node("Identity", ["go"], ["again"])], "forever", inputs, outputs)
    return added(helper.make_node("Loop", ["", "yes"], [], body=body), yes=np.array(True))


def conv(**attributes: Any) -> Build:
    nodes = [
        helper.make_node("Cast", ["image"], ["bytes"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["bytes"], ["planes"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["planes", "kernels"], ["map"], **attributes),
    ]
    return added(*nodes, kernels=np.ones((3, 3, 3, 3), np.float32))


def cycle(model: Model) -> None:
    model.graph.node[1].input[0] = "logits"


def duplicate(model: Model) -> None:
    model.graph.node[1].output[0] = "float"
    model.graph.node[2].input[0] = "float"


def lying(*dims: int) -> Build:
    def lie(model: Model) -> None:
        del model.graph.initializer[WEIGHTS].dims[:]
        model.graph.initializer[WEIGHTS].dims.extend(dims)

    return changed(lie)


def gather() -> Build:
    """Build a lookup beyond the end of what the picture gives, so that it shows when it runs."""
    return changed(
        lambda model: model.graph.node.extend(
            [
                helper.make_node("Constant", [], ["far"], value_ints=[2**40]),
                helper.make_node("Gather", ["columns", "far"], ["nothing"], axis=1),
            ]
        )
    )


def opset(model: Model) -> None:
    model.opset_import[0].version = 9999


def ir(model: Model) -> None:
    model.ir_version = 999


def not_numbers(shop: Workshop) -> bytes:
    return shop.sealed(shop.make_graph(np.full((48, 3), np.nan, np.float32)))


def flipped(shop: Workshop) -> bytes:
    data = bytearray(shop.honest)
    data[shop.honest.index(shop.make_graph().graph.initializer[WEIGHTS].raw_data) + 100] ^= 1
    return bytes(data)


def two_labels(shop: Workshop) -> bytes:
    return shop.with_contract(lambda text: replace(Contract.from_json(text), labels=("ant", "bee")).to_json())


def no_contract(shop: Workshop) -> bytes:
    metadata = {key: value for key, value in model_file.read(shop.honest).metadata.items() if key != CONTRACT_KEY}
    return model_file.with_metadata(shop.honest, metadata)


def contract(change: Callable[[str], str]) -> Build:
    return lambda shop: shop.with_contract(change)


BY_THE_GATE = {f"X{number:02}" for number in (*range(5, 25), 27, 28, 30, 31, 32)}
OUTSIDE = "the model keeps weights outside the file; export it as one .onnx file"
CHANGED = "finetune.contract: changed after it was written"
CATALOGUE: dict[str, tuple[Build, str]] = {
    "X01 empty": (text(b""), "the file is empty"),
    "X02 web page of a 404": (text(b"<!DOCTYPE html><title>404</title>"), "it looks like a web page"),
    "X03 Git LFS pointer": (text(b"version https://git-lfs.github.com/spec/v1\noid sha256:0"), "a Git LFS pointer"),
    "X04 pickle renamed": (text(pickle.dumps({"fc.weight": [0.0]})), "it looks like a Python pickle"),
    "X05 weights beside the file": (external("weights.data", weights_in("weights.data")), OUTSIDE),
    "X06 weights in the folder above": (external("../weights.data"), OUTSIDE),
    "X07 weights at an absolute path": (external("{folder}/weights.data", weights_in("weights.data")), OUTSIDE),
    "X08 weights behind a symlink": (external("weights.data", symlinked), OUTSIDE),
    "X09 weights behind a hard link": (external("weights.data", hard_linked), OUTSIDE),
    "X10 weights missing": (external("weights.data"), OUTSIDE),
    "X11 weights at a huge offset": (external("weights.data", weights_in("weights.data"), offset=str(2**62)), OUTSIDE),
    "X12 weights too short": (external("weights.data", weights_in("weights.data"), length="8"), OUTSIDE),
    "X13 weights at a negative offset": (external("weights.data", weights_in("weights.data"), offset="-8"), OUTSIDE),
    "X14 weights in /dev/zero": (external("/dev/zero"), OUTSIDE),
    "X15 weights in /proc/self/environ": (external("/proc/self/environ"), OUTSIDE),
    "X16 loop without an end": (loop(), "the model's operator 'Loop' holds a graph"),
    "X17 Expand to 1 GB": (
        added(helper.make_node("Expand", ["scale", "shape"], ["huge"]), shape=np.array([250, 1000, 1000])),
        "the model's operator 'Expand' makes a tensor of 250000000 numbers; at most 67108864 are allowed",
    ),
    "X18 ConstantOfShape of 2^40": (
        added(helper.make_node("ConstantOfShape", ["shape"], ["huge"]), shape=np.array([2**40])),
        "the model's operator 'ConstantOfShape' makes a tensor of 1099511627776 numbers",
    ),
    "X19 group 0": (conv(group=0), "the model's operator 'Conv' has group of 0; 1 to 32768 are allowed"),
    "X20 group -1": (conv(group=-1), "the model's operator 'Conv' has group of -1; 1 to 32768 are allowed"),
    "X21 stride 0": (conv(strides=[1, 0]), "the model's operator 'Conv' has strides of 0; 1 to 32768 are allowed"),
    "X22 dilation 0": (conv(dilations=[0, 1]), "the model's operator 'Conv' has dilations of 0"),
    "X23 padding of 2^30": (conv(pads=[0, 0, 0, 2**30]), "'Conv' has pads of 1073741824; 0 to 32768 are allowed"),
    "X24 kernel of 0": (conv(kernel_shape=[0, 3]), "the model's operator 'Conv' has kernel_shape of 0"),
    "X25 cycle": (changed(cycle), "cannot load it"),
    "X26 output made twice": (changed(duplicate), "cannot load it"),
    "X27 shape of 2^40": (
        lying(2**40, 3),
        "the model's tensor 'weights' holds 576 bytes, but its shape 1099511627776 x 3 needs 13194139533312",
    ),
    "X28 negative shape": (lying(-48, -3), "the model's tensor 'weights' has the shape -48 x -3"),
    "X29 lookup out of range": (gather(), "the network cannot be run"),
    "X30 opset 9999": (changed(opset), "the model has the ONNX opset 9999; 13 to 26 are allowed, a newer one needs"),
    "X31 IR version 999": (changed(ir), "the model has the ONNX IR version 999; 3 to 13 are allowed"),
    "X32 unknown domain": (
        added(helper.make_node("Relu", ["scale"], ["y"], domain="org.example")),
        "the model has the operator 'org.example.Relu', which is not on the list for classifiers",
    ),
    "X33 weights that are not numbers": (not_numbers, "the network's probabilities are not one row of finite numbers"),
    "X34 one flipped bit in the weights": (flipped, "the graph is not the one that was exported"),
    "X35 two labels for three outputs": (two_labels, "it has to be tensor(float) (N, 2)"),
    "X36 labels swapped": (contract(lambda text: text.replace('"ant", "bee"', '"bee", "ant"')), CHANGED),
    "X37 preprocessing changed": (contract(lambda text: text.replace("0.485", "0.585")), CHANGED),
    "X38 no contract": (no_contract, "metadata key 'finetune.contract' is missing; only models that finetune exported"),
    "X39 contract of a newer schema": (
        contract(lambda text: text.replace('"schema": 1', '"schema": 2')),
        "schema 2 needs finetune-export >= 0.1.0; upgrade it",
    ),
    "X40 contract cut": (contract(lambda text: text[:-40]), "finetune.contract: not valid JSON"),
    "X40 contract of 10 MB": (contract(lambda text: text + " " * 10**7), "at most 4194304 are allowed"),
    "X40 contract with a key twice": (
        contract(lambda text: text.replace("{", '{"run_id": "twice", ', 1)),
        'key "run_id" occurs twice',
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CATALOGUE)
def test_the_catalogue_is_refused(case: str, workshop: Workshop) -> None:
    build, reason = CATALOGUE[case]
    path = workshop.folder / "model.onnx"
    path.write_bytes(build(workshop))
    with pytest.raises(ModelError) as refused:
        Predictor(path)
    assert refused.value.exit_code == 4
    assert str(refused.value).startswith(f"{path}: ")
    assert reason in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_catalogue_has_every_number() -> None:
    assert {case.split()[0] for case in CATALOGUE} == {f"X{number:02}" for number in range(1, 41)}


@pytest.mark.parametrize("case", [case for case in CATALOGUE if case[:3] in BY_THE_GATE])
def test_what_reads_files_hangs_or_fills_the_memory_never_reaches_onnxruntime(case: str, workshop: Workshop) -> None:
    build, _ = CATALOGUE[case]
    with pytest.raises(ModelError):
        model_gate.check(build(workshop))


def test_the_cases_own_frame_is_sound(workshop: Workshop) -> None:
    """The nodes and tensors around each fault are accepted, so that the fault is what is refused."""
    sound = [
        conv(group=1, strides=[1, 2], dilations=[1, 1], pads=[0, 0, 1, 1], kernel_shape=[3, 3]),
        added(helper.make_node("Expand", ["scale", "shape"], ["large"]), shape=np.array([25, 1000])),
        added(helper.make_node("ConstantOfShape", ["shape"], ["large"]), shape=np.array([2**10])),
        lying(48, 3),
        added(helper.make_node("Gather", ["image", "first"], ["something"], axis=1), first=np.array([0])),
    ]
    for build in sound:
        path = workshop.folder / "model.onnx"
        path.write_bytes(build(workshop))
        assert Predictor(path).labels == ("ant", "bee", "Käfer 甲")


# ── any bytes at all ────────────────────────────────────────────────────────────────────────────────


@st.composite
def damages(draw: st.DrawFn) -> Callable[[bytes], bytes]:
    """Draw a flip, a cut, an insertion, a removal or a repetition, at a place given as a share of the length."""
    share, length = draw(st.floats(0, 1)), draw(st.integers(1, 40))
    junk = draw(st.binary(min_size=1, max_size=12))
    ways: list[Callable[[bytes, int], bytes]] = [
        lambda data, at: data[:at] + bytes(byte ^ junk[0] for byte in data[at : at + 1]) + data[at + 1 :],
        lambda data, at: data[:at],
        lambda data, at: data[:at] + junk + data[at:],
        lambda data, at: data[:at] + data[at + length :],
        lambda data, at: data[:at] + data[at : at + length] * 2 + data[at + length :],
    ]
    way = draw(st.sampled_from(ways))
    return lambda data: way(data, round(share * (len(data) - 1)))


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages())
def test_a_damaged_file_is_refused_or_still_the_same_model(
    damage: Callable[[bytes], bytes], workshop: Workshop
) -> None:
    path = workshop.folder / "model.onnx"
    path.write_bytes(damage(workshop.honest))
    try:
        contract = Predictor(path).contract
    except ModelError:
        return
    assert contract == Contract.from_json(model_file.read(workshop.honest).metadata[CONTRACT_KEY])


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(damage=damages())
def test_a_damaged_graph_under_a_contract_of_its_own_is_refused_or_answers(
    damage: Callable[[bytes], bytes], workshop: Workshop
) -> None:
    path = workshop.folder / "model.onnx"
    try:
        path.write_bytes(workshop.sealed(damage(workshop.make_graph().SerializeToString())))
        Predictor(path)
    except ModelError:
        return


@settings(max_examples=300)
@given(data=st.binary(max_size=200))
def test_no_bytes_upset_the_gate(data: bytes) -> None:
    with pytest.raises(ModelError, match=r"^[^\n]+$"):
        model_gate.check(data)
