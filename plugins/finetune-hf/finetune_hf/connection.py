"""The hub at the other end: its address, the names of what lies there, and what its refusals mean for a user.

What is uploaded and downloaded goes by the way that the hub chooses, which the library agrees on with it: Xet where
``hf_xet`` is installed and the hub offers it, and plain HTTP (Git LFS) otherwise. ``HF_HUB_DISABLE_XET=1`` rules
Xet out.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

from huggingface_hub import HfApi
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    XetDownloadError,
    XetError,
)
from huggingface_hub.utils import logging as hub_logging
from huggingface_hub.utils import validate_repo_id  # type: ignore[attr-defined]  # public, and not said to be

from finetune.errors import ConfigError, FinetuneError, ResourceError

TIMEOUT_S = 30.0
LOG_IN = "log in with 'hf auth login'"
FIRST_SERVER_ERROR = 500
_REFUSED, _CHANGED = (401, 403), (409, 412)
_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)
_REVISION = re.compile(r"\w[\w.-]*(/[\w-][\w.-]*)*", re.ASCII)


def api() -> HfApi:
    """Return the hub that ``HF_ENDPOINT`` names; the library itself reads that but once, when it is imported."""
    return HfApi(endpoint=os.environ.get("HF_ENDPOINT"))


def check_name(name: str) -> str:
    """Return the name of a model's repository; raise ``ConfigError`` for what is no USER/NAME."""
    try:
        if not _NAME.fullmatch(name):
            raise HFValidationError
        validate_repo_id(name)
    except HFValidationError as error:
        raise ConfigError(f"'{name}' is no name of a model on the hub; give USER/NAME.") from error
    return name


def is_revision(name: str) -> bool:
    """Whether this may be a branch, a tag or a commit; a part that begins with a dot, such as '..', may not."""
    return bool(_REVISION.fullmatch(name))


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what the library logs of attempts and pauses from the terminal; what comes of them is told in our words."""
    before = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)
    try:
        yield
    finally:
        hub_logging.set_verbosity(before)


@contextmanager
def speaking_of(name: str, doing: str) -> Iterator[None]:
    """Say what the hub's refusals mean for the model called ``name``; ``doing`` is the past participle.

    Raises ``ConfigError`` for what the user can mend by asking otherwise, and ``ResourceError`` where the network, the
    hub or a disk fails.
    """
    try:
        yield
    except GatedRepoError as error:
        raise ConfigError(
            f"{name} is for those only who accepted its terms. Do so on its page, and {LOG_IN}."
        ) from error
    except RevisionNotFoundError as error:
        raise ConfigError(f"{name} has no such revision. Give the name of a branch or a tag, or a commit.") from error
    except RepositoryNotFoundError as error:
        cause = "it does not exist, or is private"
        raise ConfigError(f"The hub shows no model called {name}: {cause}. Check the name, or {LOG_IN}.") from error
    except (OSError, ValueError, RuntimeError, XetError, XetDownloadError) as error:
        raise _failure(name, doing, error) from error


def is_unreachable(error: Exception) -> bool:
    """Whether the network or the hub failed, and neither the disk, whose errors have a number, nor the request."""
    status = status_of(error)
    if status is not None:
        return status >= FIRST_SERVER_ERROR
    has_no_number = isinstance(error, OSError) and error.errno is None
    return has_no_number or isinstance(error, ConnectionError | TimeoutError)


def status_of(error: Exception) -> int | None:
    """Return the HTTP status that the hub answered with, or None where it did not answer."""
    return getattr(getattr(error, "response", None), "status_code", None)


def cause_of(error: Exception) -> str:
    """Return why the hub was of no use, as half a sentence."""
    status = status_of(error)
    return "the hub cannot be reached" if status is None else f"the hub answers with status {status}"


def _failure(name: str, doing: str, error: Exception) -> FinetuneError:
    if type(error) is RuntimeError and isinstance(error.__cause__, Exception):  # so the library wraps failed uploads
        error = error.__cause__
    status = status_of(error)
    if status in _REFUSED:
        return ConfigError(f"{name} is not {doing}: the hub does not let this token ({status}). {_other_token()}")
    if status in _CHANGED:
        return ResourceError(f"{name} is not {doing}: somebody else changed it meanwhile. Run the command again.")
    if is_unreachable(error):
        cause = "the connection to the hub failed" if status is None else cause_of(error)
        return ResourceError(f"{name} is not {doing}: {cause}. Check it, and run the command again to go on.")
    if isinstance(error, OSError) and status is None:
        return ResourceError(f"{name} is not {doing}: {error.strerror} ({error.filename}). Free some space there.")
    said = " ".join(str(error).split())[:300]
    kind = ResourceError if isinstance(error, RuntimeError | XetError | XetDownloadError) else ConfigError
    return kind(f"{name} is not {doing}. The hub's library says: {said}")


def _other_token() -> str:
    where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the one you are logged in with"
    return f"It is {where}; set HF_TOKEN to one that may write, or {LOG_IN}."
