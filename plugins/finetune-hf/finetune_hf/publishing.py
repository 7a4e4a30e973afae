"""A finished run's model, on the hub: looked at once more, and put there in one commit or not at all."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import CommitOperationAdd, CommitOperationDelete, get_token
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import ModelInfo
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune.errors import ConfigError
from finetune.types import Reporter
from finetune_hf.card import card
from finetune_hf.connection import LOG_IN, TIMEOUT_S, api, check_name, is_revision, speaking_of
from finetune_hf.finished import CARD, OURS, finished
from finetune_hf.privacy import check_privacy

MAIN = "main"
WRITTEN = (CARD, OURS, "config.json", "preprocessor_config.json", "onnx/model.onnx")
"""What a published model may consist of: of an earlier one, these are replaced or removed, and nothing else is."""
_OF_THE_HUB = ".gitattributes"


@dataclass(frozen=True, kw_only=True)
class Publication:
    """What goes up: files by their names on the hub, and the card, which is made for the name."""

    name: str
    files: Mapping[str, Path]
    card: str

    @property
    def sizes(self) -> Mapping[str, int]:
        """The bytes of each file, the card's included."""
        return {CARD: len(self.card.encode()), **{name: path.stat().st_size for name, path in self.files.items()}}


@dataclass(frozen=True, kw_only=True)
class Published:
    """Where a model is now; ``commit`` is the one that holds it, ``sizes`` are in bytes."""

    name: str
    url: str
    commit: str
    sizes: Mapping[str, int]


def prepare(run: Path, name: str) -> Publication:
    """Return what publishing the run as ``name`` would put on the hub; nothing is sent.

    Raises ``ConfigError`` for what is no name or no finished run, ``ModelError`` for a model that is not verified, was
    changed since, or names places on this machine.
    """
    check_name(name)
    found = finished(run)
    publication = Publication(name=name, files=found.files, card=card(found, name))
    check_privacy(found, publication.card)
    return publication


def publish(
    publication: Publication, *, private: bool = False, revision: str | None = None, reporter: Reporter
) -> Published:
    """Put a model on the hub in one commit to ``revision``, the main branch by default; make what is not there yet.

    Raises ``ConfigError`` where there is no token, the hub refuses it, or the repository holds something that is not a
    model of finetune's, and ``ResourceError`` where the network fails; then nothing was committed.
    """
    name, branch = publication.name, _branch(revision)
    _check_token()
    disable_progress_bars()  # the reporter draws its own
    reporter.begin(f"Publishing {name}")
    with speaking_of(name, "published"), _warnings_as_notes(reporter):
        api().whoami()  # a token that the hub does not know is told from a repository that it does not show
        there = _there(name, branch)
        if there:
            _refuse_foreign(there, name, private)
        else:
            api().create_repo(name, private=private or None)  # None: as the account has it
        parent = _begin_branch(name, branch)
        commit = api().create_commit(
            name,
            [*_additions(publication), *_removals(publication, _files_of(parent))],
            commit_message=f"Publish a model that finetune verified ({OURS})",
            revision=branch,
            parent_commit=parent.sha,
        )
    reporter.end()
    return Published(name=name, url=f"{api().endpoint}/{name}", commit=commit.oid, sizes=publication.sizes)


@contextmanager
def _warnings_as_notes(reporter: Reporter) -> Iterator[None]:
    """Let what the library warns of, such as the hub's remarks on a card, appear as notes."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", UserWarning)
        yield
    for warning in caught:
        reporter.note(" ".join(str(warning.message).split()))


def _branch(revision: str | None) -> str:
    branch = MAIN if revision is None else revision
    if not is_revision(branch):
        raise ConfigError(f"--revision {branch} is not allowed; give the name of a branch.")
    return branch


def _check_token() -> None:
    if not get_token():
        raise ConfigError(f"There is no token to publish with; {LOG_IN}, or set HF_TOKEN to one that may write.")


def _there(name: str, branch: str) -> ModelInfo | None:
    """Return what the branch holds, or the main one that it will begin with; None where there is no repository."""
    try:
        return api().model_info(name, revision=branch, timeout=TIMEOUT_S)
    except RevisionNotFoundError:
        return api().model_info(name, timeout=TIMEOUT_S)
    except RepositoryNotFoundError:
        return None


def _refuse_foreign(there: ModelInfo, name: str, private: bool) -> None:
    files = _files_of(there)
    if files and OURS not in files:
        listed = ", ".join(files[:5]) + (" and others" if len(files) > 5 else "")
        raise ConfigError(
            f"{name} exists and is no model of finetune's: it holds {listed}, and no {OURS}. Give the model another "
            "name."
        )
    if private and not there.private:
        raise ConfigError(f"{name} exists and is public. Make it private in its settings, or leave --private out.")


def _files_of(there: ModelInfo) -> list[str]:
    return [entry.rfilename for entry in there.siblings or () if entry.rfilename != _OF_THE_HUB]


def _begin_branch(name: str, branch: str) -> ModelInfo:
    """Return what the branch holds before the commit, made from the main one where it is not there."""
    if branch != MAIN:
        api().create_branch(name, branch=branch, exist_ok=True)
    return api().model_info(name, revision=branch, timeout=TIMEOUT_S)


def _additions(publication: Publication) -> Iterator[CommitOperationAdd]:
    yield CommitOperationAdd(CARD, publication.card.encode())
    for name, path in publication.files.items():
        yield CommitOperationAdd(name, path)


def _removals(publication: Publication, there: Iterable[str]) -> Iterator[CommitOperationDelete]:
    """Yield what an earlier model left that this one does not replace: half of each would be neither."""
    for name in there:
        if name in WRITTEN and name != CARD and name not in publication.files:
            yield CommitOperationDelete(name, is_folder=False)
