"""Sets by name, from a hub on this machine: what is downloaded, what is left, and what cannot be had."""

from __future__ import annotations

import io
import logging
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from finetune.types import Dataset

Rows = Callable[..., list[dict[str, Any]]]
CARD = b"---\nlicense: cc-by-4.0\n---\n# Pets\n"


@pytest.fixture
def shard(parquet: Callable[..., Path], pets: Rows) -> Callable[..., bytes]:
    """Return the bytes of a Parquet file with so many pictures."""

    def encoded(count: int = 4, start: int = 0) -> bytes:
        return (parquet({"shard.parquet": pets(count, start)}) / "shard.parquet").read_bytes()

    return encoded


@pytest.fixture
def published(hub: Any, shard: Callable[..., bytes]) -> Any:
    """Return a hub with a set called user/pets."""
    files = {"data/train-00000-of-00001.parquet": shard(4), "data/test-00000-of-00001.parquet": shard(2, 10)}
    hub.offer("user/pets", {"README.md": CARD, "pets.py": b"raise SystemExit", **files})
    return hub


def test_a_set_is_downloaded_by_its_name(published: Any, loaded: Callable[..., Dataset]) -> None:
    dataset = loaded(name="user/pets")

    assert [example.part for example in dataset.examples] == ["test"] * 2 + ["train"] * 4
    assert (dataset.name, dataset.source, dataset.licence) == ("pets", "Hugging Face: user/pets", "cc-by-4.0")


def test_scripts_are_never_fetched(published: Any, loaded: Callable[..., Dataset]) -> None:
    loaded(name="user/pets")

    assert not [asked for asked in published.asked if "pets.py" in asked]


def test_a_second_time_no_file_is_downloaded_again(published: Any, loaded: Callable[..., Dataset]) -> None:
    first = loaded(name="user/pets")
    published.asked.clear()

    assert loaded(name="user/pets") == first
    assert [asked for asked in published.asked if asked.startswith("GET /datasets/")] == []


def test_without_a_network_it_is_taken_as_downloaded_before_and_that_is_said(
    published: Any, loaded: Callable[..., Dataset], monkeypatch: pytest.MonkeyPatch
) -> None:
    first = loaded(name="user/pets")
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")

    again = loaded(name="user/pets")

    assert again.examples == first.examples
    assert again.notes == (
        "The hub cannot be reached, so user/pets is taken as it was downloaded before, in revision "
        f"{published.commit('user/pets', 'main')}.",
    )


def test_without_a_network_and_a_copy_the_next_step_is_named(refusal: Callable[..., str]) -> None:
    assert refusal(name="user/pets", status=6) == (
        "The set user/pets cannot be downloaded: the hub cannot be reached. Check the connection and run again, or "
        "give --data DIR with a copy."
    )


def test_a_file_that_is_gone_is_a_failed_download(published: Any, refusal: Callable[..., str]) -> None:
    del published.sets["user/pets", "main"]["README.md"]
    published.listed["user/pets"] = "README.md"

    told = refusal(name="user/pets", status=6)

    assert told.startswith("The set user/pets cannot be downloaded: the hub answers with status 404. ")


def test_a_card_that_is_too_large_is_not_downloaded_and_that_is_said(
    published: Any, loaded: Callable[..., Dataset]
) -> None:
    size = (1 << 20) + 1
    published.sets["user/pets", "main"]["README.md"] = CARD.ljust(size)

    dataset = loaded(name="user/pets")

    assert (len(dataset.examples), dataset.licence) == (6, "unknown")
    assert dataset.notes == (
        f"The card of user/pets has {size} bytes, of 1048576 allowed, so it is not read: its licence and "
        "configurations are unknown.",
    )
    assert not [asked for asked in published.asked if asked.startswith("GET") and "README.md" in asked]


def test_what_the_library_logs_of_its_attempts_stays_off_the_terminal(
    published: Any, refusal: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("huggingface_hub")
    level, told = library.level, io.StringIO()
    for handler in library.handlers:
        monkeypatch.setattr(handler, "stream", told)
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))
    monkeypatch.setattr(published, "_send_file", lambda handler, _: published._send(handler, 503, b""))

    assert "the hub answers with status 503" in refusal(name="user/pets", status=6)
    assert (told.getvalue(), library.level) == ("", level)


def test_an_unknown_name_is_refused(published: Any, refusal: Callable[..., str]) -> None:
    assert refusal(name="user/pest") == (
        "The hub shows no set called user/pest: it does not exist, or is private. Check --name, or log in with "
        "'hf auth login'."
    )


@pytest.mark.parametrize("name", ["", "a b", "https://example.org/x", "a/b/c", "../x", "user/pets:", "a/b:../c"])
def test_what_is_no_name_is_refused(refusal: Callable[..., str], name: str) -> None:
    assert "give USER/SET" in refusal(name=name, status=2).replace("Give --name", "give")


def test_the_source_that_fetches_needs_a_name(refusal: Callable[..., str]) -> None:
    assert refusal(status=2) == "Which set of the hub? Give --name USER/SET, or --data DIR with a copy."


def test_a_configuration_is_chosen_with_the_name(
    hub: Any, shard: Callable[..., bytes], loaded: Callable[..., Dataset], refusal: Callable[..., str]
) -> None:
    hub.offer("user/pets", {"small/train-0.parquet": shard(4), "large/train-0.parquet": shard(6)})

    assert len(loaded(name="user/pets:large").examples) == 6
    assert not [asked for asked in hub.asked if "small" in asked]
    assert refusal(name="user/pets") == (
        "The set user/pets holds several configurations, large, small, and not 'default'. Choose one with --name "
        "user/pets:CONFIGURATION."
    )


def test_a_set_of_another_form_is_taken_as_the_hub_converted_it(
    hub: Any, shard: Callable[..., bytes], loaded: Callable[..., Dataset]
) -> None:
    hub.offer("user/pets", {"pets.zip": b"PK"})
    hub.offer("user/pets", {"default/partial-train/0000.parquet": shard(4)}, "refs/convert/parquet")

    dataset = loaded(name="user/pets")

    assert len(dataset.examples) == 4
    assert dataset.notes == (
        "user/pets is the beginning of a larger set, as much of it as the hub has converted to Parquet.",
    )


def test_a_set_that_the_hub_has_not_converted_is_refused(hub: Any, refusal: Callable[..., str]) -> None:
    hub.offer("user/pets", {"pets.zip": b"PK"})

    assert refusal(name="user/pets") == (
        "The set user/pets has no Parquet files, and the hub has not converted it. Download it, save it with "
        "save_to_disk, and give --data DIR."
    )
