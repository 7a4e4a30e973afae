"""Weights from a hub on this machine: what is believed, what is left, and what cannot be had."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import FinetuneError, ModelError, ResourceError
from finetune.types import Weights
from finetune_timm.hub import fetch, find

WEIGHTS = Weights(
    name="a1_in1k",
    url="https://huggingface.co/timm/tiny.a1_in1k",
    sha256="",
    licence="MIT",
    source="the hub",
    fetch="finetune_timm.hub:fetch",
    find="finetune_timm.hub:find",
)
CONTENT = bytes(range(256)) * 40
NEXT = "or give --weights FILE or --weights none."


def refusal(kind: type[FinetuneError]) -> str:
    with pytest.raises(kind) as refused:
        fetch(WEIGHTS)
    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_weights_are_fetched_checked_and_kept(hub: Any) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT)

    path = fetch(WEIGHTS)

    assert path.read_bytes() == CONTENT
    hub.asked.clear()
    assert fetch(WEIGHTS) == path
    assert hub.asked == []


def test_what_is_in_the_cache_is_found_without_a_network(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT)
    assert find(WEIGHTS) is None
    path = fetch(WEIGHTS)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")

    assert find(WEIGHTS) == path
    assert fetch(WEIGHTS) == path


def test_other_bytes_than_the_hub_states_are_refused_and_thrown_away(hub: Any) -> None:
    stated, found = "00c0ffee" * 8, hashlib.sha256(CONTENT).hexdigest()
    hub.offer("timm/tiny.a1_in1k", CONTENT, sha256=stated)

    told = refusal(ModelError)

    assert told.endswith(
        "model.safetensors is not what https://huggingface.co/timm/tiny.a1_in1k publishes: its SHA-256 begins "
        f"{found[:16]}, not {stated[:16]}. It was thrown away; the next run downloads it again."
    )
    assert find(WEIGHTS) is None


def test_a_file_that_was_changed_in_the_cache_is_refused(hub: Any) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT)
    path = fetch(WEIGHTS)
    path.resolve().write_bytes(CONTENT[::-1])

    told = refusal(ModelError)

    assert told.startswith(f"{path} is not what https://huggingface.co/timm/tiny.a1_in1k publishes: ")
    assert told.endswith(f"Delete {path.resolve()}, and the next run downloads it again.")


def test_a_file_whose_hash_the_hub_does_not_state_is_refused(hub: Any) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT, sha256="0" * 40)

    told = refusal(ModelError)

    assert told.startswith("The hub states no SHA-256 for ")
    assert told.endswith("so it cannot be checked. Give --weights FILE instead.")


def test_a_download_that_was_cut_leaves_nothing_that_is_believed(hub: Any) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT)
    hub.is_cut = True

    assert refusal(ResourceError) == (
        "Cannot download the pretrained weights a1_in1k from https://huggingface.co/timm/tiny.a1_in1k: the hub cannot "
        f"be reached, or the connection broke. Run again when it is there, {NEXT}"
    )
    assert find(WEIGHTS) is None
    hub.is_cut = False
    assert fetch(WEIGHTS).read_bytes() == CONTENT


def test_pickles_are_never_fetched(hub: Any) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT, file="pytorch_model.bin")

    assert "there is no model.safetensors, and pickles are never fetched. Choose another tag, " in refusal(
        ResourceError
    )
    assert not [asked for asked in hub.asked if asked.endswith(".bin")]


@pytest.mark.parametrize(
    ("trouble", "cause"),
    [
        ({}, "the hub shows nothing of that name. Log in with 'hf auth login' if it is private, "),
        (
            {"is_gated": True},
            "the hub shows them to those only who accepted their terms. Do so on that page and log in with "
            "'hf auth login', ",
        ),
        ({"status": 503}, "the hub cannot be reached, or the connection broke. Run again when it is there, "),
    ],
    ids=["unknown", "gated", "down"],
)
def test_what_cannot_be_had_is_told_with_the_next_step(hub: Any, trouble: dict[str, Any], cause: str) -> None:
    vars(hub).update(trouble)

    assert refusal(ResourceError).endswith(cause + NEXT)


def test_without_a_network_the_next_step_is_named() -> None:
    assert refusal(ResourceError).endswith("Run again when it is there, " + NEXT)


def test_offline_by_order_nothing_is_asked_for(hub: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    assert refusal(ResourceError).endswith(NEXT)
    assert hub.asked == []


def test_a_cache_that_cannot_be_written_is_named(hub: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    hub.offer("timm/tiny.a1_in1k", CONTENT)
    (tmp_path / "file").write_text("")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "file"))

    assert f"{tmp_path / 'file'} cannot be written (Not a directory). Free some space there, " in refusal(ResourceError)


def test_the_library_tells_nothing_by_itself(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    refusal(ResourceError)
    assert capfd.readouterr() == ("", "")
