"""Worker processes: answers in order, replaced when they die, gone when they are not needed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from PIL import Image

from finetune_export import Contract, ModelError, read_contract
from finetune_export.bulk import job, workers
from finetune_export.bulk.answers import Answer, Question
from finetune_export.bulk.sources import Entry, entries
from finetune_export.errors import ResourceError, RuntimeUnavailableError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="processes are ended by signals here")


OTHERS: set[psutil.Process] = set()
"""Processes that tests before this one have started, and still need."""


@pytest.fixture(autouse=True)
def _others() -> None:
    OTHERS.clear()
    OTHERS.update(psutil.Process().children(recursive=True))


def children() -> list[psutil.Process]:
    return [child for child in psutil.Process().children(recursive=True) if child not in OTHERS]


@pytest.fixture
def none_left() -> Iterator[None]:
    yield
    assert not children()


@pytest.fixture
def promised(model_path: Path) -> Contract:
    return read_contract(model_path)


def answered(many: Path, question: Question, promised: Contract, size: int = 1) -> Iterator[list[Answer]]:
    return workers.answers(job.batched(entries([str(many)]), size), question, promised, 2)


@pytest.mark.usefixtures("none_left")
@pytest.mark.parametrize("size", [1, 7])
def test_answers_come_in_order_and_are_those_of_one_process(
    size: int, many: Path, question: Question, promised: Contract, ask: Callable[..., list[Answer]]
) -> None:
    found = [answer for batch in answered(many, question, promised, size) for answer in batch]
    assert [answer.path for answer in found] == sorted(map(str, many.iterdir()))
    if size == 1:
        assert found == [ask([entry])[0] for entry in entries([str(many)])]


@pytest.mark.usefixtures("none_left")
def test_pictures_are_taken_a_bounded_number_ahead(many: Path, question: Question, promised: Contract) -> None:
    taken = 0

    def counted() -> Iterator[Entry]:
        nonlocal taken
        for entry in entries([str(many)]):
            taken += 1
            yield entry

    with closing(workers.answers(job.batched(counted(), 1), question, promised, 2)) as found:
        for number, _ in enumerate(found, 1):
            assert taken - number <= 2 * workers.AHEAD
            if number == 20:
                break
    assert taken < 40


@pytest.mark.usefixtures("none_left")
def test_workers_that_are_killed_are_replaced_and_nothing_is_lost(
    many: Path, question: Question, promised: Contract, ask: Callable[..., list[Answer]]
) -> None:
    found, killed = [], set()
    with closing(answered(many, question, promised)) as batches:
        for batch in batches:
            found += batch
            if len(found) % 40 == 0:
                victim = next(child for child in children() if child not in killed)
                killed.add(victim)
                victim.send_signal(signal.SIGKILL)
    assert len(killed) == 5
    assert found == [ask([entry])[0] for entry in entries([str(many)])]


def is_worker(child: psutil.Process) -> bool:
    """Say whether a process has begun to be a worker: for a moment after its birth, it is a copy of this one."""
    return any("finetune_export.bulk.worker" in word for word in child.cmdline())


@pytest.fixture
def killer() -> Iterator[Callable[[int], None]]:
    """End every worker that takes more memory than allowed, as a system without memory does."""
    stop = threading.Event()

    def kill_above(limit_bytes: int) -> None:
        while not stop.wait(0.002):
            for child in children():
                try:
                    if is_worker(child) and child.memory_info().rss > limit_bytes:
                        child.kill()
                except psutil.NoSuchProcess:
                    continue

    threads: list[threading.Thread] = []

    def start(limit_bytes: int) -> None:
        threads.append(threading.Thread(target=kill_above, args=(limit_bytes,)))
        threads[0].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


@pytest.mark.usefixtures("none_left")
@pytest.mark.parametrize("size", [1, 3])
def test_a_picture_that_kills_two_workers_is_answered_with_that(
    size: int, many: Path, question: Question, promised: Contract, killer: Callable[[int], None]
) -> None:
    Image.new("RGB", (10_000, 10_000)).save(many / "0705.png", compress_level=1)
    killer(250 * 2**20)

    found = [answer for batch in answered(many, question, promised, size) for answer in batch]

    errors = {Path(answer.path).name: answer.error for answer in found if answer.error}
    assert errors.pop("0705.png") == "the process that worked on it ended twice (killed by SIGKILL)"
    assert set(errors) == {"000.png", "077.png", "199.png"}
    assert len(found) == 201


@pytest.mark.usefixtures("none_left")
def test_workers_that_cannot_start_are_a_resource_error(
    many: Path, question: Question, promised: Contract, killer: Callable[[int], None]
) -> None:
    killer(0)
    with pytest.raises(ResourceError, match=r"ended while it opened the model \(killed by SIGKILL\); try fewer"):
        list(answered(many, question, promised))


@pytest.mark.usefixtures("none_left")
def test_a_model_that_is_changed_meanwhile_is_refused(many: Path, question: Question, promised: Contract) -> None:
    with pytest.raises(ModelError, match=r"model.onnx: the model file was changed while it was at work; run again"):
        list(answered(many, question, replace(promised, labels=("x", "y", "z"))))


@pytest.mark.usefixtures("none_left")
def test_what_keeps_a_worker_from_opening_the_model_is_told(
    many: Path, question: Question, promised: Contract, tmp_path: Path
) -> None:
    with pytest.raises(RuntimeUnavailableError, match="provider 'abacus' is not installed"):
        list(answered(many, replace(question, providers=("abacus",)), promised))
    cut = tmp_path / "cut.onnx"
    shutil.copy(question.model, cut)
    os.truncate(cut, 100)
    with pytest.raises(ModelError, match="cut\\.onnx"):
        list(answered(many, replace(question, model=str(cut)), promised))


@pytest.mark.usefixtures("none_left")
def test_a_fault_of_the_code_is_not_made_a_row(many: Path, question: Question, promised: Contract) -> None:
    wrong: Any = "no number"
    with pytest.raises(RuntimeError, match=r"in a worker process:\nTraceback"):
        list(answered(many, replace(question, top=wrong), promised))


def test_few_pictures_need_no_process_and_many_get_all_processors(many: Path, question: Question) -> None:
    from finetune_export.bulk.answers import open_predictor

    predictor = open_predictor(question, check=False)
    few = list(entries([str(many)]))[: job.FEW_PICTURES - 1]
    with closing(job.answers(predictor, question, job.batched(few, 1))) as found:
        next(found)
        assert not children()
    with closing(job.answers(predictor, question, job.batched(entries([str(many)]), 1))) as found:
        for _ in range(100):
            next(found)
        assert 1 <= len(children()) <= (os.cpu_count() or 1)
    assert not children()
