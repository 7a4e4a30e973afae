"""Checkpoints on disk: tensors and facts in safetensors files, each whole or absent, of which the newest two are kept.

A pointer, ``checkpoint.json``, names them with their hashes, so that no file is read that is not what was written. No
file holds a pickle. What cannot be trusted is refused with a word on what there is instead; nothing is passed over in
silence.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from finetune.errors import ModelError, ResourceError
from finetune.run_folder import sha256_of, sync_folder, to_json, whole, write, writing

POINTER = "checkpoint.json"

_NEW = "new.safetensors"  # before its hash, and so its name, is known
_NAME = re.compile(r"checkpoint-(\d{6,})-([0-9a-f]{16})\.safetensors")  # its number, and how its sha256 begins
_OS_ERROR = re.compile(r"\(os error (\d+)\)")


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What ``Checkpoints.save`` was given; ``note`` is for the user, where it is not the newest that there was."""

    tensors: dict[str, Tensor] = field(repr=False)
    facts: dict[str, Any]
    description: str
    note: str = ""


@dataclass(frozen=True)
class _Entry:
    """A checkpoint as the pointer has it; ``sha256`` is only how it begins, and nothing described, without pointer."""

    file: str
    sha256: str
    description: str = "a state of the run"


class Checkpoints:
    """The checkpoints of one run, in a folder of their own that is made when the first is saved."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], description: str) -> None:
        """Keep tensors by name, and facts as JSON has them, as the newest checkpoint; the last but one goes.

        Tensors come back with their types, values and strides; those that share memory come back apart. In
        ``description`` is one line on where the run was. A crash at any moment leaves the checkpoints before it, or
        this one and the one before it. Raises ``ResourceError`` where it cannot be written, or does not read back as
        it was written.
        """
        with writing(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            before = self._still_there()[:1]
            with whole(self.folder / _NEW) as temporary:
                _write(temporary, tensors, facts, description)
            entry = self._named(description)
            sync_folder(self.folder)
            write(self.folder / POINTER, (to_json([asdict(e) for e in (entry, *before)]) + "\n").encode())
            self._sweep([entry, *before])

    def load(self) -> Checkpoint | None:
        """Return the newest checkpoint; None where none was ever saved.

        Raises ``ModelError`` for files that are damaged, or all gone, saying how to go on. Of a newest one that is
        gone, the one before it is returned, with a ``note``.
        """
        known = self._pointed_at()
        if known is None:
            return self._without_pointer()
        there = [entry for entry in known if (self.folder / entry.file).exists()]
        if known and not there:
            raise ModelError(f"{self.folder / known[0].file} is missing. {self._from_the_start('There is no other')}")
        if not there:
            return None
        gone = f"{self.folder / known[0].file} is missing" if there[0] != known[0] else ""
        return self._read(there[0], there[1:], gone)

    def remove(self) -> None:
        """Remove all checkpoints; stopped on the way, it leaves some that can be loaded, or none."""
        with writing(self.folder):
            (self.folder / POINTER).unlink(missing_ok=True)
            self._sweep([])
        with contextlib.suppress(OSError):  # nothing there, or what is not ours
            self.folder.rmdir()

    # ── what there is ───────────────────────────────────────────────────────────────────────────────

    def _pointed_at(self) -> list[_Entry] | None:
        """Return what the pointer names, the newest first; None without a pointer."""
        path = self.folder / POINTER
        if not path.exists():
            return None
        try:
            entries = [_Entry(**entry) for entry in json.loads(path.read_text(encoding="utf-8"))]
            if not all(_NAME.fullmatch(e.file) and isinstance(e.sha256 + e.description, str) for e in entries):
                raise ValueError
        except (OSError, ValueError, TypeError) as error:
            raise ModelError(
                f"{path} is damaged. Delete it and repeat the command: it goes on from the newest checkpoint beside it "
                "that is whole."
            ) from error
        return entries

    def _in_folder(self) -> list[_Entry]:
        """Return the checkpoints in the folder, the newest first, as far as their names tell."""
        names = [found for path in self.folder.glob("*") if (found := _NAME.fullmatch(path.name))]
        return [_Entry(name[0], name[2]) for name in sorted(names, key=lambda name: -int(name[1]))]

    def _still_there(self) -> list[_Entry]:
        """Return the checkpoints to keep beside a new one; a pointer that is damaged by now is written anew."""
        with contextlib.suppress(ModelError):
            return [entry for entry in self._pointed_at() or () if (self.folder / entry.file).exists()]
        return []

    def _without_pointer(self) -> Checkpoint | None:
        """Return the newest checkpoint by its name: of the very first one, the pointer may not be written yet."""
        found = self._in_folder()
        return self._read(found[0], found[1:], f"{self.folder / POINTER} is missing") if found else None

    # ── files ───────────────────────────────────────────────────────────────────────────────────────

    def _named(self, description: str) -> _Entry:
        """Give the new file its name."""
        sha256 = sha256_of(self.folder / _NEW)
        number = 1 + max((int(_NAME.fullmatch(e.file)[1]) for e in self._in_folder()), default=0)  # type: ignore[index]
        entry = _Entry(f"checkpoint-{number:06}-{sha256[:16]}.safetensors", sha256, description)
        (self.folder / _NEW).replace(self.folder / entry.file)
        return entry

    def _read(self, entry: _Entry, before: Sequence[_Entry], gone: str) -> Checkpoint:
        if not self._is_whole(entry):
            raise ModelError(f"{self.folder / entry.file} is damaged. {self._instead(before)}")
        found = _read(self.folder / entry.file, gone)
        if found is None:
            raise ModelError(f"{self.folder / entry.file} is no checkpoint. {self._instead(before)}")
        return found

    def _is_whole(self, entry: _Entry) -> bool:
        try:
            return sha256_of(self.folder / entry.file).startswith(entry.sha256)
        except OSError as error:
            raise ResourceError(f"Cannot read {self.folder / entry.file}: {error.strerror}.") from error

    def _instead(self, before: Sequence[_Entry]) -> str:
        """Return how to go on without a checkpoint."""
        if not before:
            return self._from_the_start("There is no other")
        if not self._is_whole(before[0]):
            return self._from_the_start(f"The one before it, {before[0].file}, is damaged, too")
        return (
            f"The one before it holds {before[0].description}: delete the damaged file and repeat the command to go on "
            "from there."
        )

    def _from_the_start(self, why: str) -> str:
        return f"{why}: delete {self.folder} and repeat the command to train from the start."

    def _sweep(self, kept: Sequence[_Entry]) -> None:
        """Remove checkpoints, from the oldest on, but those to keep, and what a crash left of them."""
        names = {entry.file for entry in kept}
        for entry in reversed(self._in_folder()):
            if entry.file not in names:
                (self.folder / entry.file).unlink(missing_ok=True)
        for pattern in (_NEW, f".{_NEW}.*.part", f".{POINTER}.*.part", ".tmp*"):  # the last are of safetensors' making
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)


def _write(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any], description: str) -> None:
    """Write a checkpoint, and read it back; raises ``ResourceError`` where that is not what was written."""
    flat, layouts = _flattened(tensors)
    texts = {"facts": json.dumps(facts), "layouts": json.dumps(layouts), "description": description}
    try:
        save_file(flat, path, metadata=texts)
    except SafetensorError as error:
        if found := _OS_ERROR.search(str(error)):
            raise OSError(int(found[1]), os.strerror(int(found[1]))) from error
        raise
    if not _is_as_written(path, flat, texts):
        raise ResourceError(
            f"{path.parent}: a checkpoint does not read back as it was written; the disk may be failing."
        )


def _is_as_written(path: Path, tensors: Mapping[str, Tensor], texts: Mapping[str, str]) -> bool:
    try:
        with safe_open(path, "pt") as file:
            names = set(file.keys())
            return (
                bool(file.metadata() == texts)
                and names == set(tensors)
                and all(torch.equal(_bits(file.get_tensor(name)), _bits(tensor)) for name, tensor in tensors.items())
            )
    except SafetensorError:
        return False


def _read(path: Path, note_begins: str) -> Checkpoint | None:
    """Return what a file holds, in memory of its own; None where that is no checkpoint."""
    try:
        with safe_open(path, "pt") as file:
            texts = file.metadata()
            layouts, facts, description = json.loads(texts["layouts"]), json.loads(texts["facts"]), texts["description"]
            # Mapped into memory as they are, tensors would lie at odd addresses and change with the file.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - it is no dict
        for name, (shape, strides) in layouts.items():
            tensors[name] = tensors[name].as_strided(shape, strides)
    except (SafetensorError, ValueError, TypeError, KeyError, RuntimeError):
        return None
    note = f"{note_begins}; going on from {path.name}, which holds {description}." if note_begins else ""
    return Checkpoint(tensors=tensors, facts=facts, description=description, note=note)


def _flattened(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, tuple[Sequence[int], ...]]]:
    """Return tensors that share no memory, and of those that are flat now their shape and strides.

    Without a copy, wherever it can be: a large network and its optimizer may just fit into memory.
    """
    flat: dict[str, Tensor] = {}
    layouts: dict[str, tuple[Sequence[int], ...]] = {}
    storages: set[int] = set()
    for name, tensor in tensors.items():
        found = tensor.detach()
        if found.stride() != torch.empty_like(found, device="meta").stride():  # a part of another, or a repetition
            found = found.contiguous()
        if found.stride() != torch.empty(found.shape, device="meta").stride():  # such as channels_last
            layouts[name] = found.shape, found.stride()
            found = found.as_strided((found.numel(),), (1,))
        flat[name] = found.clone() if found.untyped_storage().data_ptr() in storages else found
        storages.add(flat[name].untyped_storage().data_ptr())
    return flat, layouts


def _bits(tensor: Tensor) -> Tensor:
    """Return a tensor's bytes, by which NaN equals itself, uint8 (B,)."""
    return tensor.reshape(-1).view(torch.uint8)
