from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from finetune.training.precision import autocast, training_dtype


def product() -> Tensor:
    matrix = torch.rand(8, 8)
    return matrix @ matrix


@pytest.fixture(params=[True, False], ids=["native bf16", "no native bf16"])
def native(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    has_it: bool = request.param
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: has_it)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: False)
    return has_it


def test_what_is_asked_for_is_used_on_any_processor(native: bool) -> None:
    assert training_dtype("fp32") == torch.float32
    assert training_dtype("bf16") == torch.bfloat16


def test_by_itself_bfloat16_is_used_only_where_the_processor_multiplies_it(native: bool) -> None:
    assert training_dtype("auto") == (torch.bfloat16 if native else torch.float32)


def test_the_matrix_unit_of_a_processor_is_reason_enough_for_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: True)

    assert training_dtype("auto") == torch.bfloat16


def test_torch_still_says_what_this_processor_can() -> None:
    assert training_dtype("auto") in (torch.bfloat16, torch.float32)


def test_bfloat16_is_what_products_are_computed_in_and_only_inside() -> None:
    with autocast(torch.bfloat16):
        assert product().dtype == torch.bfloat16

    assert product().dtype == torch.float32


def test_float32_changes_nothing() -> None:
    torch.manual_seed(1)
    expected = product()
    torch.manual_seed(1)

    with autocast(torch.float32):
        assert torch.equal(product(), expected)


def test_float32_inside_of_bfloat16_is_float32() -> None:
    with autocast(torch.bfloat16), autocast(torch.float32):
        assert product().dtype == torch.float32


def test_weights_and_gradients_stay_float32() -> None:
    layer = nn.Linear(8, 3)

    with autocast(torch.bfloat16):
        answer = layer(torch.rand(4, 8))
    answer.float().square().sum().backward()

    assert answer.dtype == torch.bfloat16
    assert [parameter.dtype for parameter in layer.parameters()] == [torch.float32] * 2
    assert layer.weight.grad is not None
    assert layer.weight.grad.dtype == torch.float32
    assert layer.weight.grad.abs().sum() > 0


def test_a_product_in_bfloat16_is_that_of_float32_to_three_digits() -> None:
    torch.manual_seed(1)
    left, right = torch.rand(64, 64), torch.rand(64, 64)

    with autocast(torch.bfloat16):
        rounded = (left @ right).float()

    difference = (rounded / (left @ right) - 1).abs().max()
    assert 0 < difference < 2**-6
