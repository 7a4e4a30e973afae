"""``finetune-export serve``: answer over HTTP, with the inference protocol, a page for people, and metrics."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from finetune_export.errors import ResourceError, UsageError

if TYPE_CHECKING:
    from finetune_export.service.settings import Settings

PACKAGES = ("starlette", "uvicorn", "httptools", "prometheus_client", "python_multipart")
_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_EXTRA = 'the service needs {}, which is not installed; run: pip install "finetune-export[serve]"'
_EPILOG = """\
A model answers to its file's name without the ending, or to NAME. A token, if the service is to ask for one, is read
from a file or from the environment variable FINETUNE_TOKEN. SIGTERM and Ctrl-C let requests finish and end with status
0; a second one ends at once. SIGHUP opens the model files again.

examples:
  %(prog)s model.onnx
  %(prog)s insects=runs/a/model.onnx dogs=runs/b/model.onnx --host 0.0.0.0 --token-file /run/secrets/token
  curl --data-binary @photo.jpg http://127.0.0.1:8080/predict"""


def add(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command to the command line."""
    parser = subparsers.add_parser("serve", help="answer over HTTP", epilog=_EPILOG)
    whole, seconds = _number(int, 1), _number(float, 0.1)
    parser.add_argument("models", nargs="+", metavar="MODEL", help="model.onnx, or NAME=model.onnx")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default 127.0.0.1: this machine)")
    parser.add_argument("--port", type=_number(int, 0, 65535), default=8080, help="default 8080; 0 is any free one")
    parser.add_argument("--workers", type=whole, default=1, help="processes, each with its own models (default 1)")
    parser.add_argument("--concurrency", type=whole, help="pictures at once in each (default: cores / workers)")
    parser.add_argument("--queue", type=_number(int, 0), help="pictures that may wait in each (default 128)")
    parser.add_argument("--max-body-mb", type=whole, help="largest body of a request, in MiB (default 10)")
    parser.add_argument("--max-pixels", type=whole, help="largest picture, in pixels (default 25000000)")
    parser.add_argument("--run-timeout", type=seconds, metavar="S", help="for a run of the network (default 10)")
    parser.add_argument("--drain-timeout", type=seconds, metavar="S", help="for requests after SIGTERM (default 30)")
    parser.add_argument("--token-file", type=Path, help="file with the token to ask for (or: $FINETUNE_TOKEN)")
    parser.add_argument("--provider", action="append", help="onnxruntime's provider, repeatable (default CPU)")
    parser.add_argument("--no-watch", action="store_true", help="open changed model files on SIGHUP only")


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop; 0 if every request that was begun got its answer."""
    if missing := [name for name in PACKAGES if find_spec(name) is None]:
        raise ResourceError(_EXTRA.format(missing[0]))
    from finetune_export.service.supervisor import serve

    return serve(_settings(arguments), _announce)


def _settings(arguments: argparse.Namespace) -> Settings:
    from finetune_export.image_gate import Limits
    from finetune_export.machine import cores
    from finetune_export.service.settings import MiB, Settings

    given = {
        "run_timeout_s": arguments.run_timeout,
        "drain_timeout_s": arguments.drain_timeout,
    }
    plain = Settings(models={})
    concurrency = arguments.concurrency or max(1, cores() // arguments.workers)
    queue = plain.queue if arguments.queue is None else arguments.queue
    max_bytes = arguments.max_body_mb * MiB if arguments.max_body_mb else plain.max_body_bytes
    return Settings(
        models=_models(arguments.models),
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        concurrency=concurrency,
        queue=queue,
        max_pictures=min(plain.max_pictures, concurrency + queue),  # more would be told to try again for ever
        token=_token(arguments.token_file),
        providers=tuple(arguments.provider or ()),
        max_body_bytes=max_bytes,
        max_held_bytes=max(plain.max_held_bytes, 2 * max_bytes),
        limits=Limits(max_bytes=max_bytes, max_pixels=arguments.max_pixels or plain.limits.max_pixels),
        watch=not arguments.no_watch,
        **{name: value for name, value in given.items() if value is not None},
    )


def _models(given: list[str]) -> Mapping[str, Path]:
    """Return files by name, from ``path`` or ``name=path``; raise ``UsageError``."""
    models: dict[str, Path] = {}
    for text in given:
        name, equals, path = text.partition("=")
        if not equals or Path(text).exists():
            name, path = Path(text).stem, text
        if not _NAME.fullmatch(name):
            raise UsageError(f"{name!r} cannot be a model's name; give one of letters, digits and . _ -: NAME={path}")
        if name in models:
            raise UsageError(f"two models are called {name!r}; give each a name: NAME={path}")
        models[name] = Path(path)
    return models


def _token(file: Path | None) -> str | None:
    """Return the token from its file or the environment, or None; raise ``UsageError``."""
    from finetune_export.service.settings import TOKEN_VARIABLE

    if file is None:
        token, origin = os.environ.get(TOKEN_VARIABLE), f"${TOKEN_VARIABLE}"
    else:
        try:
            token, origin = file.read_text(encoding="utf-8").strip(), str(file)
        except (OSError, UnicodeDecodeError) as exc:
            raise UsageError(f"--token-file: {file} cannot be read ({exc}); give a text file") from exc
    if token is not None and not (token.isascii() and token.isprintable() and token.strip() == token != ""):
        raise UsageError(f"{origin}: the token is empty or has unusual characters; use letters and digits")
    return token


def _announce(url: str, versions: Mapping[str, str]) -> None:
    models = ", ".join(f"model {name}, version {version}" for name, version in versions.items())
    with suppress(OSError):  # nobody has to read it
        print(f"Listening on {url} ({models})", flush=True)


def _number(kind: type[int] | type[float], low: float, high: float = 1e12) -> Callable[[str], float]:
    def read(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = kind(-1)
        if not low <= value <= high:
            most = f" to {high:g}" if high < 1e12 else " or more"
            raise argparse.ArgumentTypeError(f"{text!r} is not allowed; it has to be a number, {low:g}{most}")
        return value

    return read
