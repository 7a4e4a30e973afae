from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from finetune.training import activation_file

from .conftest import Opens, fill, items, kept_bytes, keys, sql

# ── what is put in comes out ────────────────────────────────────────────────────────────────────────


def test_what_was_put_is_found(cache: Opens) -> None:
    one = cache()
    one.put(items(range(3)))

    assert one.get(keys(range(3))) == items(range(3))


def test_what_was_not_put_is_not_found(cache: Opens) -> None:
    one = cache()
    one.put(items([0]))

    assert one.get(keys([0, 1])) == items([0])


def test_a_later_run_finds_what_an_earlier_one_put(path: Path, cache: Opens) -> None:
    fill(path, items(range(3)))

    assert cache().get(keys(range(3))) == items(range(3))


def test_more_keys_than_a_query_takes_are_found(cache: Opens) -> None:
    one = cache()
    one.put(items(range(1_700), size=20))

    assert one.get(keys(range(2_000))) == items(range(1_700), size=20)


def test_a_key_may_be_asked_for_twice(cache: Opens) -> None:
    one = cache()
    one.put(items([0]))

    assert one.get(keys([0]) * 1_200) == items([0])


def test_a_value_put_again_takes_the_place_of_the_first(path: Path, cache: Opens) -> None:
    one = cache()
    one.put(items([0, 1], size=5_000))
    one.put(items([0], size=7))

    assert one.get(keys([0])) == items([0], size=7)
    assert kept_bytes(path) == 5_007


def test_an_empty_value_is_a_value(cache: Opens) -> None:
    one = cache()
    one.put(items([0], size=0))

    assert one.get(keys([0])) == items([0], size=0)


def test_nothing_asked_for_is_nothing_found(path: Path, cache: Opens) -> None:
    one = cache()
    one.put({})

    assert one.get([]) == {}
    assert not path.exists()


@pytest.mark.parametrize("name", ["100% of it?.sqlite", "a#b", "Käfer 甲"])
def test_the_file_may_have_any_name_and_its_folders_are_made(tmp_path: Path, name: str) -> None:
    fill(tmp_path / "some" / "where" / name, items([0]))

    assert os.listdir(tmp_path / "some" / "where") == [name]  # noqa: PTH208 - names are all that is asked


def test_a_link_leads_to_the_file(path: Path, tmp_path: Path, cache: Opens) -> None:
    fill(tmp_path / "elsewhere", items([0]))
    path.symlink_to(tmp_path / "elsewhere")

    assert cache().get(keys([0])) == items([0])


def test_a_capacity_of_nothing_touches_no_disk(path: Path, cache: Opens, notes: list[str]) -> None:
    one = cache(0)
    one.put(items([0]))

    assert one.get(keys([0])) == {}
    assert not path.exists()
    assert notes == []


def test_a_closed_cache_finds_and_keeps_nothing(path: Path, cache: Opens, notes: list[str]) -> None:
    one = cache()
    one.put(items([0]))
    one.close()
    one.put(items([1]))
    one.close()

    assert one.get(keys([0, 1])) == {}
    assert cache().get(keys([0, 1])) == items([0])
    assert notes == []


def test_a_put_that_is_interrupted_keeps_none_of_its_values(
    path: Path, cache: Opens, notes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(key: bytes, value: bytes) -> bytes:
        if key == keys([2])[0]:
            raise KeyboardInterrupt
        return b""

    one = cache()
    one.put(items([6]))
    with monkeypatch.context() as patched:
        patched.setattr(activation_file, "_digest", interrupted)
        with pytest.raises(KeyboardInterrupt):
            one.put(items(range(4)))
    one.put(items([7]))

    assert one.get(keys(range(8))) == items([6, 7])
    assert kept_bytes(path) == 6_000
    assert notes == []


def test_threads_may_share_a_cache(cache: Opens, notes: list[str]) -> None:
    one, wrong = cache(), []

    def work(first: int) -> None:
        for i in range(first, first + 40):
            one.put(items([i]))
            if one.get(keys([i])) != items([i]):
                wrong.append(i)

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 100, 200)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (wrong, notes) == ([], [])
    assert len(one.get(keys(range(300)))) == 120


def test_nothing_heavy_is_imported() -> None:
    code = "import finetune.training.activation_cache, sys; print({'torch', 'numpy', 'fastai'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "set()\n"


# ── bounded ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_values_never_exceed_the_capacity(path: Path, cache: Opens) -> None:
    one, chance = cache(100_000), random.Random(0)
    for _ in range(60):
        one.put(items(chance.sample(range(200), chance.randrange(1, 12)), size=chance.randrange(20_000)))
        if chance.random() < 0.5:
            one.get(keys(chance.sample(range(200), 20)))

        assert kept_bytes(path) <= 100_000


def test_the_least_recently_used_go_first(cache: Opens) -> None:
    one = cache(12_000)
    for i in range(4):
        one.put(items([i]))
    one.get(keys([0]))
    one.put(items([4, 5]))

    assert one.get(keys(range(6))) == items([0, 3, 4, 5])


def test_what_a_later_run_uses_outlives_what_it_does_not(path: Path, cache: Opens) -> None:
    fill(path, items(range(4)))
    cache(12_000).get(keys([0, 1]))
    cache(12_000).put(items([4, 5]))

    assert cache().get(keys(range(6))) == items([0, 1, 4, 5])


def test_no_more_goes_than_has_to(cache: Opens) -> None:
    one = cache(12_000)
    for i in range(10):
        one.put(items([i]))

        assert len(one.get(keys(range(10)))) == min(i + 1, 4)


def test_a_value_larger_than_the_capacity_is_not_kept_and_drives_nothing_out(cache: Opens) -> None:
    one = cache(12_000)
    one.put(items(range(3)))
    one.put({**items([7], size=12_001), **items([8])})

    assert one.get(keys(range(10))) == items([0, 1, 2, 8])


def test_of_values_that_exceed_the_capacity_together_the_last_are_kept(cache: Opens) -> None:
    one = cache(12_000)
    one.put(items(range(10)))

    assert one.get(keys(range(10))) == items([6, 7, 8, 9])


def test_a_lowered_capacity_holds_from_the_next_put_on_and_shrinks_the_file(path: Path, cache: Opens) -> None:
    fill(path, items(range(100), size=50_000))
    with cache(500_000) as one:
        one.put(items([200], size=50_000))

        assert kept_bytes(path) == 500_000
    assert path.stat().st_size < 1_000_000


def test_a_wrong_total_is_corrected_by_the_next_run(path: Path, cache: Opens) -> None:
    for wrong in ("bytes = -1000000000", "bytes = 'text'", "id = 5"):
        fill(path, items(range(100)))
        sql(path, f"UPDATE total SET {wrong}")
        with cache(12_000) as one:
            one.put(items([200]))

            assert kept_bytes(path) == 12_000


def test_the_file_and_its_log_stay_bounded_however_much_is_put(path: Path, cache: Opens) -> None:
    one = cache(10_000_000)
    largest, log = 0, path.with_name(f"{path.name}-wal")
    for first in range(0, 1_600, 16):  # 120 MB
        one.put(items(range(first, first + 16), size=75_000))
        largest = max(largest, path.stat().st_size + log.stat().st_size)
    one.close()

    assert path.stat().st_size < 13_000_000
    assert largest < 13_000_000 + (20 << 20)
    assert not log.exists()


def test_the_log_is_cut_after_a_long_transaction(path: Path, cache: Opens) -> None:
    one = cache()
    one.put(items(range(40), size=1_000_000))
    one.put(items([100]))
    one.put(items([101]))

    assert path.with_name(f"{path.name}-wal").stat().st_size <= 17 << 20


@pytest.mark.parametrize("size", [2_048, 2_560, 4_096, 5_120, 8_192, 16_384, 50_176, 100_352])
def test_the_file_is_hardly_larger_than_the_values(path: Path, size: int) -> None:
    fill(path, items(range(200), size))

    assert path.stat().st_size < 1.25 * 200 * size
