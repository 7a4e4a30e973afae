"""A worker process: batches come in on stdin, answers go out on stdout, and it ends when its parent does.

Both are pickles, since both ends are ours. The first message in is the ``Question``, the first one out the model's
``Contract``; then each list of ``Entry`` becomes a list of ``Answer``. A failure that a picture is not to blame for
goes out as the exception that the parent shall raise.
"""

from __future__ import annotations

import os
import pickle
import sys
import threading
import traceback
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue
from typing import Any, BinaryIO

from finetune_export.bulk.answers import answer, open_predictor
from finetune_export.errors import FinetuneError

OUT_OF_MEMORY = 6


def main() -> None:
    """Answer until stdin ends."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get among the answers
    messages: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_receive, args=(sys.stdin.buffer, messages), daemon=True).start()
    question = messages.get()
    predictor = _said(answers, lambda: open_predictor(question, check=False), lambda predictor: predictor.contract)
    while True:
        _said(answers, partial(answer, predictor, question, messages.get()))


def _receive(stdin: BinaryIO, messages: SimpleQueue[Any]) -> None:
    """Pass messages on, and end the process with its parent, whatever it is doing at that moment."""
    try:
        while True:
            messages.put(pickle.load(stdin))
    except (EOFError, pickle.UnpicklingError):  # nothing, or half a message: the parent is gone
        os._exit(0)


def _said(answers: BinaryIO, work: Callable[[], Any], told: Callable[[Any], object] = lambda done: done) -> Any:
    """Do some work, send what is told of it, and return it."""
    try:
        done = work()
        message = told(done)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except FinetuneError as error:
        done, message = None, error
    except Exception:  # a bug of ours, whose traceback has to get to where people see it
        done, message = None, RuntimeError(f"in a worker process:\n{traceback.format_exc()}")
    pickle.dump(message, answers)
    answers.flush()
    return done
