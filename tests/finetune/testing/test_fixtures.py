"""The fixtures that plugins' tests are given."""

from __future__ import annotations

import urllib.error
import urllib.request
from http.client import IncompleteRead
from pathlib import Path

import pytest
from platformdirs import user_cache_path

from finetune.download import Archive, fetch
from finetune.errors import DataError, ResourceError
from finetune.reporting import SILENT
from finetune.testing.published import Published

CONTENT = bytes(range(256)) * 4


@pytest.fixture
def archive(published: Published) -> Archive:
    return published.offer("pets.zip", CONTENT)


def test_what_is_offered_is_what_its_publisher_says(published: Published, archive: Archive, tmp_path: Path) -> None:
    file = fetch(f"{published.url}/pets.zip", tmp_path / "pets.zip", archive, SILENT)
    assert file.read_bytes() == CONTENT
    assert (archive.name, archive.size, published.asked) == ("pets.zip", 1024, [("pets.zip", None)])


def test_a_connection_is_cut_where_it_is_told_and_taken_up(
    published: Published, archive: Archive, tmp_path: Path
) -> None:
    published.hang_up_after = 100
    with pytest.raises(ResourceError, match="after 100 of 1,024 bytes"):
        fetch(f"{published.url}/pets.zip", tmp_path / "pets.zip", archive, SILENT)
    published.hang_up_after = None
    assert fetch(f"{published.url}/pets.zip", tmp_path / "pets.zip", archive, SILENT).read_bytes() == CONTENT
    assert published.asked == [("pets.zip", None), ("pets.zip", "bytes=100-")]


def test_a_server_that_ignores_range_sends_everything_again(
    published: Published, archive: Archive, tmp_path: Path
) -> None:
    (tmp_path / "pets.zip.part").write_bytes(CONTENT[:100])
    published.ignores_range = True
    assert fetch(f"{published.url}/pets.zip", tmp_path / "pets.zip", archive, SILENT).read_bytes() == CONTENT


def test_other_bytes_under_the_same_name_are_other_bytes(
    published: Published, archive: Archive, tmp_path: Path
) -> None:
    published.files["pets.zip"] = CONTENT[::-1]
    with pytest.raises(DataError, match=r"is not the published pets\.zip"):
        fetch(f"{published.url}/pets.zip", tmp_path / "pets.zip", archive, SILENT)


@pytest.mark.parametrize(("status", "name", "told"), [(None, "cats.zip", 404), (503, "pets.zip", 503)])
def test_what_is_not_offered_or_not_now_is_an_error(
    status: int | None, name: str, told: int, published: Published, archive: Archive
) -> None:
    published.status = status
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{published.url}/{name}")
    caught.value.close()
    assert caught.value.code == told


def test_the_length_is_promised_whatever_comes(published: Published, archive: Archive) -> None:
    published.hang_up_after = 3
    with urllib.request.urlopen(f"{published.url}/pets.zip") as answer, pytest.raises(IncompleteRead):
        answer.read()


def test_caches_are_below_a_folder_of_the_tests(finetune_caches: Path, tmp_path: Path) -> None:
    assert user_cache_path("finetune").is_relative_to(finetune_caches)
    assert finetune_caches.is_relative_to(tmp_path)
