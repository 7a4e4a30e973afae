"""A published model, from the hub to a file that has passed every check; nothing of a repository is ever run."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from huggingface_hub import try_to_load_from_cache
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune.errors import ConfigError, ModelError, ResourceError
from finetune.run_folder import sha256_of, whole
from finetune.types import Reporter
from finetune_export import Contract, Predictor
from finetune_export.model_file import MAX_BYTES
from finetune_hf.connection import (
    TIMEOUT_S,
    api,
    cause_of,
    check_name,
    is_revision,
    is_unreachable,
    quiet,
    speaking_of,
)
from finetune_hf.finished import CARD, OURS
from finetune_hf.front_matter import MAX_CARD_BYTES, front_matter, licence_in

_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, kw_only=True)
class Fetched:
    """A model that was fetched and passed its checks; ``licence`` is what its card states, '' where it has none."""

    file: Path
    name: str
    commit: str
    task: str
    labels: tuple[str, ...]
    metrics: Mapping[str, float]
    licence: str
    licence_of_weights: str
    licence_of_data: str
    notes: tuple[str, ...]

    def rows(self) -> list[tuple[str, str]]:
        """Return what there is to know as the rows of a two-column table."""
        return [
            ("model", str(self.file)),
            ("from", f"{self.name}, commit {self.commit}"),
            ("checks", "graph, hash and golden pairs are right"),
            ("task", self.task),
            (f"{len(self.labels)} {'values' if self.task == 'regression' else 'labels'}", ", ".join(self.labels)),
            ("validation", ", ".join(f"{name} {value:.4f}" for name, value in self.metrics.items())),
            ("licence", self.licence or "the card states none"),
            ("of the weights", self.licence_of_weights or "none"),
            ("of the data", self.licence_of_data),
            *(("note", note) for note in self.notes),
            ("next", f"finetune predict {shlex.quote(str(self.file))} PICTURE…"),
        ]


@dataclass(frozen=True, kw_only=True)
class _Copy:
    """What lies in the hub's cache: the file, in a folder that is called like its commit, and perhaps the card."""

    model: Path
    card: Path | None
    notes: tuple[str, ...] = field(default=())


def fetch(name: str, out: Path | None, reporter: Reporter) -> Fetched:
    """Fetch the model called ``USER/NAME`` or ``USER/NAME@REVISION`` to ``out``, ``NAME.onnx`` by default.

    It is checked as every predictor checks a file before it has that name. Raises ``ConfigError`` for what is not on
    the hub, or an ``out`` that is there already and holds something else; ``ModelError`` for a model that is refused;
    and ``ResourceError`` where network or disk fail.
    """
    name, _, revision = name.partition("@")
    check_name(name)
    if not is_revision(revision or "main"):
        raise ConfigError(f"The revision '{revision}' is not allowed; give a branch, a tag or a commit behind the @.")
    out = out or Path(f"{name.rpartition('/')[2]}.onnx")
    disable_progress_bars()  # the reporter draws its own
    reporter.begin(f"Fetching {name}")
    copy = _downloaded(name, revision or "main", reporter)
    licence = _licence(copy.card)
    reporter.begin("Checking it")
    contract, notes = _placed(copy.model, out, name)
    reporter.end()
    return Fetched(
        file=out,
        name=name,
        commit=copy.model.parent.name,
        task=contract.task,
        labels=contract.labels,
        metrics=contract.metrics,
        licence=licence,
        licence_of_weights=contract.backbone.licence,
        licence_of_data=contract.dataset.licence,
        notes=(*copy.notes, *notes),
    )


# ── from the hub to its cache ───────────────────────────────────────────────────────────────────────


def _downloaded(name: str, revision: str, reporter: Reporter) -> _Copy:
    with speaking_of(name, "fetched"):
        try:
            info = api().model_info(name, revision=revision, files_metadata=True, timeout=TIMEOUT_S)
        except OSError as error:
            if not is_unreachable(error):
                raise
            return _downloaded_before(name, revision, error)
        sizes = {entry.rfilename: entry.size or 0 for entry in info.siblings or ()}
        _refuse_unfit(name, sizes)
        if not isinstance(try_to_load_from_cache(name, OURS, revision=info.sha), str):
            reporter.note(f"Downloading {OURS}, {sizes[OURS]} bytes.")
        model = _file(info, name, OURS, revision)
        has_card = 0 < sizes.get(CARD, 0) <= MAX_CARD_BYTES
        return _Copy(model=model, card=_file(info, name, CARD, revision) if has_card else None)


def _file(info: ModelInfo, name: str, file: str, revision: str) -> Path:
    """Return a file in the cache, resuming what was cut off before; the library notes which commit a branch is at."""
    with quiet():
        path = Path(api().hf_hub_download(name, file, revision=revision))
    if path.parent.name != info.sha:
        raise ResourceError(f"{name} is not fetched: it was changed meanwhile. Run the command again.")
    return path


def _refuse_unfit(name: str, sizes: Mapping[str, int]) -> None:
    if OURS not in sizes:
        files = sorted(file for file in sizes if file != ".gitattributes")
        listed = ", ".join(files[:8]) + (f" and {len(files) - 8} more" if len(files) > 8 else "")
        raise ModelError(f"{name} has no {OURS}, so finetune did not make it. It has {listed or 'no files'}.")
    if sizes[OURS] > MAX_BYTES:
        raise ModelError(f"{OURS} of {name} has {sizes[OURS]} bytes; at most {MAX_BYTES} are allowed.")


def _downloaded_before(name: str, revision: str, error: OSError) -> _Copy:
    model, card = (try_to_load_from_cache(name, file, revision=revision) for file in (OURS, CARD))
    if not isinstance(model, str):
        raise ResourceError(
            f"{name} is not fetched: {cause_of(error)}, and it was not fetched before. Check the connection and run "
            "again."
        ) from error
    commit = Path(model).parent.name
    note = f"Because {cause_of(error)}, it is taken as it was fetched before, in commit {commit}."
    return _Copy(model=Path(model), card=Path(card) if isinstance(card, str) else None, notes=(note,))


# ── from the cache to its place ─────────────────────────────────────────────────────────────────────


def _placed(model: Path, out: Path, name: str) -> tuple[Contract, tuple[str, ...]]:
    """Check a model and give it its place, whole or not at all; return its contract, and what is worth telling."""
    if out.exists():
        if not out.is_file() or sha256_of(out) != sha256_of(model):
            raise ConfigError(f"{out} exists and is not this model. Give another file with --out, or move that one.")
        contract, notes = _checked(out, model, name)
        return contract, (*notes, f"{out} was there already, with the same content.")
    with whole(out) as temporary:
        shutil.copyfile(model, temporary)
        return _checked(temporary, model, name)


def _checked(file: Path, cached: Path, name: str) -> tuple[Contract, tuple[str, ...]]:
    """Return the contract and notes of a file that passes; one that does not is not kept in the cache either."""
    try:
        _check_hash(file, cached.resolve().name)
        predictor = Predictor(file)
    except ModelError as error:
        cached.resolve().unlink(missing_ok=True)
        cached.unlink(missing_ok=True)
        cause = str(error).removeprefix(f"{file}: ").rstrip(".")
        raise ModelError(f"{OURS} of {name} is refused: {cause}. It was removed from the cache.") from error
    return predictor.contract, predictor.notes


def _check_hash(file: Path, expected: str) -> None:
    """Compare with the hash that the hub states for large files, under which the cache keeps them."""
    if _SHA256.fullmatch(expected) and sha256_of(file) != expected:
        raise ModelError("what came is not what the hub has (its sha256 differs); fetch it again")


def _licence(card: Path | None) -> str:
    """Return what the front matter of a card states, as the hub shows it."""
    stated = front_matter(card) if card else {}
    return " ".join(filter(None, (licence_in(stated), licence_in(stated, "license_name"))))
