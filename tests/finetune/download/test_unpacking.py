"""From an archive to a folder: every usual kind, and what is damaged, cannot be read or would write elsewhere."""

from __future__ import annotations

import contextlib
import random
import sys
import tarfile

import pytest

from finetune.download import unpack, unpack_folder
from finetune.errors import DataError, ResourceError


@pytest.mark.parametrize("name", ["a.zip", "a.ZIP", "a.tar", "a.tar.gz", "a.tgz", "a.tar.bz2", "a.tar.xz"])
def test_every_usual_kind_of_archive_is_unpacked(name, content, packed, tree, tmp_path):
    (tmp_path / name).write_bytes(packed(name))
    unpack(tmp_path / name, tmp_path / "out")
    assert tree(tmp_path / "out") == content


DAMAGE = {
    "empty.zip": lambda whole: whole[:0],
    "text.zip": lambda whole: b"no archive" * len(whole),
    "cut.zip": lambda whole: whole[:-30],
    "flipped.zip": lambda whole: whole.replace(b"tom.txt", b"tim.txt", 1),
    "text.tar": lambda whole: b"no archive" * len(whole),
    "cut.tar": lambda whole: whole[:700],
    "cut.tar.gz": lambda whole: whole[:60],
    "flipped.tar.gz": lambda whole: whole[:40] + bytes(60),
    "cut.tar.bz2": lambda whole: whole[:-30],
    "flipped.tar.xz": lambda whole: whole[:80] + bytes(60) + whole[140:],
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_archive_is_refused_in_one_line(name, packed, tmp_path):
    (tmp_path / name).write_bytes(DAMAGE[name](packed(name)))
    kind = "zip" if name.endswith("zip") else "tar"
    with pytest.raises(DataError, match=rf"{name} is not a whole {kind} file \(.+\)\.$") as caught:
        unpack(tmp_path / name, tmp_path / "out")
    assert "\n" not in str(caught.value)


def test_damage_far_inside_is_not_taken_for_a_fault_of_the_disk(reporter, packed, names_in, tmp_path):
    # Incompressible, and several of bz2's blocks, so that the archive opens without an error. bz2 raises OSError.
    whole = packed("a.tar.bz2", {"noise": random.Random(0).randbytes(400_000)})
    (tmp_path / "a.tar.bz2").write_bytes(whole[:300_000] + bytes(100) + whole[300_100:])
    with pytest.raises(DataError, match=r"a\.tar\.bz2 is not a whole tar file \(Invalid data stream\)\.$"):
        unpack_folder(tmp_path / "cache" / "noise", [tmp_path / "a.tar.bz2"], reporter)
    assert names_in(tmp_path / "cache") == []


@pytest.mark.parametrize("member", ["../escaped", "a/../../escaped", "{tmp}/escaped", "..\\escaped"])
@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_nothing_is_written_outside(kind, member, packed, tmp_path):
    (tmp_path / f"bad.{kind}").write_bytes(packed(f"bad.{kind}", {member.format(tmp=tmp_path): b"!"}))
    inside = tmp_path / "deep" / "out"
    inside.mkdir(parents=True)
    with contextlib.suppress(DataError):  # on Linux "..\\escaped" is a name like any other for tar
        unpack(tmp_path / f"bad.{kind}", inside)
    assert not [path for path in tmp_path.rglob("*escaped") if not path.is_relative_to(inside)]


def test_a_link_out_of_the_folder_is_refused(tmp_path):
    with tarfile.open(tmp_path / "link.tar", "w") as archive:
        link = tarfile.TarInfo("shortcut")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc"
        archive.addfile(link)
    with pytest.raises(DataError, match="is not a whole tar file"):
        unpack(tmp_path / "link.tar", tmp_path / "out")


def test_an_archive_at_hand_is_unpacked_and_stays(reporter, content, packed, tree, tmp_path):
    (tmp_path / "mine.zip").write_bytes(packed("mine.zip"))
    folder = unpack_folder(tmp_path / "cache" / "pets", [tmp_path / "mine.zip"], reporter)
    assert tree(folder) == content
    assert (tmp_path / "mine.zip").is_file()


@pytest.mark.parametrize("name", ["mine.zip", "mine.tar"])
@pytest.mark.parametrize(("made", "reason"), [("nothing", "No such file"), ("folder", "Is a directory")])
def test_an_archive_at_hand_that_cannot_be_opened_is_blamed_and_not_the_cache(name, made, reason, reporter, tmp_path):
    if made == "folder":
        (tmp_path / name).mkdir()
    with pytest.raises(DataError, match=rf"Cannot read .*{name}: {reason}.*\. Check it and its permissions, then run"):
        unpack_folder(tmp_path / "cache" / "pets", [tmp_path / name], reporter)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a file that opens and cannot be read")
def test_an_archive_at_hand_whose_disk_fails_is_blamed_and_not_the_cache(reporter, tmp_path):
    (tmp_path / "mine.tar").symlink_to("/proc/self/mem")
    with pytest.raises(DataError, match=r"Cannot read .*mine\.tar: Input/output error\."):
        unpack_folder(tmp_path / "cache" / "pets", [tmp_path / "mine.tar"], reporter)


def test_a_cache_that_refuses_is_blamed_and_not_the_archive(reporter, packed, tmp_path):
    (tmp_path / "mine.tar").write_bytes(packed("mine.tar", {"n" * 300: b"a name too long for the disk"}))
    with pytest.raises(ResourceError, match=r"Cannot write to .*cache: File name too long\. Check space"):
        unpack_folder(tmp_path / "cache" / "pets", [tmp_path / "mine.tar"], reporter)
