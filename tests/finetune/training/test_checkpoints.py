"""What is saved comes back as it was; of what cannot be trusted, nothing does."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from finetune.errors import ModelError, ResourceError
from finetune.training import checkpoints as checkpoints_module
from finetune.training.checkpoints import POINTER, Checkpoint, Checkpoints

Tree = Callable[[Path], dict[str, bytes]]


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path / "run" / "checkpoints")


def save(checkpoints: Checkpoints, *epochs: int) -> None:
    for epoch in epochs:
        checkpoints.save({"w": torch.full((300,), float(epoch))}, {"epoch": epoch}, f"frozen, epoch {epoch} of 20")


def loaded(checkpoints: Checkpoints) -> Checkpoint:
    found = Checkpoints(checkpoints.folder).load()  # as another process would
    assert found is not None
    return found


def files(checkpoints: Checkpoints) -> list[Path]:
    return sorted(checkpoints.folder.glob("checkpoint-*"))


def refusal(checkpoints: Checkpoints) -> str:
    with pytest.raises(ModelError) as caught:
        Checkpoints(checkpoints.folder).load()
    assert caught.value.exit_code == 4
    return str(caught.value).replace(str(checkpoints.folder), "FOLDER")


# ── what comes back ─────────────────────────────────────────────────────────────────────────────────

DTYPES = (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int8)


def same(found: Tensor, expected: Tensor) -> bool:
    bits = [tensor.contiguous().reshape(-1).view(torch.uint8) for tensor in (found, expected)]
    return found.dtype == expected.dtype and found.shape == expected.shape and torch.equal(*bits)


def test_where_nothing_was_saved_there_is_nothing(checkpoints: Checkpoints) -> None:
    assert checkpoints.load() is None
    checkpoints.folder.mkdir(parents=True)
    assert checkpoints.load() is None


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool, torch.uint8], ids=str)
def test_tensors_of_every_type_and_shape_come_back_bit_for_bit(checkpoints: Checkpoints, dtype: torch.dtype) -> None:
    shapes: list[tuple[int, ...]] = [(), (1,), (0, 3), (7,), (3, 2, 5, 5)]
    tensors = {f"{shape}": (50 * torch.randn(shape)).to(dtype) for shape in shapes}

    checkpoints.save(tensors, {}, "")

    found = loaded(checkpoints).tensors
    assert found.keys() == tensors.keys()
    assert all(same(found[name], tensor) for name, tensor in tensors.items())


def test_the_state_of_random_generators_and_what_is_no_number_come_back(checkpoints: Checkpoints) -> None:
    odd = torch.tensor([float("nan"), float("inf"), -0.0, 1e-45])
    checkpoints.save({"random": torch.get_rng_state(), "odd": odd}, {}, "")

    found = loaded(checkpoints).tensors

    assert same(found["odd"], odd)
    torch.set_rng_state(found["random"])
    assert same(found["random"], torch.get_rng_state())


@pytest.mark.parametrize("shape", [(8, 3, 5, 5), (8, 1, 3, 3), (8, 16, 1, 1), (1, 3, 1, 1), (1, 1, 1, 1)], ids=str)
def test_tensors_lie_in_memory_as_they_did(checkpoints: Checkpoints, shape: tuple[int, ...]) -> None:
    """In another layout convolutions round otherwise, and fused optimizers read the wrong number."""
    plain = torch.randn(shape)
    tensors = {
        "plain": plain,
        "channels last": plain.contiguous(memory_format=torch.channels_last),
        "turned": torch.randn(*shape[1:], shape[0]).permute(3, 0, 1, 2),
    }
    checkpoints.save(tensors, {}, "")

    found = loaded(checkpoints).tensors

    for name, tensor in tensors.items():
        assert same(found[name], tensor)
        assert found[name].stride() == tensor.stride()
        assert found[name].data_ptr() % 64 == 0


def test_tensors_that_share_memory_come_back_apart(checkpoints: Checkpoints) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    tensors = {"whole": whole, "again": whole, "part": whole[1:3, 2:], "turned": whole.T, "row": whole[:1].expand(3, 6)}
    checkpoints.save(tensors, {}, "")

    found = loaded(checkpoints).tensors

    assert all(same(found[name], tensor) for name, tensor in tensors.items())
    assert len({tensor.untyped_storage().data_ptr() for tensor in found.values()}) == 5


def test_what_is_saved_needs_no_gradients_and_stays_as_it_is(checkpoints: Checkpoints) -> None:
    layer = nn.Conv2d(3, 8, 3)
    before = layer.weight.detach().clone()
    checkpoints.save(dict(layer.named_parameters()), {}, "")

    found = loaded(checkpoints).tensors
    with torch.no_grad():
        layer.weight.add_(1)

    assert not found["weight"].requires_grad
    assert same(found["weight"], before)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=40, deadline=None)
@given(facts=st.dictionaries(st.text(), JSON, max_size=4), description=st.text(st.characters(codec="utf-8")))
def test_facts_and_description_come_back(
    tmp_path_factory: pytest.TempPathFactory, facts: dict[str, Any], description: str
) -> None:
    checkpoints = Checkpoints(tmp_path_factory.mktemp("run") / "checkpoints")
    checkpoints.save({"w": torch.zeros(1)}, facts, description)

    found = loaded(checkpoints)

    assert (found.facts, found.description, found.note) == (facts, description, "")


# ── what is kept ────────────────────────────────────────────────────────────────────────────────────


def test_the_newest_comes_back_and_the_two_newest_are_kept(checkpoints: Checkpoints) -> None:
    for epoch in range(1, 5):
        save(checkpoints, epoch)
        assert loaded(checkpoints).facts == {"epoch": epoch}
        assert len(files(checkpoints)) == min(epoch, 2)

    pointer = json.loads((checkpoints.folder / POINTER).read_text(encoding="utf-8"))
    assert [entry["file"] for entry in pointer] == [path.name for path in files(checkpoints)[::-1]]
    assert [entry["description"] for entry in pointer] == ["frozen, epoch 4 of 20", "frozen, epoch 3 of 20"]
    assert len(list(checkpoints.folder.iterdir())) == 3


def test_what_crashes_left_behind_is_removed_and_what_is_not_ours_stays(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, 2)
    stale = ("new.safetensors", ".new.safetensors.0123abcd.part", ".checkpoint.json.0123abcd.part", ".tmpAbCdEf")
    for name in (*stale, f"checkpoint-000009-{'0' * 16}.safetensors", "notes.txt"):
        (checkpoints.folder / name).write_bytes(b"half")

    save(checkpoints, 3)

    names = {path.name for path in checkpoints.folder.iterdir()}
    assert len(names) == 4
    assert {"notes.txt", POINTER} < names
    assert loaded(checkpoints).facts == {"epoch": 3}


def test_removed_they_leave_no_trace_and_others_can_follow(checkpoints: Checkpoints) -> None:
    checkpoints.remove()
    save(checkpoints, 1, 2, 3)
    checkpoints.remove()

    assert not checkpoints.folder.exists()
    assert checkpoints.load() is None
    save(checkpoints, 4)
    assert loaded(checkpoints).facts == {"epoch": 4}


# ── what is damaged ─────────────────────────────────────────────────────────────────────────────────


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], object]] = {
    "one bit": flip,
    "cut": lambda path: path.write_bytes(path.read_bytes()[:-100]),
    "empty": lambda path: path.write_bytes(b""),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
}


@pytest.mark.parametrize("harm", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_refused_until_it_is_deleted_and_then_the_one_before_it_is_taken(
    checkpoints: Checkpoints, harm: Callable[[Path], object], tree: Tree
) -> None:
    save(checkpoints, 1, 2, 3)
    newest, before = files(checkpoints)[1], files(checkpoints)[0]
    harm(newest)
    as_it_was = tree(checkpoints.folder)

    assert refusal(checkpoints) == (
        f"FOLDER/{newest.name} is damaged. The one before it holds frozen, epoch 2 of 20: delete the damaged file and "
        "repeat the command to go on from there."
    )
    assert tree(checkpoints.folder) == as_it_was

    newest.unlink()
    found = loaded(checkpoints)
    assert found.facts == {"epoch": 2}
    assert found.note == (f"{newest} is missing; going on from {before.name}, which holds frozen, epoch 2 of 20.")
    save(checkpoints, 7)
    assert loaded(checkpoints).facts == {"epoch": 7}
    assert len(files(checkpoints)) == 2
    flip(files(checkpoints)[1])
    assert "holds frozen, epoch 2 of 20" in refusal(checkpoints)


def test_a_file_of_another_checkpoint_under_the_name_of_the_newest_is_refused(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, 2)
    before, newest = files(checkpoints)
    newest.write_bytes(before.read_bytes())

    assert refusal(checkpoints).startswith(f"FOLDER/{newest.name} is damaged. The one before it holds frozen, epoch 1")


def test_where_both_are_damaged_only_the_start_is_left(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, 2)
    before, newest = files(checkpoints)
    flip(before)
    flip(newest)

    assert refusal(checkpoints) == (
        f"FOLDER/{newest.name} is damaged. The one before it, {before.name}, is damaged, too: delete FOLDER and repeat "
        "the command to train from the start."
    )
    newest.unlink()
    assert refusal(checkpoints) == (
        f"FOLDER/{before.name} is damaged. There is no other: delete FOLDER and repeat the command to train from the "
        "start."
    )
    before.unlink()
    assert refusal(checkpoints) == (
        f"FOLDER/{newest.name} is missing. There is no other: delete FOLDER and repeat the command to train from the "
        "start."
    )


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[",
        b"3",
        b"\xff",
        b'{"a": 1}',
        b'[{"file": "../run.json", "sha256": "", "description": ""}]',
        b'[{"file": "checkpoint-000001-0123456789abcdef.safetensors", "sha256": 3, "description": ""}]',
        b'[{"file": "checkpoint-000001-0123456789abcdef.safetensors"}]',
    ],
)
def test_a_damaged_pointer_is_refused_until_it_is_deleted_and_then_names_tell(
    checkpoints: Checkpoints, content: bytes
) -> None:
    save(checkpoints, 1, 2)
    (checkpoints.folder / POINTER).write_bytes(content)

    assert refusal(checkpoints) == (
        "FOLDER/checkpoint.json is damaged. Delete it and repeat the command: it goes on from the newest checkpoint "
        "beside it that is whole."
    )

    (checkpoints.folder / POINTER).unlink()
    found = loaded(checkpoints)
    assert found.facts == {"epoch": 2}
    assert found.note == (
        f"{checkpoints.folder / POINTER} is missing; going on from {files(checkpoints)[1].name}, which holds frozen, "
        "epoch 2 of 20."
    )


def test_without_a_pointer_a_damaged_checkpoint_is_refused_as_well(checkpoints: Checkpoints) -> None:
    save(checkpoints, 1, 2)
    (checkpoints.folder / POINTER).unlink()
    newest = files(checkpoints)[1]
    flip(newest)

    assert refusal(checkpoints) == (
        f"FOLDER/{newest.name} is damaged. The one before it holds a state of the run: delete the damaged file and "
        "repeat the command to go on from there."
    )
    newest.unlink()
    assert loaded(checkpoints).facts == {"epoch": 1}


@pytest.mark.parametrize("content", [b"no tensors", b"\x02\0\0\0\0\0\0\0{}"], ids=["junk", "without facts"])
def test_a_file_that_is_no_checkpoint_is_refused_whatever_the_pointer_says(
    checkpoints: Checkpoints, content: bytes
) -> None:
    save(checkpoints, 1, 2)
    before, newest = files(checkpoints)
    newest.write_bytes(content)
    entries = json.loads((checkpoints.folder / POINTER).read_text(encoding="utf-8"))
    entries[0]["sha256"] = checkpoints_module.sha256_of(newest)
    (checkpoints.folder / POINTER).write_text(json.dumps(entries), encoding="utf-8")

    assert refusal(checkpoints).startswith(f"FOLDER/{newest.name} is no checkpoint. The one before it holds frozen")
    assert before.exists()


def test_a_disk_that_keeps_something_else_is_told_and_the_checkpoint_before_it_stays(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(checkpoints, 1)
    save_file = checkpoints_module.save_file
    monkeypatch.setattr(
        checkpoints_module, "save_file", lambda t, path, metadata: (save_file(t, path, metadata), flip(path))
    )

    with pytest.raises(ResourceError) as caught:
        save(checkpoints, 2)

    assert str(caught.value) == (
        f"{checkpoints.folder}: a checkpoint does not read back as it was written; the disk may be failing."
    )
    assert loaded(checkpoints).facts == {"epoch": 1}
    assert len(list(checkpoints.folder.iterdir())) == 2


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_bytes(b"")
    with pytest.raises(ResourceError, match=r"^Cannot write .+/run/checkpoints: Not a directory\."):
        save(Checkpoints(tmp_path / "run" / "checkpoints"), 1)
