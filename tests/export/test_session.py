from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from finetune_export.contract import Contract, Task
from finetune_export.errors import ModelError, RuntimeUnavailableError, TimeLimitError
from finetune_export.session import Session

MakeGraph = Callable[..., onnx.ModelProto]
Change = Callable[[onnx.ModelProto], object]


def opened(model: onnx.ModelProto, contract: Contract, providers: Any = None, threads: Any = 1) -> Session:
    return Session(model.SerializeToString(), contract, providers, threads)


def rename(node: str) -> Change:
    def change(model: onnx.ModelProto) -> None:
        for each in (*model.graph.input, *model.graph.output):
            if each.name == node:
                each.name = "other"
        for op in model.graph.node:
            for names in (op.input, op.output):
                names[:] = ["other" if name == node else name for name in names]

    return change


def fixed_batch(model: onnx.ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    for each in model.graph.output:
        each.type.tensor_type.shape.dim[0].dim_value = 1


def second_input(model: onnx.ModelProto) -> None:
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, [1]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rename("image"), "its inputs are other; it has to have 'image'"),
        (rename("probabilities"), "its outputs are other, embedding; it has to have 'probabilities'"),
        (rename("embedding"), "its outputs are probabilities, other; it has to have 'embedding'"),
        (fixed_batch, "its input 'image' is tensor(uint8) [1, 16, 16, 3]; it has to be tensor(uint8) (N, 16, 16, 3)"),
        (second_input, "it has 2 inputs; it has to have one, 'image'"),
    ],
)
def test_other_inputs_or_outputs_are_refused(
    change: Change, message: str, make_graph: MakeGraph, contract: Contract
) -> None:
    model = make_graph()
    change(model)
    with pytest.raises(ModelError) as refused:
        opened(model, contract)
    assert message in str(refused.value)


@pytest.mark.parametrize(
    ("made", "promised", "message"),
    [
        ("single-label", "regression", "its outputs are probabilities, embedding; it has to have 'values'"),
        ("regression", "multi-label", "its outputs are values, embedding; it has to have 'probabilities'"),
    ],
)
def test_the_answers_have_to_be_those_of_the_task(
    made: Task, promised: Task, message: str, make_graph: MakeGraph, contract_of: Callable[[Task], Contract]
) -> None:
    with pytest.raises(ModelError, match=message):
        opened(make_graph(task=made), contract_of(promised))


def test_values_that_are_not_numbers_never_answer(
    make_graph: MakeGraph, contract_of: Callable[[Task], Contract]
) -> None:
    session = opened(make_graph(np.full((48, 3), np.nan, np.float32), task="regression"), contract_of("regression"))
    with pytest.raises(ModelError, match="the network's values are not one row of finite numbers for each picture"):
        session.run(np.zeros((1, 16, 16, 3), np.uint8), None)


def test_the_labels_have_to_fit_the_output(make_graph: MakeGraph, contract: Contract) -> None:
    with pytest.raises(ModelError, match=r"'probabilities' is tensor\(float\) \['N', 5\]; it has to be .* \(N, 3\)"):
        opened(make_graph(classes=5), contract)


def test_the_size_has_to_fit_the_input(make_graph: MakeGraph, contract: Contract) -> None:
    with pytest.raises(ModelError, match=r"'image' is .* \['N', 24, 24, 3\]; it has to be .* \(N, 16, 16, 3\)"):
        opened(make_graph(side=24), contract)


def cycle(model: onnx.ModelProto) -> None:
    model.graph.node[0].input[0] = "logits"


def opset(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 9999


def ir(model: onnx.ModelProto) -> None:
    model.ir_version = 999


def domain(model: onnx.ModelProto) -> None:
    model.graph.node[0].domain = "nobody.knows"


def lying_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[2].dims[:] = [2**40, 3]


def negative_dims(model: onnx.ModelProto) -> None:
    model.graph.initializer[2].dims[:] = [-48, 3]


def duplicate_output(model: onnx.ModelProto) -> None:
    model.graph.node[1].output[0] = "float"


@pytest.mark.parametrize("change", [cycle, opset, ir, domain, lying_dims, negative_dims, duplicate_output])
def test_a_graph_that_does_not_load_is_refused(
    change: Change, make_graph: MakeGraph, contract: Contract, capfd: pytest.CaptureFixture[str]
) -> None:
    model = make_graph()
    change(model)
    with pytest.raises(ModelError, match=rf"onnxruntime {onnxruntime.__version__} cannot load it \(") as refused:
        opened(model, contract)
    assert "newer onnxruntime" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert capfd.readouterr().out == ""


def test_names_that_are_not_utf8_print_nothing(
    make_graph: MakeGraph, contract: Contract, capfd: pytest.CaptureFixture[str]
) -> None:
    data = make_graph().SerializeToString().replace(b"Flatten", b"\xff\xfe\xfd\xfcten")
    with pytest.raises(ModelError):
        Session(data, contract, None, 1)
    assert capfd.readouterr().out == ""


def test_a_run_that_fails_is_a_model_error(make_graph: MakeGraph, contract: Contract) -> None:
    session = opened(make_graph(), contract)
    with pytest.raises(ModelError, match="the network cannot be run"):
        session.run(np.zeros((1, 5, 5, 3), np.uint8), limit_s=10)


def test_an_output_that_is_not_as_wide_as_declared_is_refused(make_graph: MakeGraph, contract: Contract) -> None:
    model = make_graph(classes=5)
    model.graph.output[0].type.tensor_type.shape.dim[1].dim_value = 3
    with pytest.raises(ModelError):
        opened(model, contract).run(np.zeros((1, 16, 16, 3), np.uint8), limit_s=10)


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_answers_that_are_not_finite_are_refused(odd: float, make_graph: MakeGraph, contract: Contract) -> None:
    weights = np.full((48, 3), odd, np.float32)
    with pytest.raises(ModelError, match="probabilities are not one row of finite numbers for each picture"):
        opened(make_graph(weights), contract).run(np.ones((2, 16, 16, 3), np.uint8), limit_s=10)


def test_a_provider_that_is_not_installed_is_named(make_graph: MakeGraph, contract: Contract) -> None:
    with pytest.raises(RuntimeUnavailableError) as refused:
        opened(make_graph(), contract, ["CUDAExecutionProvider", "CPUExecutionProvider"])
    assert str(refused.value).startswith(
        "onnxruntime provider 'CUDAExecutionProvider' is not installed; available are "
    )
    assert str(refused.value).endswith("CPU; install onnxruntime-gpu instead of onnxruntime")
    assert refused.value.exit_code == 6


def test_a_provider_that_does_not_start_is_named(
    make_graph: MakeGraph, contract: Contract, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnxruntime.InferenceSession, "get_providers", lambda _: [])
    with pytest.raises(RuntimeUnavailableError, match="'CPUExecutionProvider' did not start"):
        opened(make_graph(), contract, ["CPUExecutionProvider"])


def test_a_provider_may_be_named_in_short(make_graph: MakeGraph, contract: Contract) -> None:
    assert opened(make_graph(), contract, ["cpu"]).providers == ("CPUExecutionProvider",)


def test_a_provider_that_nobody_ships_leaves_the_choice_of_the_others(
    make_graph: MakeGraph, contract: Contract
) -> None:
    with pytest.raises(RuntimeUnavailableError, match=r"'abacus' is not installed; .*CPU; choose one of these$"):
        opened(make_graph(), contract, "abacus")


@pytest.mark.parametrize("providers", ["CPU", "CPUExecutionProvider", [("cpu", {"use_arena": 0})], (("CPU", {}),)])
def test_a_single_name_or_a_name_with_options_is_a_provider(
    providers: Any, make_graph: MakeGraph, contract: Contract
) -> None:
    assert opened(make_graph(), contract, providers).providers == ("CPUExecutionProvider",)


def test_options_reach_the_provider(make_graph: MakeGraph, contract: Contract, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    real = onnxruntime.InferenceSession

    def note(*args: Any, providers: Any, **options: Any) -> Any:
        given.extend(providers)
        return real(*args, providers=providers, **options)

    monkeypatch.setattr(onnxruntime, "InferenceSession", note)
    opened(make_graph(), contract, [("CPU", {"use_arena": 0})])
    assert given == [("CPUExecutionProvider", {"use_arena": 0})]


@pytest.mark.parametrize("providers", [("CPU", {"use_arena": 0}), [None], [("CPU",)], [(1, {})]])
def test_other_providers_are_refused(providers: Any, make_graph: MakeGraph, contract: Contract) -> None:
    with pytest.raises(ValueError, match=r"providers: .* is not allowed; each is a name, or a pair as") as refused:
        opened(make_graph(), contract, providers)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("threads", [0, -1, 1.5, "2", True])
def test_threads_are_a_whole_number(threads: Any, make_graph: MakeGraph, contract: Contract) -> None:
    with pytest.raises(
        ValueError, match=r"threads: .* is not allowed; it has to be a whole number of at least 1, or None"
    ):
        opened(make_graph(), contract, threads=threads)


def test_a_run_beyond_its_time_limit_is_ended(make_graph: MakeGraph, contract: Contract) -> None:
    session = opened(
        make_graph(side=512), replace(contract, preprocessing=replace(contract.preprocessing, image_size_px=512))
    )
    with pytest.raises(TimeLimitError, match=r"the network took longer than 1e-09 s for one run, which is the limit"):
        session.run(np.zeros((64, 512, 512, 3), np.uint8), limit_s=1e-9)
    probabilities, _ = session.run(np.zeros((1, 512, 512, 3), np.uint8), limit_s=60)
    assert probabilities.shape == (1, 3)
