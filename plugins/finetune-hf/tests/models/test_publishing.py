"""What is put on the hub, in which commit, and whom it is kept from."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import yaml

from finetune.errors import FinetuneError
from finetune.reporting import SILENT, SilentReporter
from finetune_export import model_file
from finetune_export.contract import CONTRACT_KEY
from finetune_hf import publishing
from finetune_hf.publishing import Published

Publish = Callable[..., Published]
Refused = Callable[..., str]
FLOAT = onnx.TensorProto.FLOAT
OTHERS = {"README.md": b"# Theirs\n", "pytorch_model.bin": b"\x80\x04 theirs"}


@pytest.fixture
def publish() -> Publish:
    def published(run: Path, name: str = "user/pets", reporter: Any = SILENT, **how: Any) -> Published:
        return publishing.publish(publishing.prepare(run, name), reporter=reporter, **how)

    return published


@pytest.fixture
def refused(publish: Publish, tmp_path: Path) -> Refused:
    """Return what is said where publishing is refused, without the folder; check the exit status."""

    def told(run: Path, status: int, **how: Any) -> str:
        with pytest.raises(FinetuneError) as caught:
            publish(run, **how)
        assert caught.value.exit_code == status
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return told


def front_matter(card: bytes) -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load(card.decode().split("---\n")[1])
    return found


def edit_json(path: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


# ── what goes up ────────────────────────────────────────────────────────────────────────────────────


def test_a_run_without_the_target_publishes_its_model_with_a_card_in_one_commit(
    model_hub: Any, plain: Path, publish: Publish
) -> None:
    done = publish(plain)

    files = model_hub.repositories["user/pets"].files
    assert set(files) == {".gitattributes", "README.md", "finetune.onnx"}
    assert files["finetune.onnx"] == (plain / "model.onnx").read_bytes()
    assert [asked for asked in model_hub.asked if "/commit/" in asked] == ["POST /api/models/user/pets/commit/main"]
    assert done.url == f"{model_hub.url}/user/pets"
    assert done.commit == model_hub.repositories["user/pets"].branches["main"]


def test_a_run_with_the_target_publishes_its_folder(model_hub: Any, with_hf: Path, publish: Publish) -> None:
    publish(with_hf)

    files = model_hub.repositories["user/pets"].files
    names = {"config.json", "preprocessor_config.json", "onnx/model.onnx", "finetune.onnx"}
    assert set(files) == {".gitattributes", "README.md", *names}
    assert all(files[name] == (with_hf / "hf" / name).read_bytes() for name in names)
    assert b'pipeline("image-classification", "user/pets")' in files["README.md"]
    assert b"NAME-ON-THE-HUB" not in files["README.md"]


def test_the_front_matter_states_task_metrics_and_both_licences(
    model_hub: Any, plain: Path, with_hf: Path, publish: Publish
) -> None:
    contract = json.loads(model_file.read(plain / "model.onnx").text(CONTRACT_KEY))
    for run, library in ((plain, "finetune"), (with_hf, "transformers.js")):
        publish(run)
        stated = front_matter(model_hub.repositories["user/pets"].files["README.md"])

        assert (stated["license"], stated["license_name"]) == ("other", "weights-none-data-unknown")
        assert (stated["pipeline_tag"], stated["library_name"]) == ("image-classification", library)
        assert {"finetune", "onnx", "squeezenet1_1"} <= set(stated["tags"])
        validation, test = stated["model-index"][0]["results"]
        assert [validation["dataset"]["split"], test["dataset"]["split"]] == ["validation", "test"]
        values = {metric["type"]: metric["value"] for metric in validation["metrics"]}
        assert values == {name: pytest.approx(value, abs=1e-6) for name, value in contract["metrics"].items()}


def test_the_card_says_what_was_measured_and_how_to_use_it(model_hub: Any, plain: Path, publish: Publish) -> None:
    publish(plain)

    card = model_hub.repositories["user/pets"].files["README.md"].decode()
    assert "finetune fetch user/pets --out model.onnx" in card
    assert "On the 8 validation pictures" in card
    assert '"pictures": "pets: unknown"' in card


def test_neither_pictures_nor_records_go_up_even_where_they_lie_in_the_folder(
    model_hub: Any, with_hf: Path, publish: Publish, drawn: Path
) -> None:
    picture = next(drawn.rglob("*.png")).read_bytes()
    (with_hf / "hf" / "photo.png").write_bytes(picture)
    (with_hf / "hf" / "split.csv").write_text("part,label,path,sha256\n")

    publish(with_hf)

    assert not {"photo.png", "split.csv"} & set(model_hub.repositories["user/pets"].files)
    assert not any(str(drawn).encode() in content for content in model_hub.repositories["user/pets"].files.values())


def test_a_second_model_replaces_the_first_and_leaves_nothing_of_it(
    model_hub: Any, plain: Path, with_hf: Path, publish: Publish
) -> None:
    publish(with_hf)
    first = model_hub.repositories["user/pets"]
    first.commit("main", {**first.files, "LICENSE": b"mine"})

    publish(plain)

    assert set(first.files) == {".gitattributes", "README.md", "finetune.onnx", "LICENSE"}


def test_a_branch_is_begun_from_the_main_one_which_stays_as_it_is(
    model_hub: Any, plain: Path, publish: Publish
) -> None:
    publish(plain, revision="v2")

    repository = model_hub.repositories["user/pets"]
    assert "finetune.onnx" in repository.commits[repository.branches["v2"]]
    assert set(repository.files) == {".gitattributes"}


@pytest.mark.parametrize("private", [True, False])
def test_a_new_repository_is_private_where_that_is_said(
    model_hub: Any, plain: Path, publish: Publish, private: bool
) -> None:
    publish(plain, private=private)

    assert model_hub.repositories["user/pets"].private is private


def test_what_the_hub_remarks_on_the_card_is_told(model_hub: Any, plain: Path, publish: Publish) -> None:
    class Notes(SilentReporter):
        def note(self, text: str) -> None:
            said.append(text)

    said: list[str] = []
    model_hub.warning = "no such base model"

    publish(plain, reporter=Notes())

    assert said == ["Warnings while validating metadata in README.md: - no such base model"]


# ── which runs are refused ──────────────────────────────────────────────────────────────────────────


def test_what_is_no_run_is_refused(tmp_path: Path, refused: Refused) -> None:
    (tmp_path / "empty").mkdir()

    assert refused(tmp_path / "empty", 2) == (
        "empty is no run's folder: it has no run.json. Name the folder that the run was written to."
    )


@pytest.mark.parametrize("name", ["run.json", "verification.json"])
@pytest.mark.parametrize("content", ["", "7", "[7]", '{"status": 1}'])
def test_damaged_records_are_refused(plain: Path, refused: Refused, name: str, content: str) -> None:
    (plain / name).write_text(content)

    assert refused(plain, 2) == f"plain/{name} is damaged. Publish another run."


def test_a_run_that_is_not_done_is_refused(plain: Path, refused: Refused) -> None:
    edit_json(plain / "run.json", lambda status: status.update(status="interrupted"))

    spaced = plain.rename(plain.parent / "my run")
    assert refused(spaced, 2).replace(f"{plain.parent}/", "") == (
        "my run is not done: it is interrupted. Finish it, then publish; the command is: finetune run --resume 'my run'"
    )


def test_a_model_that_failed_its_verification_is_refused(plain: Path, refused: Refused) -> None:
    (plain / "model.onnx").rename(plain / "model.failed.onnx")
    assert refused(plain, 4) == "plain holds model.failed.onnx, which failed its verification. Publish a run without."

    edit_json(plain / "verification.json", lambda proofs: proofs[0].update(problems=["1 of 8 labels differ"]))
    assert refused(plain, 4) == "model.onnx of plain failed its verification: 1 of 8 labels differ."


def test_a_model_without_a_proof_is_refused(plain: Path, refused: Refused) -> None:
    (plain / "verification.json").unlink()

    assert refused(plain, 4) == "plain has no proof of its model in verification.json. Publish a run that has."


def test_a_model_that_changed_after_its_proof_is_refused(plain: Path, refused: Refused) -> None:
    content = bytearray((plain / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (plain / "model.onnx").write_bytes(content)

    assert refused(plain, 4).startswith("plain/model.onnx: ")


def test_the_model_of_another_run_is_refused(plain: Path, refused: Refused) -> None:
    edit_json(plain / "run.json", lambda status: status.update(id="another"))

    assert refused(plain, 4).endswith(", and plain holds the run another.")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("finetune.onnx", "with-hf/hf/finetune.onnx is not the verified with-hf/model.onnx. Export it again."),
        ("config.json", "with-hf/hf/config.json was changed since it was verified. Export it again."),
        ("preprocessor_config.json", "with-hf/hf/preprocessor_config.json was changed since it was verified."),
        ("onnx/model.onnx", "with-hf/hf/onnx/model.onnx: "),
    ],
)
def test_a_folder_that_changed_after_its_proof_is_refused(
    with_hf: Path, refused: Refused, name: str, said: str
) -> None:
    (with_hf / "hf" / name).write_bytes(b"{}")

    assert refused(with_hf, 4).startswith(said)


def test_a_graph_for_others_with_other_answers_is_refused(with_hf: Path, refused: Refused) -> None:
    path = with_hf / "hf" / "onnx" / "model.onnx"
    model = onnx.load(path)
    (bias,) = (each for each in model.graph.initializer if list(each.dims) == [2] and each.data_type == FLOAT)
    bias.raw_data = np.array([0, 6], "<f4").tobytes()
    onnx.save(model, path)

    assert "with-hf/hf/onnx/model.onnx: golden picture" in refused(with_hf, 4)


@pytest.mark.parametrize("name", ["README.md", "config.json", "onnx/model.onnx"])
def test_a_folder_that_lacks_a_file_is_refused(with_hf: Path, refused: Refused, name: str) -> None:
    (with_hf / "hf" / name).unlink()

    assert refused(with_hf, 4) == f"with-hf/hf has no {name}, which the target 'hf' writes. Export it again."


def test_a_card_that_names_a_place_on_this_machine_is_refused(with_hf: Path, refused: Refused, drawn: Path) -> None:
    card = with_hf / "hf" / "README.md"
    card.write_text(f"{card.read_text()}\nMade of {drawn}/train.\n")
    assert refused(with_hf, 4).startswith(f"README.md names {drawn}, a place on this machine, ")

    card.write_text(card.read_text().replace(str(drawn), "/home/ada/pictures"))
    assert refused(with_hf, 4) == (
        "README.md names /home/ada/pictures/train., a place on this machine, and would tell it to everybody. Name the "
        "data set and its labels otherwise, and train again."
    )


# ── where it is refused ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["pets", "", "a/b/c", "user/", "us er/pets", "user/pets.git", "user/a--b", "../x"])
def test_what_is_no_name_is_refused(plain: Path, refused: Refused, name: str) -> None:
    assert refused(plain, 2, name=name) == f"'{name}' is no name of a model on the hub; give USER/NAME."


@pytest.mark.parametrize("branch", ["", "a b", "../x", "a/../../b", "a/.."])
def test_what_is_no_branch_is_refused(plain: Path, refused: Refused, branch: str) -> None:
    assert refused(plain, 2, revision=branch) == f"--revision {branch} is not allowed; give the name of a branch."


def test_without_a_token_it_is_said_how_to_log_in(
    model_hub: Any, plain: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN")

    assert refused(plain, 2) == (
        "There is no token to publish with; log in with 'hf auth login', or set HF_TOKEN to one that may write."
    )
    assert model_hub.asked == []


def test_a_token_that_the_hub_does_not_know_is_refused(
    model_hub: Any, plain: Path, refused: Refused, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_old")

    assert refused(plain, 2) == (
        "user/pets is not published: the hub does not let this token (401). It is HF_TOKEN; set HF_TOKEN to one that "
        "may write, or log in with 'hf auth login'."
    )


def test_a_token_that_may_not_write_is_refused(model_hub: Any, plain: Path, refused: Refused) -> None:
    model_hub.refuse = {"/api/repos/create": 403}

    assert refused(plain, 2).startswith("user/pets is not published: the hub does not let this token (403). ")


def test_another_s_model_is_not_overwritten(model_hub: Any, plain: Path, refused: Refused) -> None:
    there = model_hub.offer("user/pets", OTHERS)

    assert refused(plain, 2) == (
        "user/pets exists and is no model of finetune's: it holds README.md, pytorch_model.bin, and no finetune.onnx. "
        "Give the model another name."
    )
    assert there.files == OTHERS


def test_a_public_repository_is_not_taken_for_a_private_one(
    model_hub: Any, plain: Path, publish: Publish, refused: Refused
) -> None:
    publish(plain)

    assert refused(plain, 2, private=True) == (
        "user/pets exists and is public. Make it private in its settings, or leave --private out."
    )


def test_a_commit_that_came_between_is_not_overwritten(model_hub: Any, plain: Path, refused: Refused) -> None:
    model_hub.refuse = {"/commit/main": 412}

    assert refused(plain, 6) == (
        "user/pets is not published: somebody else changed it meanwhile. Run the command again."
    )


def test_a_connection_that_is_cut_in_the_upload_leaves_no_commit_and_a_second_attempt_succeeds(
    model_hub: Any, with_hf: Path, publish: Publish, refused: Refused
) -> None:
    model_hub.cut_upload = True
    assert refused(with_hf, 6) == (
        "user/pets is not published: the connection to the hub failed. Check it, and run the command again to go on."
    )
    assert set(model_hub.repositories["user/pets"].files) == {".gitattributes"}

    model_hub.cut_upload = False
    publish(with_hf)
    assert "finetune.onnx" in model_hub.repositories["user/pets"].files


def test_without_a_network_nothing_is_published(plain: Path, refused: Refused) -> None:
    assert refused(plain, 6) == (
        "user/pets is not published: the connection to the hub failed. Check it, and run the command again to go on."
    )


def test_a_card_that_the_hub_refuses_is_told_with_the_reason(model_hub: Any, plain: Path, refused: Refused) -> None:
    model_hub.refuse = {"/api/validate-yaml": 400}

    assert refused(plain, 2).startswith(
        "user/pets is not published. The hub's library says: Invalid metadata in README.md."
    )


def test_preparing_sends_nothing(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was made"))
    monkeypatch.delenv("HF_TOKEN")

    publication = publishing.prepare(plain, "user/pets")

    assert publication.sizes == {
        "README.md": len(publication.card.encode()),
        "finetune.onnx": (plain / "model.onnx").stat().st_size,
    }
