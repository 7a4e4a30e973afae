"""The data set ``dogbreeds``: which of its sources is meant."""

from __future__ import annotations

from finetune.errors import ConfigError
from finetune.names import unknown_name
from finetune.types import Dataset, DatasetRequest
from finetune_dogbreeds import hooks, stanford


def load(request: DatasetRequest) -> Dataset:
    """Return the drawn sample, the drawn kinds, the downloaded Stanford Dogs, or the user's own copy of them.

    Raises ``ConfigError`` for a source that does not exist, ``DataError`` for pictures that are not what they
    should be, ``ResourceError`` where network or disk fail.
    """
    known = (hooks.SAMPLE.name, hooks.STANFORD.name, hooks.KINDS.name)
    if request.source not in known:
        raise ConfigError(unknown_name("source of dogbreeds", request.source, known, "Check --source."))
    if request.data is not None:
        return stanford.load_copy(request.data)
    if request.source == hooks.STANFORD.name:
        return stanford.load_downloaded(request.cache, request.reporter)
    # Only here does drawing become needed, and with it Pillow and numpy.
    from finetune_dogbreeds.drawn import load_drawn
    from finetune_dogbreeds.sets import DRAWN

    return load_drawn(DRAWN[request.source], request.cache, request.reporter)
