"""The models that answer, and their replacement while they do: a file that changes is checked, and then swapped in."""

from __future__ import annotations

import errno
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from finetune_export import model_file
from finetune_export.errors import FinetuneError, ModelError
from finetune_export.predictor import Predictor
from finetune_export.service.logs import Log
from finetune_export.service.metrics import Metrics
from finetune_export.service.problems import Problem
from finetune_export.service.settings import Settings

VERSION_DIGITS = 12
EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)
Signature = tuple[int, int, int] | None  # time of the last change, size, inode; None: there is no such file


@dataclass(frozen=True)
class Served:
    """A model under the name it answers to; ``version`` is the beginning of its graph's sha256."""

    name: str
    predictor: Predictor
    version: str


class Models:
    """All models of the service, opened with all their checks; raises what ``Predictor`` raises.

    With ``settings.watch``, a thread looks at the files. One that changes is opened once it has stopped changing; if it
    is good, it answers from then on, and if not, the log says why and the model before it goes on answering. What
    could not be opened for want of memory or the like is tried again at the next look.
    """

    def __init__(self, settings: Settings, log: Log, metrics: Metrics) -> None:
        self._settings = settings
        self._log = log
        self._metrics = metrics
        self._paths = {name: model_file.locate(path) for name, path in settings.models.items()}
        self._seen = {name: _signature(path) for name, path in self._paths.items()}
        self._settled = dict(self._seen)
        self._served = {name: self._open(name) for name in settings.models}
        for served in self._served.values():
            metrics.serves(served.name, served.version)
        self._wake = threading.Event()
        self._reload_all = False
        self._closing = False
        self._thread = threading.Thread(target=self._watch, name="models", daemon=True)
        self._thread.start()

    @property
    def all(self) -> Mapping[str, Served]:
        """The models by their names, as they are now."""
        return self._served

    @property
    def default(self) -> Served | None:
        """The model, when there is just one."""
        return next(iter(self._served.values())) if len(self._served) == 1 else None

    def get(self, name: str) -> Served:
        """Return the model called ``name`` as it is now; raise ``Problem`` 404 if there is none."""
        served = self._served.get(name)
        if served is None:
            raise Problem(404, "there is no model of this name")
        return served

    def reload(self) -> None:
        """Open all files again soon, whether or not they look changed."""
        self._reload_all = True
        self._wake.set()

    def close(self) -> None:
        """End the thread that looks at the files."""
        self._closing = True
        self._wake.set()

    def _watch(self) -> None:
        while not self._closing:
            self._wake.wait(self._settings.watch_interval_s if self._settings.watch else None)
            self._wake.clear()
            everything, self._reload_all = self._reload_all, False
            for name, path in self._paths.items():
                if everything or (self._settings.watch and self._has_changed(name, path)):
                    self._replace(name, path)

    def _has_changed(self, name: str, path: Path) -> bool:
        """Say whether a file differs from the one that was opened last, and has been as it is since the last look."""
        signature = _signature(path)
        at_rest = signature == self._seen[name]
        self._seen[name] = signature
        return at_rest and signature is not None and signature != self._settled[name]

    def _replace(self, name: str, path: Path) -> None:
        self._settled[name] = _signature(path)
        before = self._served[name]
        try:
            served = self._open(name)
        except Exception as exc:
            self._metrics.reloaded(name, "refused")
            if _may_pass(exc):
                self._settled[name] = None  # it is looked at again
            if isinstance(exc, FinetuneError):
                self._log.write("error", "new model refused", model=name, version=before.version, reason=str(exc))
            else:
                self._log.exception("new model refused", exc, model=name, version=before.version)
            return
        self._served[name] = served
        self._metrics.reloaded(name, "swapped")
        self._metrics.serves(name, served.version, before.version)
        self._log.write("info", "model swapped in", model=name, version=served.version, before=before.version)

    def _open(self, name: str) -> Served:
        settings = self._settings
        predictor = Predictor(
            self._paths[name],
            providers=settings.providers or None,
            threads=1,
            limits=settings.limits,
            max_run_s=settings.run_timeout_s,
        )
        return Served(name, predictor, predictor.contract.graph_sha256[:VERSION_DIGITS])


def _may_pass(error: BaseException) -> bool:
    """Say whether the surroundings kept a model from being opened, such as a lack of memory, and not the file."""
    cause: BaseException | None = error
    while isinstance(cause, ModelError):
        cause = cause.__cause__
    if cause is error:
        return True
    return isinstance(cause, MemoryError) or (isinstance(cause, OSError) and cause.errno in EXHAUSTED)


def _signature(path: Path) -> Signature:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino
