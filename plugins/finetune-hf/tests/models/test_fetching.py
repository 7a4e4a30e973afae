"""What is fetched from the hub, checked before it has its name, and which models are refused."""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.errors import FinetuneError
from finetune.reporting import SILENT, SilentReporter
from finetune_export import Predictor, model_file
from finetune_hf import fetching, publishing
from finetune_hf.fetching import Fetched

Fetch = Callable[..., Fetched]
Refused = Callable[..., str]
PICKLE = b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94."


def bomb(level: str) -> bytes:
    """Return a card of some 500 bytes whose licence is nine things, each of nine others, twelve levels deep."""
    levels = ["k0: &k0 {x: y}"]
    levels += [f"k{i}: &k{i} {level.format(', '.join([f'*k{i - 1}'] * 9))}" for i in range(1, 13)]
    return "\n".join(["---", *levels, "license: *k12", "---", ""]).encode()


@pytest.fixture
def model(plain: Path) -> bytes:
    return (plain / "model.onnx").read_bytes()


@pytest.fixture
def published(model_hub: Any, plain: Path) -> Any:
    """Return the hub with a model called user/pets, published there by us, and with files that nobody asked for."""
    publishing.publish(publishing.prepare(plain, "user/pets"), reporter=SILENT)
    there = model_hub.repositories["user/pets"]
    there.commit("main", {**there.files, "modeling_pets.py": b"raise SystemExit", "pytorch_model.bin": PICKLE})
    model_hub.asked.clear()
    return model_hub


@pytest.fixture
def out(tmp_path: Path) -> Path:
    folder = tmp_path / "fetched"
    folder.mkdir()
    return folder / "pets.onnx"


@pytest.fixture
def fetch(out: Path) -> Fetch:
    def fetched(name: str = "user/pets", to: Path = out) -> Fetched:
        return fetching.fetch(name, to, SILENT)

    return fetched


@pytest.fixture
def refused(fetch: Fetch, out: Path, tmp_path: Path) -> Refused:
    """Return what is said where fetching is refused; check the exit status, and that no file was made or changed."""

    def told(status: int, name: str = "user/pets") -> str:
        before = {path: path.read_bytes() for path in out.parent.iterdir()}
        with pytest.raises(FinetuneError) as caught:
            fetch(name)
        assert caught.value.exit_code == status
        assert "\n" not in str(caught.value)
        assert {path: path.read_bytes() for path in out.parent.iterdir()} == before
        return str(caught.value).replace(f"{tmp_path}/", "")

    return told


# ── what is fetched ─────────────────────────────────────────────────────────────────────────────────


def test_a_published_model_comes_byte_for_byte_and_answers_alike(
    published: Any, fetch: Fetch, out: Path, plain: Path, drawn: Path
) -> None:
    fetch()

    assert out.read_bytes() == (plain / "model.onnx").read_bytes()
    pictures = sorted((drawn / "test").rglob("*.png"))
    first, second = (Predictor(path).answers(pictures) for path in (plain / "model.onnx", out))
    assert first.tolist() == second.tolist()


def test_the_folder_of_the_target_comes_back_as_well(model_hub: Any, with_hf: Path, fetch: Fetch, out: Path) -> None:
    publishing.publish(publishing.prepare(with_hf, "user/pets"), reporter=SILENT)

    fetch()

    assert out.read_bytes() == (with_hf / "model.onnx").read_bytes()


def test_labels_metrics_and_licences_are_told_with_the_next_command(published: Any, fetch: Fetch, out: Path) -> None:
    fetched = fetch()

    rows = dict(fetched.rows())
    assert rows["2 labels"] == "cat, dog"
    assert rows["validation"].startswith("accuracy ")
    assert rows["licence"] == "other weights-none-data-unknown"
    assert (rows["of the weights"], rows["of the data"]) == ("none", "unknown")
    assert rows["next"] == f"finetune predict {out} PICTURE…"
    assert fetched.commit == published.repositories["user/pets"].branches["main"]


def test_nothing_but_the_model_and_the_card_is_downloaded(published: Any, fetch: Fetch) -> None:
    fetch()

    files = {asked.rpartition("/")[2] for asked in published.asked if "/resolve/" in asked}
    assert files == {"finetune.onnx", "README.md"}


def test_a_model_without_a_card_states_no_licence(model_hub: Any, model: bytes, fetch: Fetch) -> None:
    model_hub.offer("user/pets", {"finetune.onnx": model})

    assert dict(fetch().rows())["licence"] == "the card states none"


@pytest.mark.parametrize(
    "card",
    [b"---\nlicense: [\n---\n", b"\xff\xfe", b"# No front matter\n", bomb("[{}]"), bomb("{{<<: [{}]}}")],
    ids=["no YAML", "no text", "no front matter", "aliases", "merged"],
)
def test_a_card_that_states_nothing_does_not_keep_the_model_away(
    model_hub: Any, model: bytes, fetch: Fetch, card: bytes
) -> None:
    model_hub.offer("user/pets", {"finetune.onnx": model, "README.md": card})

    assert fetch().licence == ""


def test_a_branch_or_a_commit_is_chosen_behind_the_name(
    model_hub: Any, model: bytes, plain: Path, fetch: Fetch
) -> None:
    there = model_hub.offer("user/pets", {"finetune.onnx": model})
    first = there.branches["main"]
    publishing.publish(publishing.prepare(plain, "user/pets"), revision="v2", reporter=SILENT)

    assert fetch(f"user/pets@{first}").commit == first
    assert fetch("user/pets@v2").commit == there.branches["v2"] != first


def test_the_file_is_called_like_the_model_where_nothing_else_is_said(
    published: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    assert fetching.fetch("user/pets", None, SILENT).file == Path("pets.onnx")
    assert (tmp_path / "pets.onnx").is_file()


def test_the_next_command_can_be_copied_though_the_path_has_a_space(
    published: Any, fetch: Fetch, tmp_path: Path
) -> None:
    rows = dict(fetch(to=tmp_path / "my pets.onnx").rows())

    assert rows["next"] == f"finetune predict '{tmp_path}/my pets.onnx' PICTURE…"


def test_a_download_is_said_once_and_none_where_the_cache_has_it(published: Any, out: Path, model: bytes) -> None:
    class Notes(SilentReporter):
        def note(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    for _ in range(2):
        fetching.fetch("user/pets", out, Notes())

    assert said == [f"Downloading finetune.onnx, {len(model)} bytes."]


def test_a_second_time_the_model_is_neither_downloaded_nor_written_again(
    published: Any, fetch: Fetch, out: Path
) -> None:
    fetch()
    written = out.stat().st_mtime_ns
    published.asked.clear()

    again = fetch()

    assert again.notes == (f"{out} was there already, with the same content.",)
    assert out.stat().st_mtime_ns == written
    assert not [asked for asked in published.asked if "/large/" in asked]


# ── without a network ───────────────────────────────────────────────────────────────────────────────


def test_without_a_network_it_is_taken_as_fetched_before_and_that_is_said(
    published: Any, fetch: Fetch, out: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fetch()
    out.unlink()
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")

    again = fetch()

    assert out.is_file()
    assert again.licence == first.licence
    assert again.notes == (
        f"Because the hub cannot be reached, it is taken as it was fetched before, in commit {first.commit}.",
    )


def test_a_hub_that_fails_is_as_one_that_is_not_there(published: Any, fetch: Fetch, out: Path) -> None:
    fetch()
    out.unlink()
    published.refuse = {"/api/models/": 503}

    assert fetch().notes[0].startswith("Because the hub answers with status 503, it is taken as it was fetched before")


def test_without_a_network_and_a_copy_the_next_step_is_named(refused: Refused) -> None:
    assert refused(6) == (
        "user/pets is not fetched: the hub cannot be reached, and it was not fetched before. Check the connection and "
        "run again."
    )


def test_a_download_that_is_cut_off_goes_on_where_it_ended(
    published: Any, fetch: Fetch, refused: Refused, out: Path, model: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 1 << 16)  # of so small a file as well
    published.cut_download_at = len(model) // 2
    assert refused(6) == (
        "user/pets is not fetched: the connection to the hub failed. Check it, and run the command again to go on."
    )

    published.cut_download_at = None
    published.ranges.clear()
    fetch()

    assert published.ranges == [f"bytes={len(model) // 2 >> 16 << 16}-"]
    assert out.read_bytes() == model


def test_what_the_library_logs_of_its_attempts_stays_off_the_terminal(
    published: Any, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = logging.getLogger("huggingface_hub")
    level, told = library.level, io.StringIO()
    for handler in library.handlers:
        monkeypatch.setattr(handler, "stream", told)
    published.refuse = {"/resolve/": 503}

    refused(6)

    assert (told.getvalue(), library.level) == ("", level)


# ── what is refused ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["pets", "", "a/b/c", "@main", "https://example.org/x", "../x", "user/pets.git"])
def test_what_is_no_name_is_refused(refused: Refused, name: str) -> None:
    assert refused(2, name) == f"'{name.partition('@')[0]}' is no name of a model on the hub; give USER/NAME."


@pytest.mark.parametrize("revision", ["../x", "a/../../b", "a/..", "a//b"])
def test_what_is_no_revision_is_refused(refused: Refused, revision: str) -> None:
    assert refused(2, f"user/pets@{revision}") == (
        f"The revision '{revision}' is not allowed; give a branch, a tag or a commit behind the @."
    )


def test_an_unknown_name_is_refused(published: Any, refused: Refused) -> None:
    assert refused(2, "user/pest") == (
        "The hub shows no model called user/pest: it does not exist, or is private. Check the name, or log in with "
        "'hf auth login'."
    )


def test_an_unknown_revision_is_refused(published: Any, refused: Refused) -> None:
    assert refused(2, "user/pets@v9") == (
        "user/pets has no such revision. Give the name of a branch or a tag, or a commit."
    )


def test_a_model_with_terms_is_refused_to_those_who_did_not_accept_them(published: Any, refused: Refused) -> None:
    published.repositories["user/pets"].gated = True

    assert refused(2) == (
        "user/pets is for those only who accepted its terms. Do so on its page, and log in with 'hf auth login'."
    )


def test_a_repository_without_our_file_is_refused_with_what_it_has(model_hub: Any, refused: Refused) -> None:
    model_hub.offer("user/pets", {".gitattributes": b"", "pytorch_model.bin": PICKLE, "config.json": b"{}"})

    assert refused(4) == (
        "user/pets has no finetune.onnx, so finetune did not make it. It has config.json, pytorch_model.bin."
    )
    assert not [asked for asked in model_hub.asked if "/resolve/" in asked]


def test_a_file_that_is_too_large_is_not_even_begun(published: Any, refused: Refused) -> None:
    published.sizes["finetune.onnx"] = 3 * 2**30

    assert refused(4) == "finetune.onnx of user/pets has 3221225472 bytes; at most 2147483648 are allowed."
    assert not [asked for asked in published.asked if "/resolve/" in asked]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (PICKLE, "not an ONNX file; it looks like a Python pickle"),
        (b"version https://git-lfs.github.com/spec/v1\n", "not an ONNX file; it looks like a Git LFS pointer"),
        (b"<html>", "not an ONNX file; it looks like a web page"),
    ],
)
def test_what_is_no_model_is_refused(model_hub: Any, refused: Refused, content: bytes, said: str) -> None:
    model_hub.offer("user/pets", {"finetune.onnx": content})

    told = refused(4)
    assert told.startswith(f"finetune.onnx of user/pets is refused: {said}")
    assert told.endswith(". It was removed from the cache.")


def test_a_truncated_model_is_refused(model_hub: Any, model: bytes, refused: Refused) -> None:
    model_hub.offer("user/pets", {"finetune.onnx": model[: len(model) // 2]})

    assert refused(4).startswith("finetune.onnx of user/pets is refused: ")


def test_a_model_whose_graph_was_changed_is_refused(model_hub: Any, model: bytes, refused: Refused) -> None:
    content = bytearray(model)
    content[len(content) // 2] ^= 1
    model_hub.offer("user/pets", {"finetune.onnx": bytes(content)})

    assert refused(4).startswith("finetune.onnx of user/pets is refused: the graph is not the one that was exported")


def test_a_model_of_somebody_else_s_is_refused(model_hub: Any, model: bytes, refused: Refused) -> None:
    model_hub.offer("user/pets", {"finetune.onnx": model_file.with_metadata(model, {})})

    assert "only models that finetune exported can be run" in refused(4)


def test_wrong_bytes_are_refused_and_come_right_the_next_time(
    published: Any, fetch: Fetch, refused: Refused, out: Path, model: bytes
) -> None:
    published.spoil = lambda content: content[:-1] + bytes([content[-1] ^ 1])
    assert refused(4) == (
        "finetune.onnx of user/pets is refused: what came is not what the hub has (its sha256 differs); fetch it "
        "again. It was removed from the cache."
    )

    published.spoil = bytes
    fetch()
    assert out.read_bytes() == model


def test_a_copy_in_the_cache_that_went_bad_is_refused_and_fetched_anew(
    published: Any, fetch: Fetch, refused: Refused, out: Path, tmp_path: Path, model: bytes
) -> None:
    fetch()
    out.unlink()
    (blob,) = (tmp_path / "hub").rglob(hashlib.sha256(model).hexdigest())
    blob.write_bytes(model[:-1] + b"\x00")

    assert "its sha256 differs" in refused(4)
    fetch()
    assert out.read_bytes() == model


def test_another_file_is_not_overwritten(published: Any, refused: Refused, out: Path) -> None:
    out.write_bytes(b"mine")

    assert refused(2) == (
        "fetched/pets.onnx exists and is not this model. Give another file with --out, or move that one."
    )


def test_a_folder_that_is_not_there_is_named(published: Any, fetch: Fetch, tmp_path: Path) -> None:
    with pytest.raises(FinetuneError, match=r"Cannot write .*no/pets\.onnx: No such file") as caught:
        fetch("user/pets", tmp_path / "no" / "pets.onnx")
    assert caught.value.exit_code == 6


def test_what_was_fetched_becomes_json(published: Any, fetch: Fetch, capsys: pytest.CaptureFixture[str]) -> None:
    from finetune_export.cli.output import print_json

    print_json(fetch())

    assert json.loads(capsys.readouterr().out)["labels"] == ["cat", "dog"]
