"""A set of the hub by its name: its Parquet files, downloaded once, resumable, and there again without a network.

Sets that were published in another form are taken as the hub's own conversion to Parquet, the branch
``refs/convert/parquet``. A set's scripts are never fetched.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from huggingface_hub import hf_hub_url
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError, RevisionNotFoundError
from huggingface_hub.utils.tqdm import disable_progress_bars

from finetune import run_folder
from finetune.download import writing_to
from finetune.errors import ConfigError, DataError, ResourceError
from finetune.types import Reporter
from finetune_hf.configurations import Splits, choose_configuration, default_in
from finetune_hf.connection import LOG_IN, TIMEOUT_S, api, cause_of, quiet
from finetune_hf.front_matter import CARD, MAX_CARD_BYTES, front_matter
from finetune_hf.shards import Shards, parquet_shards

CONVERTED = "refs/convert/parquet"
_NAME = re.compile(r"\w[\w.-]*(/\w[\w.-]*)?(:\w[\w./-]*)?", re.ASCII)


def fetch(name: str, cache: Path, reporter: Reporter) -> Shards:
    """Return the files of the set called ``USER/SET`` or ``USER/SET:CONFIGURATION``, downloading what is not there.

    Raises ``ConfigError`` for what is no name, ``DataError`` for a set that is not there or has no Parquet files,
    ``ResourceError`` where the hub cannot be reached and nothing was downloaded before.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name} is not allowed; give USER/SET or USER/SET:CONFIGURATION.")
    disable_progress_bars()  # the reporter draws its own
    repository, _, configuration = name.partition(":")
    known = cache / "known" / f"{name.replace('/', '--').replace(':', '@')}.json"
    try:
        revision, files, notes = _files(repository, configuration or None, cache / "hub")
        root = _download(repository, revision, files, cache / "hub", reporter)
    except (GatedRepoError, RepositoryNotFoundError, HFValidationError) as error:
        raise DataError(_not_there(repository, error)) from error
    except OSError as error:  # every failure of the network is one, and those alone have no number
        if error.errno is not None and not isinstance(error, ConnectionError | TimeoutError):
            raise ResourceError(f"Cannot write to {cache}: {error.strerror}. Free some space there.") from error
        return _downloaded_before(known, name, error)
    with writing_to(known.parent):
        known.parent.mkdir(parents=True, exist_ok=True)
    run_folder.write(known, json.dumps({"root": str(root), "files": files, "revision": revision}).encode())
    return _shards(root, files, name, *notes)


def _files(repository: str, configuration: str | None, cache: Path) -> tuple[str, list[str], list[str]]:
    """Return the revision, the files to download, those of one configuration and the set's card, and notes."""
    info = api().dataset_info(repository, timeout=TIMEOUT_S)
    names = [entry.rfilename for entry in info.siblings or ()]
    notes = _too_large(repository, str(info.sha)) if CARD in names else []
    cards = [CARD] if CARD in names and not notes else []
    stated = front_matter(_file(repository, str(info.sha), CARD, cache)) if cards else {}
    where, next_step = f"The set {repository}", f"--name {repository}:CONFIGURATION"
    files = _names(choose_configuration(names, stated, configuration, where, next_step))
    if files:
        return str(info.sha), files + cards, notes
    try:
        info = api().dataset_info(repository, revision=CONVERTED, timeout=TIMEOUT_S)
    except RevisionNotFoundError as error:
        raise DataError(
            f"The set {repository} has no Parquet files, and the hub has not converted it. Download it, save it "
            "with save_to_disk, and give --data DIR."
        ) from error
    names = [entry.rfilename for entry in info.siblings or ()]
    files = _names(choose_configuration(names, {}, configuration or default_in(stated), where, next_step))
    if not files:
        raise DataError(f"{where} has no Parquet files, not even converted ones. Download it, and give --data DIR.")
    return str(info.sha), files, notes


def _names(splits: Splits) -> list[str]:
    return [name for names in splits.values() for name in names]


def _too_large(repository: str, revision: str) -> list[str]:
    """Return a note where the set's card is larger than one is allowed to be, asked before it is downloaded."""
    url = hf_hub_url(repository, CARD, repo_type="dataset", revision=revision, endpoint=api().endpoint)
    with quiet():
        size = api().get_hf_file_metadata(url=url, timeout=TIMEOUT_S).size
    if size is not None and size <= MAX_CARD_BYTES:
        return []
    told = f"has {size} bytes, of {MAX_CARD_BYTES} allowed" if size else "is of unknown size"
    return [f"The card of {repository} {told}, so it is not read: its licence and configurations are unknown."]


def _file(repository: str, revision: str, name: str, cache: Path) -> Path:
    with quiet():
        path = api().hf_hub_download(repository, name, repo_type="dataset", revision=revision, cache_dir=cache)
    return Path(path)


def _download(repository: str, revision: str, files: Sequence[str], cache: Path, reporter: Reporter) -> Path:
    reporter.begin(f"Downloading {repository}", len(files), "files")
    root = Path()
    for name in files:
        root = _file(repository, revision, name, cache).parents[len(Path(name).parts) - 1]
        reporter.advance(detail=name)
    reporter.end()
    return root


def _downloaded_before(known: Path, name: str, error: OSError) -> Shards:
    said = json.loads(known.read_text(encoding="utf-8")) if known.is_file() else None
    if said is None or not all(Path(said["root"], file).is_file() for file in said["files"]):
        raise ResourceError(
            f"The set {name} cannot be downloaded: {cause_of(error)}. Check the connection and run again, or give "
            "--data DIR with a copy."
        ) from error
    note = f"The hub cannot be reached, so {name} is taken as it was downloaded before, in revision {said['revision']}."
    return _shards(Path(said["root"]), said["files"], name, note)


def _shards(root: Path, files: Sequence[str], name: str, *notes: str) -> Shards:
    found = parquet_shards(root, files, name.partition(":")[2] or None, f"--name {name}")
    if any("/partial-" in file for file in files):
        notes = (*notes, f"{name} is the beginning of a larger set, as much of it as the hub has converted to Parquet.")
    return Shards(splits=found.splits, licence=found.licence, notes=notes)


def _not_there(repository: str, error: Exception) -> str:
    if isinstance(error, GatedRepoError):
        return f"The set {repository} is shown to those only who accepted its terms. Do so on its page, and log in."
    return f"The hub shows no set called {repository}: it does not exist, or is private. Check --name, or {LOG_IN}."
