"""How a command ends: with a status that says which kind of end it was, and one line where something is wrong."""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import NoReturn

from finetune_export.cli.output import visible
from finetune_export.errors import FinetuneError, ResourceError

INTERRUPTED, TERMINATED = 130, 143
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_AGAIN_AFTER_S = 0.05


def exit_with(command: Callable[[], object], program: str) -> NoReturn:
    """Run ``command`` and exit with the status that it returns, or with that of the error that ends it.

    A failure the user can act on is one line on stderr, after the program's name; anything else keeps its traceback,
    because it is ours to mend. ``FINETUNE_DEBUG=1`` shows the traceback of every failure.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    sys.unraisablehook = _sending_again(sys.unraisablehook)
    if isinstance(sys.stdout, io.TextIOWrapper):
        # Labels may be of any script, and names of files even of none.
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace")
    sys.exit(_status(command, program))


def _sending_again(otherwise: Callable[[sys.UnraisableHookArgs], object]) -> Callable[[sys.UnraisableHookArgs], None]:
    """Return a hook that sends a signal once more where the exception that it became was lost.

    Python ignores what is raised in a destructor or in the callback of a weak reference, and a handler may run there.
    """

    def hook(unraisable: sys.UnraisableHookArgs) -> None:
        lost = unraisable.exc_value
        if isinstance(lost, KeyboardInterrupt):
            again = signal.SIGINT
        elif isinstance(lost, SystemExit) and lost.code == TERMINATED:
            again = signal.SIGTERM
        else:
            otherwise(unraisable)
            return
        timer = threading.Timer(_AGAIN_AFTER_S, os.kill, (os.getpid(), again))
        timer.daemon = True
        timer.start()

    return hook


def _status(command: Callable[[], object], program: str) -> int:
    try:
        status = command()
        print(end="", flush=True)  # a full disk or a closed pipe shows here, and not after the status was decided
    except KeyboardInterrupt as ending:
        print(f"{program}: {str(ending) or 'interrupted.'}", file=sys.stderr)
        return INTERRUPTED
    except SystemExit as ending:
        if ending.code == TERMINATED:
            said = ending.args[0] if ending.args and isinstance(ending.args[0], str) else "terminated."
            print(f"{program}: {said}", file=sys.stderr)
        raise
    except BrokenPipeError:  # the reader of our output went away: `finetune list backbones | head`
        _discard_output()
        return 0
    except (FinetuneError, OSError, MemoryError) as error:
        failure = _as_ours(error)
        if failure is None:
            raise
        return _told(failure, error, program)
    return status if isinstance(status, int) else 0


def _discard_output() -> None:
    """Send what stdout still holds nowhere; otherwise Python complains about it when the process ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _told(failure: FinetuneError, error: Exception, program: str) -> int:
    if isinstance(error, OSError):
        _discard_output()
    if os.environ.get("FINETUNE_DEBUG"):
        traceback.print_exception(error)
    print(f"{program}: {visible(str(failure))}", file=sys.stderr)
    return failure.exit_code


def _as_ours(error: Exception) -> FinetuneError | None:
    """Return the error as one of ours, or None when it is a bug."""
    if isinstance(error, FinetuneError):
        return error
    if isinstance(error, MemoryError):
        return ResourceError("Out of memory; close other programs, or try a smaller --batch-size.")
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return ResourceError(f"{error.strerror}: {error.filename or 'while writing'}; free some space and run again.")
    return None
