"""A machine that lacks memory or open files for a while: clients are told to come back, and nothing is given up."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from finetune_export import Predictor
from finetune_export.errors import ModelError, TimeLimitError
from finetune_export.service.logs import Log
from finetune_export.service.models import _may_pass
from finetune_export.service.settings import MiB
from finetune_export.service.threads import Threads

from .conftest import Serve, until


@contextmanager
def limited(process: psutil.Process, resource: int, most: int) -> Iterator[None]:
    before = process.rlimit(resource)
    process.rlimit(resource, (most, before[1]))
    yield
    process.rlimit(resource, before)


def test_a_picture_that_finds_no_memory_is_told_to_come_back(serve: Serve, model_path: Path) -> None:
    service = serve(model_path, "--concurrency", "1")
    file = io.BytesIO()
    Image.new("RGBA", (4900, 4900), "teal").save(file, "PNG", compress_level=1)
    picture = file.getvalue()
    assert service.request("POST", "/predict", b"no picture").status == 415  # the decoder's libraries are loaded
    (worker,) = service.workers()
    with limited(worker, psutil.RLIMIT_AS, worker.memory_info().vms + 32 * MiB):
        answer = service.request("POST", "/predict", picture)
    assert (answer.status, answer.headers["retry-after"]) == (503, "1")
    assert answer.json == {"error": "there is not enough memory for this now; try again in a moment"}
    assert service.request("POST", "/predict", picture).status == 200
    (line,) = until(lambda: service.logged("no answer"), "it is logged")
    assert (line["level"], line["reason"]) == ("error", "out of memory")
    assert "Traceback" not in service.stderr()


def test_a_new_model_that_could_not_be_opened_is_tried_again(
    serve: Serve, model_path: Path, make_graph: Callable[..., Any], seal: Callable[..., bytes]
) -> None:
    service = serve(model_path)
    beside = model_path.with_suffix(".tmp")
    beside.write_bytes(seal(make_graph(np.random.default_rng(1).normal(0, 0.3, (48, 3)).astype(np.float32))))
    version = Predictor(beside).contract.graph_sha256[:12]
    with limited(service.workers()[0], psutil.RLIMIT_NOFILE, 3):
        beside.replace(model_path)
        until(lambda: service.logged("new model refused"), "no file can be opened")
    (line,) = until(lambda: service.logged("model swapped in"), "it is tried again")
    assert line["version"] == version


def test_only_the_file_itself_is_a_reason_to_wait_for_another_one() -> None:
    def caused(error: Exception, cause: Exception) -> Exception:
        error.__cause__ = cause
        return error

    assert all(map(_may_pass, (MemoryError(), OSError(24, "many"), TimeLimitError("slow"))))
    assert _may_pass(caused(ModelError("path"), caused(ModelError("read"), OSError(24, "many"))))
    assert not _may_pass(ModelError("damaged"))
    assert not _may_pass(caused(ModelError("read"), PermissionError(13, "denied")))


class Picture:
    def classify(self) -> None: ...


def test_a_job_that_is_cancelled_lets_go_of_its_picture_while_all_threads_are_busy() -> None:
    go = threading.Event()

    async def main() -> None:
        threads = Threads(1)
        running = threads.submit(go.wait)
        picture = Picture()
        left = weakref.ref(picture)
        threads.submit(partial(Picture.classify, picture)).cancel()
        del picture
        await asyncio.sleep(0)  # callbacks run
        try:
            assert left() is None
        finally:
            go.set()
            await running
            threads.close()

    asyncio.run(main())


def test_a_line_that_comes_while_the_last_ones_are_written_is_written_too() -> None:
    reading, writing = os.pipe()
    log = Log(writing)
    for _ in range(100):
        log.write("info", "x" * 2000)  # more than a pipe holds
    until(lambda: not log._lines, "the thread waits for somebody to read")
    log.close(0)
    log.write("info", "the last")
    with os.fdopen(reading, "rb") as lines:

        def close() -> None:
            log.close(30)
            os.close(writing)

        closing = threading.Thread(target=close)
        closing.start()
        assert b"the last" in lines.readlines()[-1]
        closing.join()
