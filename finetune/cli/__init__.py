"""The command line: one file per command; nothing heavy is imported before a command needs it.

Results go to stdout, progress and notes to stderr. A failure the user can act on is one line and the exit status
that its error class names; anything else keeps its traceback, because it is ours to mend.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from cyclopts import App, CycloptsError

import finetune
from finetune.cli.inspect import inspect
from finetune.cli.list import list_registered
from finetune.cli.lr_find import lr_find
from finetune.cli.plugins import plugins
from finetune.cli.predict import predict
from finetune.cli.run import run
from finetune.cli.verify import verify
from finetune.errors import ConfigError, FinetuneError, ResourceError

INTERRUPTED, TERMINATED = 130, 143

app = App(
    name="finetune",
    version=finetune.__version__,
    help="Turn a folder of pictures into a verified, self-describing ONNX classifier.",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)
app.command(run)
app.command(lr_find)
app.command(predict)
app.command(verify)
app.command(inspect)
app.command(plugins)
app.command(list_registered, name="list")


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; ``FINETUNE_DEBUG=1`` shows the traceback of every failure."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        status = app(arguments, exit_on_error=False, print_error=False)
    except KeyboardInterrupt:
        print("finetune: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader of our output went away: `finetune list backbones | head`
        sys.stdout = open(os.devnull, "w")  # noqa: PTH123, SIM115 - stays open until the process ends
        return 0
    except (FinetuneError, CycloptsError, OSError, MemoryError) as error:
        failure = _as_ours(error)
        if failure is None or os.environ.get("FINETUNE_DEBUG"):
            raise
        print(f"finetune: {failure}", file=sys.stderr)
        return failure.exit_code
    return status if isinstance(status, int) else 0


def _as_ours(error: Exception) -> FinetuneError | None:
    """Return the error as one of ours, or None when it is a bug."""
    if isinstance(error, FinetuneError):
        return error
    if isinstance(error, CycloptsError):
        return ConfigError(f"{' '.join(str(error).split())} See 'finetune --help' and 'finetune COMMAND --help'.")
    if isinstance(error, MemoryError):
        return ResourceError("Out of memory; try a smaller --batch-size or --image-size.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(f"{error.strerror}: {error.filename or 'while writing'}; free some space and run again.")
    return None
