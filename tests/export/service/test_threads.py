from __future__ import annotations

import asyncio
import threading
from functools import partial

import pytest

from finetune_export.service.problems import Problem
from finetune_export.service.threads import Threads


def test_what_comes_first_is_done_first() -> None:
    done: list[int] = []

    async def main() -> list[None]:
        threads = Threads(1)
        found = await asyncio.gather(*(threads.submit(partial(done.append, i)) for i in range(100)))
        threads.close()
        return found

    asyncio.run(main())
    assert done == list(range(100))


def test_several_threads_work_side_by_side() -> None:
    both = threading.Barrier(2)

    async def main() -> list[int]:
        threads = Threads(2)
        found = await asyncio.gather(threads.submit(both.wait), threads.submit(both.wait))
        threads.close()
        return list(found)

    assert sorted(asyncio.run(main())) == [0, 1]


def test_what_a_job_raises_arrives() -> None:
    async def main() -> None:
        threads = Threads(1)
        with pytest.raises(ZeroDivisionError):
            await threads.submit(lambda: 1 // 0)
        assert await threads.submit(lambda: "and the thread goes on") == "and the thread goes on"
        threads.close()

    asyncio.run(main())


def test_a_job_that_is_cancelled_before_its_turn_is_not_done() -> None:
    go, done = threading.Event(), []

    async def main() -> None:
        threads = Threads(1)
        running, waiting = threads.submit(go.wait), threads.submit(partial(done.append, "cancelled"))
        waiting.cancel()
        go.set()
        await running
        await threads.submit(partial(done.append, "last"))
        threads.close()

    asyncio.run(main())
    assert done == ["last"]


def test_a_job_that_is_cancelled_while_it_runs_disturbs_nobody() -> None:
    started, go = threading.Event(), threading.Event()

    def job() -> bool:
        started.set()
        return go.wait()

    async def main() -> int:
        threads = Threads(1)
        running = threads.submit(job)
        await asyncio.to_thread(started.wait)
        running.cancel()
        go.set()
        found = await threads.submit(lambda: 7)
        threads.close()
        return found

    assert asyncio.run(main()) == 7


def test_places_are_taken_and_given_back() -> None:
    from finetune_export.service.admission import Engine

    async def main() -> None:
        engine = Engine(concurrency=1, queue=2)
        async with engine.admit(2):
            engine.check_room(1)
            with pytest.raises(Problem, match="too many pictures are waiting") as refusal:
                async with engine.admit(2):
                    pass
            assert (refusal.value.status, refusal.value.headers) == (503, {"Retry-After": "1"})
        with pytest.raises(ZeroDivisionError):
            async with engine.admit(3):
                raise ZeroDivisionError
        async with engine.admit(3):
            pass
        engine.close()

    asyncio.run(main())
