from __future__ import annotations

import hashlib
import http.server
import io
import socket
import tarfile
import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from finetune.errors import ConfigError, DataError, ResourceError
from finetune.intent import discover
from finetune_dogbreeds import download, stanford
from finetune_dogbreeds.dataset import load
from finetune_dogbreeds.download import Archive

TRAIN = ("n02085620-Chihuahua/n02085620_1.jpg", "n02089078-black-and-tan_coonhound/n02089078_2.jpg")
TEST = ("n02085620-Chihuahua/n02085620_3.jpg", "n02089078-black-and-tan_coonhound/n02089078_4.jpg")


def write_photos(folder: Path, names=TRAIN + TEST) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (40, 30), (120, 90, 60)).save(path)


def write_lists(folder: Path, train=TRAIN, test=TEST) -> None:
    for file, names in (("train_list.mat", train), ("test_list.mat", test)):
        cells = np.empty((len(names), 1), dtype=object)
        cells[:, 0] = names
        savemat(folder / file, {"file_list": cells, "labels": np.ones((len(names), 1))})


def tar_of(folder: Path) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        for path in sorted(folder.iterdir()):
            archive.add(path, path.name)
    return file.getvalue()


class Mirror:
    """A small web server: what it offers, which ranges it was asked for, and after how many bytes it hangs up."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.asked: list[tuple[str, str | None]] = []
        self.hang_up_after: int | None = None
        self.knows_ranges = True
        self.url = ""

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        name, wanted = handler.path.rsplit("/", 1)[-1], handler.headers.get("Range")
        self.asked.append((name, wanted))
        if name not in self.files:
            handler.send_error(404)
            return
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.knows_ranges else 0
        if start >= len(self.files[name]):
            handler.send_error(416)
            return
        body = self.files[name][start:]
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body[: self.hang_up_after])
        handler.close_connection = True


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    there = Mirror()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            there.answer(self)

        def log_message(self, *args):
            pass

    content = tmp_path / "published"
    write_photos(content / "images" / "Images")
    (content / "lists").mkdir()
    write_lists(content / "lists")
    there.files = {f"{name}.tar": tar_of(content / name) for name in ("lists", "images")}
    publish(monkeypatch, there)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}/dogs"
        monkeypatch.setenv(stanford.URL_VARIABLE, there.url)
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield there
        server.shutdown()
        thread.join()


def publish(monkeypatch, mirror: Mirror) -> None:
    archives = (Archive(name, len(body), hashlib.sha256(body).hexdigest()) for name, body in mirror.files.items())
    monkeypatch.setattr(stanford, "ARCHIVES", tuple(archives))


def parts_of(dataset) -> dict[str, str | None]:
    return {example.path.name: example.part for example in dataset.examples}


OFFICIAL = {
    "n02085620_1.jpg": "train",
    "n02089078_2.jpg": "train",
    "n02085620_3.jpg": "valid",
    "n02089078_4.jpg": "valid",
}


def test_a_download_brings_labels_and_the_official_split(mirror, request_for, reporter, tmp_path):
    dataset = load(request_for("stanford"))
    assert dataset.labels == ("Chihuahua", "black-and-tan coonhound")
    assert parts_of(dataset) == OFFICIAL
    assert sorted(path.name for path in (tmp_path / "cache").iterdir()) == ["stanford-dogs"]
    assert reporter.titles == ["Downloading lists.tar", "Downloading images.tar", "Unpacking Stanford Dogs"]
    assert reporter.steps == sum(map(len, mirror.files.values())) + 2


def test_what_was_downloaded_is_not_asked_for_again(mirror, request_for):
    load(request_for("stanford"))
    mirror.asked.clear()
    load(request_for("stanford"))
    assert mirror.asked == []


def test_a_connection_that_breaks_is_taken_up_where_it_broke(mirror, request_for, tmp_path):
    mirror.hang_up_after = 700
    size = len(mirror.files["lists.tar"])
    with pytest.raises(ResourceError, match=f"the connection ended after 700 of {size:,} bytes. Run the same command"):
        load(request_for("stanford"))
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["lists.tar.part"]
    mirror.hang_up_after = None
    assert len(load(request_for("stanford")).examples) == 4
    assert mirror.asked == [("lists.tar", None), ("lists.tar", "bytes=700-"), ("images.tar", None)]


def test_a_server_without_ranges_sends_everything_again(mirror, request_for):
    mirror.hang_up_after, mirror.knows_ranges = 700, False
    with pytest.raises(ResourceError):
        load(request_for("stanford"))
    mirror.hang_up_after = None
    assert len(load(request_for("stanford")).examples) == 4


def test_a_part_that_is_longer_than_the_servers_file_is_begun_anew(mirror, request_for):
    whole, mirror.hang_up_after = mirror.files["lists.tar"], 700
    with pytest.raises(ResourceError):
        load(request_for("stanford"))
    mirror.files["lists.tar"], mirror.hang_up_after = whole[:500], None
    with pytest.raises(ResourceError, match="the server answered 416"):
        load(request_for("stanford"))
    mirror.files["lists.tar"] = whole
    assert len(load(request_for("stanford")).examples) == 4


def test_a_wrong_checksum_is_refused_and_the_file_removed(mirror, request_for, tmp_path):
    expected = hashlib.sha256(mirror.files["lists.tar"]).hexdigest()
    mirror.files["lists.tar"] = bytes(len(mirror.files["lists.tar"]))
    with pytest.raises(DataError) as caught:
        load(request_for("stanford"))
    text = str(caught.value)
    assert f"SHA-256 {expected}" in text
    assert hashlib.sha256(mirror.files["lists.tar"]).hexdigest() in text
    assert "removed. Run the same command again, or give a copy at hand with --data DIR." in text
    assert "\n" not in text
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_file_that_is_longer_than_published_is_refused(mirror, request_for):
    mirror.files["lists.tar"] += b"more"
    with pytest.raises(DataError, match=r"is not the published lists\.tar"):
        load(request_for("stanford"))


def test_a_missing_file_names_address_status_and_remedy(mirror, request_for):
    mirror.files.clear()
    with pytest.raises(ResourceError, match=r"lists\.tar: the server answered 404 Not Found\. Run .* --data DIR\."):
        load(request_for("stanford"))


def test_a_refused_connection_is_one_line(request_for, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, not listening: connections are refused
        monkeypatch.setenv(stanford.URL_VARIABLE, f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with pytest.raises(ResourceError, match=r"Cannot download .*refused.* Run the same command again") as caught:
            load(request_for("stanford"))
    assert "\n" not in str(caught.value)


def test_an_archive_that_is_no_tar_is_refused(mirror, request_for, monkeypatch, tmp_path):
    mirror.files["lists.tar"] = b"not a tar file at all" * 100
    publish(monkeypatch, mirror)
    with pytest.raises(DataError, match=r"lists\.tar is not a whole tar file"):
        load(request_for("stanford"))
    assert not (tmp_path / "cache" / "stanford-dogs").exists()


def test_an_archive_that_reaches_outside_is_refused(mirror, request_for, monkeypatch, tmp_path):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../../escaped"))
    mirror.files["lists.tar"] = file.getvalue()
    publish(monkeypatch, mirror)
    with pytest.raises(DataError, match="is not a whole tar file"):
        load(request_for("stanford"))
    assert not list(tmp_path.rglob("escaped"))


def test_a_full_disk_is_said_before_the_download(mirror, request_for, monkeypatch):
    monkeypatch.setattr(download.shutil, "disk_usage", lambda _: download.shutil._ntuple_diskusage(1, 1, 0))
    with pytest.raises(ResourceError, match=r"has 0 MB free; lists\.tar needs"):
        load(request_for("stanford"))
    assert mirror.asked == []


def test_the_address_must_be_http(request_for, monkeypatch):
    monkeypatch.setenv(stanford.URL_VARIABLE, "file:///etc")
    with pytest.raises(ConfigError, match="FINETUNE_DOGBREEDS_URL 'file:///etc' is not allowed; give an address"):
        load(request_for("stanford"))


@pytest.mark.parametrize("source", ["sample", "stanford"])
@pytest.mark.parametrize("inside", ["Images", "."])
def test_a_copy_at_hand_needs_no_network(source, inside, request_for, tmp_path, monkeypatch):
    monkeypatch.setenv(stanford.URL_VARIABLE, "nowhere")
    write_photos(tmp_path / "dogs" / inside)
    write_lists(tmp_path / "dogs")
    assert parts_of(load(request_for(source, tmp_path / "dogs"))) == OFFICIAL


def test_a_copy_without_lists_has_no_parts(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    dataset = load(request_for("stanford", tmp_path / "dogs"))
    assert set(parts_of(dataset).values()) == {None}
    assert dataset.notes == ("Stanford Dogs: 4 photos, no lists of the official split: split by chance.",)


def test_a_copy_at_hand_takes_the_recipe_for_photos(tmp_path):
    write_photos(tmp_path / "dogs")
    intent = discover({"plugin": "dogbreeds", "data": tmp_path / "dogs"})
    assert (intent.source.name, intent.config.weights) == ("stanford", "pretrained")


def test_photos_in_neither_list_are_left_out_and_said(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs", train=TRAIN[:1], test=TEST[:1])
    dataset = load(request_for("stanford", tmp_path / "dogs"))
    assert parts_of(dataset) == {"n02085620_1.jpg": "train", "n02085620_3.jpg": "valid"}
    assert dataset.notes[1] == "2 photos are in neither list and were left out."


def test_lists_of_other_photos_are_refused(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs", train=("n1/a.jpg", "n1/b.jpg"), test=("n1/c.jpg",))
    with pytest.raises(DataError, match=r"None of the 4 photos in .* is in the lists"):
        load(request_for("stanford", tmp_path / "dogs"))


def test_one_list_without_the_other_is_refused(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs")
    (tmp_path / "dogs" / "test_list.mat").unlink()
    with pytest.raises(DataError, match=r"has train_list\.mat but no test_list\.mat"):
        load(request_for("stanford", tmp_path / "dogs"))


@pytest.mark.parametrize("content", [b"", b"hello", b"\x00" * 400], ids=["empty", "text", "zeros"])
def test_a_damaged_list_is_refused(content, request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    write_lists(tmp_path / "dogs")
    (tmp_path / "dogs" / "train_list.mat").write_bytes(content)
    with pytest.raises(DataError, match=r"train_list\.mat is not a list of Stanford Dogs"):
        load(request_for("stanford", tmp_path / "dogs"))


@pytest.mark.parametrize("made", ["missing", "empty", "strange"])
def test_a_folder_that_is_no_copy_is_refused_with_what_was_looked_for(made, request_for, tmp_path):
    root = tmp_path / "dogs"
    if made != "missing":
        root.mkdir()
    if made == "strange":
        write_photos(root, ("cats/tom.jpg",))
    with pytest.raises(DataError, match=r"not a copy of Stanford Dogs: no photos in folders such as n02085620-Chihua"):
        load(request_for("stanford", root))


@pytest.mark.parametrize(
    ("synset", "label"),
    [
        ("n02085620-Chihuahua", "Chihuahua"),
        ("n02089078-black-and-tan_coonhound", "black-and-tan coonhound"),
        ("n02086240-Shih-Tzu", "Shih-Tzu"),
    ],
)
def test_labels_are_names_that_people_use(synset, label):
    assert stanford.label_of(synset) == label


def test_where_a_copy_lies_does_not_go_into_the_model(request_for, tmp_path):
    write_photos(tmp_path / "dogs")
    assert load(request_for("stanford", tmp_path / "dogs")).source == stanford.URL
