"""Sets as the ``datasets`` library and the hub write them, made with pyarrow alone; and a hub on this machine."""

from __future__ import annotations

import hashlib
import http.server
import io
import json
import socket
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from finetune.errors import FinetuneError
from finetune.reporting import SILENT
from finetune.types import Columns, Dataset, DatasetRequest
from finetune_hf.loading import load

PROJECT = Path(__file__).parent.parent
IMAGE = {"_type": "Image"}
PETS = {"image": IMAGE, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nothing leave this machine; to the code it looks like a cable that was pulled."""
    resolve = socket.getaddrinfo

    def resolve_here(host: Any, *args: Any, **options: Any) -> Any:
        if host in ("127.0.0.1", "localhost"):
            return resolve(host, *args, **options)
        raise socket.gaierror(socket.EAI_AGAIN, f"tests have no network: {host}")

    monkeypatch.setattr(socket, "getaddrinfo", resolve_here)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)  # as another test's process may have it


@pytest.fixture
def jpeg() -> Callable[[int], bytes]:
    """Return the bytes of a small picture, another for each number."""

    def encoded(number: int) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (24, 20), (number % 256, 90, 60)).save(file, "JPEG")
        return file.getvalue()

    return encoded


@pytest.fixture
def pets(jpeg: Callable[[int], bytes]) -> Callable[..., list[dict[str, Any]]]:
    """Return rows of a set: pictures from a number on, in turn of the classes 0 and 1."""

    def rows(count: int = 4, start: int = 0) -> list[dict[str, Any]]:
        return [{"image": {"bytes": jpeg(i), "path": f"{i}.jpg"}, "label": i % 2} for i in range(start, start + count)]

    return rows


def as_table(rows: Sequence[Mapping[str, Any]], features: Mapping[str, Any] | None) -> pa.Table:
    table = pa.Table.from_pylist(list(rows))
    if features is None:
        return table
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Write splits, or one set without, as ``save_to_disk`` does; return the folder."""

    def write(
        splits: Mapping[str | None, Sequence[Mapping[str, Any]]],
        features: Mapping[str, Any] | None = PETS,
        licence: str = "",
    ) -> Path:
        root = tmp_path / "saved"
        for split, rows in splits.items():
            folder = root / split if split else root
            folder.mkdir(parents=True)
            with pa.ipc.new_stream(
                folder / "data-00000-of-00001.arrow", (table := as_table(rows, features)).schema
            ) as out:
                out.write_table(table, max_chunksize=3)
            state = {"_data_files": [{"filename": "data-00000-of-00001.arrow"}], "_split": split}
            (folder / "state.json").write_text(json.dumps(state))
            (folder / "dataset_info.json").write_text(json.dumps({"features": features, "license": licence}))
        if None not in splits:
            (root / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
        return root

    return write


@pytest.fixture
def parquet(tmp_path: Path) -> Callable[..., Path]:
    """Write a folder of Parquet files by their names; return the folder."""

    def write(files: Mapping[str, Sequence[Mapping[str, Any]]], features: Mapping[str, Any] | None = PETS) -> Path:
        root = tmp_path / "pets"
        for name, rows in files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            pq.write_table(as_table(rows, features), root / name, row_group_size=3)
        return root

    return write


@pytest.fixture
def loaded(tmp_path: Path) -> Callable[..., Dataset]:
    """Load a copy, or a set by its name, with what the user says of its columns."""

    def read(data: Path | None = None, name: str | None = None, **said: Any) -> Dataset:
        return load(
            DatasetRequest(
                source="local" if data else "hub",
                data=data,
                name=name,
                cache=tmp_path / "cache",
                reporter=SILENT,
                columns=Columns(**said),
            )
        )

    return read


@pytest.fixture
def refusal(loaded: Callable[..., Dataset], tmp_path: Path) -> Callable[..., str]:
    """Return what is said where a set is refused, without the folder; check the exit status."""

    def refused(data: Path | None = None, name: str | None = None, status: int = 3, **said: Any) -> str:
        with pytest.raises(FinetuneError) as caught:
            loaded(data, name, **said)
        assert caught.value.exit_code == status
        assert "\n" not in str(caught.value)
        return str(caught.value).replace(f"{tmp_path}/", "")

    return refused


class Hub:
    """A stand-in for the hub: the files of sets, those that are listed and gone, and what it was asked for."""

    def __init__(self) -> None:
        self.sets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.listed: dict[str, str] = {}
        self.asked: list[str] = []
        self.url = ""

    def offer(self, name: str, files: Mapping[str, bytes], revision: str = "main") -> None:
        self.sets[name, revision] = dict(files)

    def commit(self, name: str, revision: str) -> str:
        return hashlib.sha1(f"{name} {revision} {sorted(self.sets[name, revision])}".encode()).hexdigest()

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        self.asked.append(f"{handler.command} {handler.path}")
        path = handler.path.replace("%2F", "/")
        if path.startswith("/api/datasets/"):
            self._describe(handler, path.removeprefix("/api/datasets/"))
        else:
            self._send_file(handler, path)

    def _describe(self, handler: http.server.BaseHTTPRequestHandler, path: str) -> None:
        name, _, revision = path.partition("/revision/")
        revision = revision or "main"
        if (name, revision) in self.sets:
            listed = [*self.sets[name, revision], *filter(None, [self.listed.get(name)])]
            siblings = [{"rfilename": file} for file in listed]
            body = {"id": name, "sha": self.commit(name, revision), "siblings": siblings}
            self._send(handler, 200, json.dumps(body).encode())
        else:
            known = any(name == other for other, _ in self.sets)
            code = "RevisionNotFound" if known else "RepoNotFound"
            self._send(handler, 404, b"{}", {"X-Error-Code": code})

    def _send_file(self, handler: http.server.BaseHTTPRequestHandler, path: str) -> None:
        for (name, revision), files in self.sets.items():
            sha = self.commit(name, revision)
            for file, content in files.items():
                if path == f"/datasets/{name}/resolve/{sha}/{file}":
                    etag = f'"{hashlib.sha1(content).hexdigest()}"'
                    self._send(handler, 200, content, {"ETag": etag, "X-Repo-Commit": sha})
                    return
        self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound"})

    def _send(
        self, handler: http.server.BaseHTTPRequestHandler, status: int, body: bytes, headers: Mapping[str, str] = {}
    ) -> None:
        handler.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    there = Hub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.answer(self)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, *args: Any) -> None:
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        there.url = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setenv("HF_ENDPOINT", there.url)
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield there
        server.shutdown()
        thread.join()


@pytest.fixture
def registered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put the plugin's metadata on the path, so that it is found whether or not it is installed."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    facts = tmp_path / "site" / "finetune_hf-0.1.0.dist-info"
    facts.mkdir(parents=True)
    (facts / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
    points = "".join(f"{name} = {value}\n" for name, value in project["entry-points"]["finetune"].items())
    (facts / "entry_points.txt").write_text(f"[finetune]\n{points}")
    monkeypatch.syspath_prepend(tmp_path / "site")
