"""Several processes that draw at the same time: the same pictures in the same order, however many they are."""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Generator, Sequence

from finetune.errors import ResourceError
from finetune_dogbreeds.breeds import Breed
from finetune_dogbreeds.picture import draw, jpeg

Task = tuple[Breed, int]
"""A picture to draw: whom it shows, and its number."""

Artist = subprocess.Popen[bytes]
"""A process that draws: takes tasks and a seed, gives a file for each task, all pickled."""


def drawn_files(tasks: Sequence[Task], seed: int, processes: int) -> Generator[bytes, None, None]:
    """Yield the JPEG file of each task, in order; close it, and no process is left, wherever it is.

    Below two processes, this one draws by itself. Raises ``ResourceError`` where one cannot be started or ends early.
    """
    if processes < 2:
        yield from (jpeg(draw(breed, index, seed)) for breed, index in tasks)
        return
    artists: list[Artist] = []
    try:
        artists.extend(_started() for _ in range(processes))
        for number, artist in enumerate(artists):
            _give(artist, tasks[number::processes], seed)
        for number in range(len(tasks)):
            yield _file_of(artists[number % processes])
    finally:
        for artist in artists:
            artist.kill()
        for artist in artists:
            with contextlib.suppress(OSError), artist:  # what could not be sent cannot be flushed
                pass


def _started() -> Artist:
    # Not by multiprocessing, whose children run the script again that this process was started with.
    start = f"import sys; sys.path[:] = {sys.path!r}; from {__name__} import main; main()"
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-c", start],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            process_group=0 if os.name == "posix" else None,  # Ctrl-C is for the parent
        )
    except OSError as error:
        cause = f"Cannot start a process to draw pictures with: {error.strerror or error}."
        raise ResourceError(f"{cause} Check memory and the limit of processes, then run again.") from error


def _give(artist: Artist, tasks: Sequence[Task], seed: int) -> None:
    assert artist.stdin
    try:
        with artist.stdin as channel:
            pickle.dump((tasks, seed), channel)
    except OSError as error:
        raise _ended(artist) from error


def _file_of(artist: Artist) -> bytes:
    assert artist.stdout
    try:
        file: bytes = pickle.load(artist.stdout)
    except (EOFError, pickle.UnpicklingError) as error:
        raise _ended(artist) from error
    return file


def _ended(artist: Artist) -> ResourceError:
    status = artist.wait()
    how = f"exit status {status}" if status >= 0 else f"killed by {signal.Signals(-status).name}"
    return ResourceError(f"A process that drew pictures ended early ({how}). Check the free memory, then run again.")


def main() -> None:
    """Draw what the standard input asks for, file by file to the standard output: what an artist does."""
    if os.name == "posix":
        signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # quietly, where the parent was killed
    tasks, seed = pickle.load(sys.stdin.buffer)
    for breed, index in tasks:
        pickle.dump(jpeg(draw(breed, index, seed)), sys.stdout.buffer)
        sys.stdout.buffer.flush()
