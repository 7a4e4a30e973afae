from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from finetune.names import LONGEST_LIST, unknown_name


def test_the_text_says_what_was_given_what_is_near_and_what_is_known() -> None:
    text = unknown_name("backbone", "resnet8", ["vit_b_16", "resnet18"])

    assert text == "Unknown backbone 'resnet8'. Did you mean 'resnet18'? Known: resnet18, vit_b_16."


def test_a_name_that_is_like_no_other_gets_no_guess() -> None:
    assert unknown_name("target", "zzz", ["onnx"]) == "Unknown target 'zzz'. Known: onnx."


def test_upper_and_lower_case_do_not_hide_the_nearest_name() -> None:
    assert "Did you mean 'ResNet18'?" in unknown_name("backbone", "RESNET-18", ["ResNet18"])


def test_a_near_name_keeps_its_own_spelling_when_two_differ_only_in_case() -> None:
    assert "Did you mean 'Cat'?" in unknown_name("class", "cta", ["Cat", "cat"])


def test_a_long_list_is_cut_after_a_dozen_names() -> None:
    names = [f"net{i:02}" for i in range(LONGEST_LIST + 1)]

    assert unknown_name("backbone", "?", names).endswith("net10, net11, ….")


def test_a_list_of_exactly_a_dozen_names_is_shown_whole() -> None:
    names = [f"net{i:02}" for i in range(LONGEST_LIST)]

    assert unknown_name("backbone", "?", names).endswith("net10, net11.")


def test_nothing_known_is_said_as_such() -> None:
    assert unknown_name("target", "onnx", []) == "Unknown target 'onnx'. No target is known."


def test_how_to_see_more_comes_last() -> None:
    text = unknown_name("target", "x", ["onnx"], "See 'finetune list targets'.")

    assert text == "Unknown target 'x'. Known: onnx. See 'finetune list targets'."


@given(st.text(), st.lists(st.text(), max_size=20))
def test_any_name_and_any_list_make_a_text_that_holds_the_name(given_name: str, known: list[str]) -> None:
    assert f"'{given_name}'" in unknown_name("thing", given_name, known)
