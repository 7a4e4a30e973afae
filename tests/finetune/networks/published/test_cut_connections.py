"""Downloads of published weights over a bad line: taken up where they broke, and never other bytes in the end."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from finetune import download
from finetune.errors import ModelError, ResourceError
from finetune.networks.published import obtain
from finetune.reporting import SILENT
from finetune.testing.published import Published
from finetune.types import Backbone

from .conftest import BEHIND, CONTENT, NAME, OTHER, REFUSED, SHA256, Obtain, Recorder, left, refusal, weights_of


def test_a_cut_connection_is_taken_up_within_the_same_command(
    get: Obtain, published: Published, reporter: Recorder
) -> None:
    published.hang_up_after = 100_000

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, None), (NAME, "bytes=100000-"), (NAME, "bytes=200000-")]
    said = "the connection ended after {} of 300,000 bytes; asking for the rest."
    assert reporter.notes[:2] == [f"{published.url}/{NAME}: {said.format(n)}" for n in ("100,000", "200,000")]
    assert reporter.steps == 300_000  # the last bar begins where the one before ended


def test_one_that_is_cut_too_often_is_taken_up_by_the_next_command(
    get: Obtain, part: Path, place: Path, published: Published
) -> None:
    published.hang_up_after = 50_000

    assert refusal(get, ResourceError) == (
        f"{REFUSED}{published.url}/{NAME}: the connection ended after 200,000 of 300,000 bytes. Run the same command "
        f"again to go on, or put a copy at {place}{BEHIND}"
    )
    assert len(published.asked) == 4
    assert left(place) == [f"{NAME}.part"]
    published.hang_up_after = None
    assert get()[0].read_bytes() == CONTENT
    assert published.asked[4:] == [(NAME, "bytes=200000-")]
    assert left(place) == [NAME]


def test_where_a_connection_brings_nothing_nobody_asks_again(get: Obtain, place: Path, published: Published) -> None:
    published.hang_up_after = 0

    assert "the connection ended after 0 of 300,000 bytes. Run the same command" in refusal(get, ResourceError)
    assert len(published.asked) == 1
    assert left(place) == []


def test_a_server_that_ignores_ranges_sends_everything_again(get: Obtain, part: Path, published: Published) -> None:
    part.write_bytes(OTHER[:1000])
    published.ignores_range = True

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, "bytes=1000-")]


def test_a_file_that_changed_in_between_is_refused_and_then_right(
    get: Obtain, part: Path, place: Path, published: Published
) -> None:
    part.write_bytes(OTHER[:1000])

    assert "; removed. Run the same command again, or put a copy at" in refusal(get, ModelError)
    assert left(place) == []
    assert get()[0].read_bytes() == CONTENT


def test_a_part_that_is_longer_than_the_file_is_begun_anew(get: Obtain, part: Path, published: Published) -> None:
    part.write_bytes(CONTENT + b"more")

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, "bytes=300004-"), (NAME, None)]


def test_a_part_that_is_whole_already_is_not_asked_for(
    get: Obtain, part: Path, place: Path, published: Published
) -> None:
    part.write_bytes(CONTENT)

    assert get()[0].read_bytes() == CONTENT
    assert (published.asked, left(place)) == ([], [NAME])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    begun=st.integers(0, 300_010),
    cuts=st.lists(st.one_of(st.none(), st.integers(0, 300_000)), max_size=3),
    ignores_range=st.booleans(),
)
def test_however_the_line_is_cut_what_comes_is_right_or_is_gone_on_with(
    part: Path,
    place: Path,
    begun: int,
    cuts: list[int | None],
    ignores_range: bool,
    backbone: Backbone,
    published: Published,
) -> None:
    place.unlink(missing_ok=True)
    part.write_bytes((CONTENT + b"ten bytes.")[:begun])
    published.ignores_range = ignores_range
    for published.hang_up_after in cuts:
        try:
            assert obtain(backbone, weights_of(backbone), SILENT) == (place, SHA256)
        except ResourceError:
            assert not part.exists() or CONTENT.startswith(part.read_bytes())
            assert not place.exists()
    published.hang_up_after = None
    assert obtain(backbone, weights_of(backbone), SILENT) == (place, SHA256)
    assert place.read_bytes() == CONTENT
    assert left(place) == [NAME]


def test_a_connection_on_which_nothing_more_comes_is_taken_up_as_well(
    get: Obtain, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(download, "_TIMEOUT_S", 0.1)
    published.hold_after = 100_000

    assert get()[0].read_bytes() == CONTENT
    assert published.asked == [(NAME, None), (NAME, "bytes=100000-"), (NAME, "bytes=200000-")]
