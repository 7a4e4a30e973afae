"""``python -m finetune.testing.probe NAME``: a plugin is imported and registers, and what that did is told as JSON.

It is the process that a plugin may break: the kit runs it, and reads the last line. It ends by itself, with a traceback
on stderr, where the plugin takes longer than the limit in seconds that may follow the name.
"""

from __future__ import annotations

import contextlib
import faulthandler
import sys
import warnings
from collections.abc import Iterator
from importlib.metadata import EntryPoint
from typing import Any

from finetune.plugins import Candidate, Plugins
from finetune.plugins.calling import comes_from_the_user
from finetune.plugins.time_limit import LOADING_LIMIT_S
from finetune.testing.entry_points import entry_point
from finetune.testing.processes import tell
from finetune.testing.surroundings import Surroundings, Watch, threads

HEAVY = (
    *("cv2", "datasets", "fastai", "huggingface_hub", "jax", "keras", "matplotlib", "numpy", "onnx", "onnxruntime"),
    *("openvino", "pandas", "PIL", "pyarrow", "scipy", "sklearn", "tensorflow", "timm", "torch", "torchvision"),
    "transformers",
)
"""What a plugin may need, and who only asks for ``finetune --help`` should not have to wait for."""


def main(name: str, limit_s: float = LOADING_LIMIT_S) -> None:
    """Import the plugin and let it register, twice; tell what it did, and end."""
    point = entry_point(name)
    assert point is not None, f"no plugin is called {name}"
    known, watch = set(sys.modules), Watch()
    faulthandler.dump_traceback_later(limit_s, exit=True)
    with _recorded_warnings() as drawn:
        before = Surroundings.now()  # the filters that record are among it
        _import(point)  # by itself, because registering puts back what was changed
        changed, started = Surroundings.now().changes(before), threads()
    first = _registered(point)
    faulthandler.cancel_dump_traceback_later()
    new = {module.partition(".")[0] for module in set(sys.modules) - known}
    tell(
        {
            "changed": changed,
            "threads": started,
            "children": watch.children,
            "written": [str(path) for path in watch.written],
            "asked": watch.asked,
            "warnings": drawn,
            "heavy": [module for module in HEAVY if module in new],
            "first": first,
            "second": _registered(point),
        }
    )


@contextlib.contextmanager
def _recorded_warnings() -> Iterator[list[str]]:
    """Yield a list, which holds every warning that was drawn meanwhile once this ends."""
    drawn: list[str] = []
    with warnings.catch_warnings(record=True) as recorded:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ResourceWarning)  # drawn by collecting garbage, which may be anybody's
        yield drawn
    drawn += [f"{warning.category.__name__}: {' '.join(str(warning.message).split())}" for warning in recorded]


def _import(point: EntryPoint) -> None:
    """Import the plugin's module; why it cannot be is told when it registers."""
    try:
        with contextlib.suppress(Exception):
            point.load()
    except BaseException as error:  # SystemExit, for one
        if comes_from_the_user(error):
            raise


def _registered(point: EntryPoint) -> dict[str, Any]:
    """Return what a plugin offers by kind, or the problem that it would be set aside for."""
    candidate = Candidate(name=point.name, distribution="the same", version="plugin", load=point.load)
    (info,) = Plugins([candidate]).infos
    offers = {kind: list(names) for kind, names in info.offers.items()}
    return {"offers": offers, "problem": info.problem, "warnings": list(info.warnings)}


if __name__ == "__main__":
    main(sys.argv[1], *map(float, sys.argv[2:3]))
