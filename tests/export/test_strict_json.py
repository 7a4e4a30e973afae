from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_export import strict_json
from finetune_export.errors import ModelError

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not valid JSON"),
        ('{"a": 1', "not valid JSON"),
        ("[1]", "x: [1] is not a JSON object"),
        ('{"a": 1, "b": 2, "a": 3}', 'key "a" occurs twice'),
        ('{"a": {"b": 1, "b": 1}}', 'key "b" occurs twice'),
        ('{"a": NaN}', "NaN is not a finite number"),
        ('{"a": -Infinity}', "-Infinity is not a finite number"),
        ('{"a": ' + "9" * 5000 + "}", "not valid JSON"),
        ("[" * 200_000, "not valid JSON"),
        ('{"a": "' + "x" * strict_json.MAX_CHARACTERS + '"}', "at most 4194304 are allowed"),
    ],
)  # fmt: skip
def test_text_that_is_not_plain_json_is_refused_in_one_line(text: str, message: str) -> None:
    with pytest.raises(ModelError) as refused:
        strict_json.parse(text, "x")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_number_too_large_for_a_float_is_refused() -> None:
    with pytest.raises(ModelError, match="has to be a finite number"):
        strict_json.build(float, strict_json.parse('{"a": 1e999}', "x")["a"], "x.a")


@pytest.mark.parametrize("value", ["not base64!", "abc", 5])
def test_bytes_have_to_be_base64(value: object) -> None:
    with pytest.raises(ModelError, match="has to be base64 text"):
        strict_json.build(bytes, value, "x")


@given(st.dictionaries(st.text(max_size=3).filter(lambda key: key != "sha256"), json_values, min_size=1))
def test_a_sealed_payload_is_read_back(payload: dict[str, object]) -> None:
    text = strict_json.seal(payload)
    strict_json.check_seal(text, "x")
    assert strict_json.parse(text, "x") == payload


@pytest.mark.parametrize("text", ["", "{}", '{"a": 1}', '{"a": 1, "sha256": "00"}'])
def test_a_missing_seal_is_refused(text: str) -> None:
    with pytest.raises(ModelError, match="changed after it was written"):
        strict_json.check_seal(text, "x")
