"""What reaches a terminal: no character that moves its cursor or turns its text around."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from finetune_export.cli.output import print_json, visible

UNSAFE = [*map(chr, range(0x20)), *map(chr, range(0x7F, 0xA0)), *"\u2028\u2029\u202a\u202e\u2066\u2069"]


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
def test_no_control_character_is_shown_as_it_is(character: str) -> None:
    assert visible(f"a{character}b") == f"a{ascii(character)[1:-1]}b"


@pytest.mark.parametrize("character", UNSAFE, ids=ascii)
def test_json_escapes_control_characters_and_means_the_same(character: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_json({character: [character]})

    printed = capsys.readouterr().out
    assert character not in printed.replace("\n", "")
    assert json.loads(printed) == {character: [character]}


@given(st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp", "Cf"))))
def test_text_in_any_script_is_shown_as_it_is(text: str) -> None:
    assert visible(text) == text
