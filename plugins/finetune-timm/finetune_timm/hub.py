"""Weights from the Hugging Face hub: downloaded once into its cache, checked against the hash that the hub states.

The hub says of every weight file which SHA-256 it has, and its cache keeps a file under that name. A file is believed
only when its content has that hash; one that is there already is taken without asking the hub. Pickles are never
fetched.
"""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlparse

from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HFValidationError,
    LocalEntryNotFoundError,
    RepositoryNotFoundError,
)
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune.errors import ModelError, ResourceError
from finetune.run_folder import sha256_of
from finetune.types import Weights

FILE = "model.safetensors"
TIMEOUT_S = 30.0
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch(weights: Weights) -> Path:
    """Return the weight file in the hub's cache, downloaded if it is not there, and checked in either case.

    Raises ``ResourceError`` where it can be neither found nor downloaded, ``ModelError`` where its content is not what
    the hub says it is.
    """
    cached = find(weights)
    if cached:
        _check(cached, weights, f"Delete {cached.resolve()}, and the next run downloads it again.")
        return cached
    path = _downloaded(weights)
    try:
        _check(path, weights, "It was thrown away; the next run downloads it again.")
    except ModelError:
        path.resolve().unlink()
        raise
    return path


def find(weights: Weights) -> Path | None:
    """Return where the weight file is in the hub's cache, None if it is not."""
    cached = try_to_load_from_cache(_repository(weights), FILE, cache_dir=constants.HF_HUB_CACHE)
    return Path(cached) if isinstance(cached, str) and Path(cached).is_file() else None


def _repository(weights: Weights) -> str:
    return urlparse(weights.url).path.strip("/")


def _check(path: Path, weights: Weights, next_step: str) -> None:
    """Hold a file against the hash that the hub states for it, which is the name that its cache gives the content."""
    stated, found = path.resolve().name, sha256_of(path)
    if not _SHA256.fullmatch(stated):
        raise ModelError(f"The hub states no SHA-256 for {path}, so it cannot be checked. Give --weights FILE instead.")
    if found != stated:
        raise ModelError(
            f"{path} is not what {weights.url} publishes: its SHA-256 begins {found[:16]}, not {stated[:16]}. "
            f"{next_step}"
        )


def _downloaded(weights: Weights) -> Path:
    if not sys.stderr.isatty():
        disable_progress_bars()
    try:
        with _in_silence():
            path = hf_hub_download(
                _repository(weights),
                FILE,
                cache_dir=constants.HF_HUB_CACHE,
                endpoint=os.environ.get("HF_ENDPOINT"),  # the library itself reads it but once, when it is imported
                etag_timeout=TIMEOUT_S,
            )
        return Path(path)
    except (OSError, HFValidationError) as error:  # every failure of the network is one, and so is a full disk
        raise ResourceError(
            f"Cannot download the pretrained weights {weights.name} from {weights.url}: {_cause(error)}, or give "
            "--weights FILE or --weights none."
        ) from error


@contextmanager
def _in_silence() -> Iterator[None]:
    """Keep the library from telling of every attempt: what came of it is said once, by the error."""
    level = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(level)


def _cause(error: Exception) -> str:
    """Return what is the matter and what may help, as the beginning of a sentence."""
    if isinstance(error, GatedRepoError):
        return (
            "the hub shows them to those only who accepted their terms. "
            "Do so on that page and log in with 'hf auth login'"
        )
    if isinstance(error, RepositoryNotFoundError | HFValidationError):
        return "the hub shows nothing of that name. Log in with 'hf auth login' if it is private"
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return f"there is no {FILE}, and pickles are never fetched. Choose another tag"
    status = getattr(getattr(error, "response", None), "status_code", None)
    if status is not None:
        return f"the hub answers with status {status}. Run again later"
    number = getattr(error, "errno", None)
    if number is not None and not isinstance(error, ConnectionError | TimeoutError):
        return f"{constants.HF_HUB_CACHE} cannot be written ({os.strerror(number)}). Free some space there"
    return "the hub cannot be reached, or the connection broke. Run again when it is there"
