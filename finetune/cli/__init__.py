"""The command line: one file per command; nothing heavy is imported before a command needs it.

Results go to stdout, progress and notes to stderr. A failure the user can act on is one line and the exit status
that its error class names; anything else keeps its traceback, because it is ours to mend.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import textwrap
import traceback
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from cyclopts import App, CycloptsError

import finetune
from finetune.cli.advise import advise
from finetune.cli.inspect import inspect
from finetune.cli.list import list_registered
from finetune.cli.lr_find import lr_find
from finetune.cli.plugins import plugins
from finetune.cli.predict import predict
from finetune.cli.process import let_idle_threads_sleep
from finetune.cli.run import run
from finetune.cli.verify import verify
from finetune.errors import ConfigError, FinetuneError, ResourceError

INTERRUPTED, TERMINATED = 130, 143
COMMANDS: dict[str, Callable[..., Any]] = {
    "run": run,
    "advise": advise,
    "lr-find": lr_find,
    "predict": predict,
    "verify": verify,
    "inspect": inspect,
    "plugins": plugins,
    "list": list_registered,
}

app = App(
    name="finetune",
    version=finetune.__version__,
    help="Turn a folder of pictures into a verified, self-describing ONNX classifier.",
    help_format="plaintext",
    result_action="return_value",
    suppress_keyboard_interrupt=False,
)


def _examples(command: Callable[..., Any]) -> str:
    """Return the last section of a command's docstring, which cyclopts leaves out of its help."""
    _, title, examples = (command.__doc__ or "").partition("Examples:\n")
    return title + textwrap.indent(textwrap.dedent(examples.rstrip()), "  ")


for _name, _command in COMMANDS.items():
    app.command(_command, name=_name, help_epilogue=_examples(_command))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line and exit with its status; ``FINETUNE_DEBUG=1`` shows the traceback of every failure."""
    let_idle_threads_sleep()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Labels may be of any script, and names of files even of none.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(_status(arguments))


def _status(arguments: Sequence[str] | None) -> int:
    try:
        status = app(arguments, exit_on_error=False, print_error=False)
        print(end="", flush=True)  # a full disk or a closed pipe shows here, and not after the status was decided
    except KeyboardInterrupt:
        print("finetune: interrupted.", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ending:
        if ending.code == TERMINATED:
            print("finetune: terminated.", file=sys.stderr)
        raise
    except BrokenPipeError:  # the reader of our output went away: `finetune list backbones | head`
        _discard_output()
        return 0
    except (FinetuneError, CycloptsError, OSError, MemoryError) as error:
        failure = _as_ours(error)
        if failure is None:
            raise
        return _told(failure, error)
    return status if isinstance(status, int) else 0


def _discard_output() -> None:
    """Send what stdout still holds nowhere; otherwise Python complains about it when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(failure: FinetuneError, error: Exception) -> int:
    if isinstance(error, OSError):
        _discard_output()
    if os.environ.get("FINETUNE_DEBUG"):
        traceback.print_exception(error)
    print(f"finetune: {failure}", file=sys.stderr)
    return failure.exit_code


def _as_ours(error: Exception) -> FinetuneError | None:
    """Return the error as one of ours, or None when it is a bug."""
    if isinstance(error, FinetuneError):
        return error
    if isinstance(error, CycloptsError):
        return ConfigError(f"{' '.join(str(error).split())} See 'finetune --help' and 'finetune COMMAND --help'.")
    if isinstance(error, MemoryError):
        return ResourceError("Out of memory; close other programs, or try a smaller --batch-size or --image-size.")
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(f"{error.strerror}: {error.filename or 'while writing'}; free some space and run again.")
    return None
