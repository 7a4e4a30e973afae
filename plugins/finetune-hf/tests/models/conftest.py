"""A hub for models on this machine, which the real client library publishes to and fetches from; and two real runs."""

from __future__ import annotations

import base64
import hashlib
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from PIL import Image

TINY: dict[str, Any] = {"backbone": "squeezenet1_1", "weights": "none", "image_size": 32, "batch_size": 8, "epochs": 1}
LABELS = ("cat", "dog")
TOKEN = "hf_of_a_writer"


@dataclass
class Repository:
    """A repository on the stand-in: what each branch is at, and the files of each commit."""

    private: bool = False
    gated: bool = False
    branches: dict[str, str] = field(default_factory=dict)
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def commit(self, branch: str, files: Mapping[str, bytes]) -> str:
        said = f"{len(self.commits)} {sorted((name, hashlib.sha1(data).hexdigest()) for name, data in files.items())}"
        sha = hashlib.sha1(said.encode()).hexdigest()
        self.commits[sha] = dict(files)
        self.branches[branch] = sha
        return sha

    def at(self, revision: str) -> str | None:
        return self.branches.get(revision) or (revision if revision in self.commits else None)

    @property
    def files(self) -> dict[str, bytes]:
        return self.commits[self.branches["main"]]


class ModelHub:
    """The stand-in: it keeps what it is sent, and can be told to fail.

    ``cut_upload`` ends the connection where a large file begins to come; ``cut_download_at`` after so many bytes of one
    that goes out; ``spoil`` changes the bytes that go out; ``refuse`` answers some requests with a status.
    """

    LARGE: ClassVar = (".onnx",)

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.ranges: list[str] = []
        self.url = ""
        self.cut_upload = False
        self.cut_download_at: int | None = None
        self.spoil: Callable[[bytes], bytes] = bytes
        self.refuse: dict[str, int] = {}
        self.sizes: dict[str, int] = {}
        self.warning = ""

    def offer(self, name: str, files: Mapping[str, bytes], **how: Any) -> Repository:
        repository = self.repositories.setdefault(name, Repository(**how))
        repository.commit("main", files)
        return repository

    # ── requests ────────────────────────────────────────────────────────────────────────────────────

    def answer(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        path = unquote(urlsplit(handler.path).path)
        self.asked.append(f"{handler.command} {path}")
        if handler.command == "PUT" and self.cut_upload:
            handler.close_connection = True
            handler.connection.shutdown(2)
            return
        body = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        if refused := [status for part, status in self.refuse.items() if part in self.asked[-1]]:
            self._send(handler, refused[0], b"{}")
        elif path.startswith("/api/models/"):
            self._of_model(handler, path.removeprefix("/api/models/"), body)
        elif path.startswith("/api/"):
            self._of_account(handler, path, json.loads(body or b"{}"))
        elif path.endswith(".git/info/lfs/objects/batch"):
            self._agree(handler, json.loads(body))
        elif path.startswith("/large/"):
            self._large(handler, path.rpartition("/")[2], body)
        else:
            self._file(handler, path)

    def _of_account(self, handler: Any, path: str, said: Any) -> None:
        if handler.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._send(handler, 401, b'{"error": "Invalid credentials"}')
        elif path == "/api/whoami-v2":
            self._json(handler, {"name": "user", "orgs": []})
        elif path == "/api/validate-yaml":
            self._json(handler, {"warnings": [{"message": self.warning}] if self.warning else []})
        else:
            assert path == "/api/repos/create"
            name = f"{said['organization']}/{said['name']}"
            self.repositories[name] = Repository(private=said.get("private") or False)
            self.repositories[name].commit("main", {".gitattributes": b"*.onnx filter=lfs"})
            self._json(handler, {"url": f"{self.url}/{name}"})

    def _of_model(self, handler: Any, path: str, body: bytes) -> None:
        user, name, *rest = path.split("/", 3)
        name, (verb, revision) = f"{user}/{name}", rest or ("revision", "main")
        repository = self.repositories.get(name)
        may_see = repository and not (repository.private and TOKEN not in handler.headers.get("Authorization", ""))
        if repository is None or not may_see:
            self._send(handler, 404, b"{}", {"X-Error-Code": "RepoNotFound"})
        elif verb == "branch":
            repository.branches.setdefault(revision, repository.branches["main"])
            self._json(handler, {})
        elif (sha := repository.at(revision)) is None:
            self._send(handler, 404, b"{}", {"X-Error-Code": "RevisionNotFound"})
        elif verb == "revision":
            self._json(handler, self._description(name, repository, sha))
        elif verb == "preupload":
            files = [{"path": entry["path"], **self._mode(entry["path"])} for entry in json.loads(body)["files"]]
            self._json(handler, {"files": files})
        else:
            assert verb == "commit"
            self._commit(handler, name, repository, revision, [json.loads(line) for line in body.splitlines()])

    def _description(self, name: str, repository: Repository, sha: str) -> dict[str, Any]:
        files = repository.commits[sha]
        siblings = [{"rfilename": file, "size": self.sizes.get(file, len(files[file]))} for file in files]
        return {"id": name, "sha": sha, "private": repository.private, "gated": "auto", "siblings": siblings}

    def _mode(self, path: str) -> dict[str, Any]:
        return {"uploadMode": "lfs" if path.endswith(self.LARGE) else "regular", "shouldIgnore": False}

    def _commit(self, handler: Any, name: str, repository: Repository, branch: str, lines: list[Any]) -> None:
        header = lines[0]["value"]
        if header.get("parentCommit") not in (None, repository.branches[branch]):
            self._send(handler, 412, b'{"error": "A commit has happened since"}')
            return
        files = dict(repository.commits[repository.branches[branch]])
        for line in lines[1:]:
            path = line["value"]["path"]
            if line["key"] == "deletedFile":
                del files[path]
            else:
                content = line["value"].get("content", "")
                files[path] = base64.b64decode(content) if line["key"] == "file" else self.large[line["value"]["oid"]]
        sha = repository.commit(branch, files)
        # The client takes the address apart, and does not know of any but the real one.
        self._json(handler, {"commitUrl": f"https://huggingface.co/{name}/commit/{sha}", "commitOid": sha})

    # ── files ───────────────────────────────────────────────────────────────────────────────────────

    def _agree(self, handler: Any, said: Any) -> None:
        """Agree on plain transfers, as a hub does that does not choose Xet among those that the client offers."""
        assert "basic" in said["transfers"]
        objects = [
            {**each, "actions": {"upload": {"href": f"{self.url}/large/{each['oid']}"}}}
            if each["oid"] not in self.large
            else each
            for each in said["objects"]
        ]
        self._json(handler, {"transfer": "basic", "objects": objects})

    def _large(self, handler: Any, oid: str, body: bytes) -> None:
        if handler.command == "PUT":
            assert hashlib.sha256(body).hexdigest() == oid
            self.large[oid] = body
            self._send(handler, 200, b"")
        else:
            self._content(handler, self.large[oid], {"ETag": f'"{oid}"'})

    def _content(self, handler: Any, content: bytes, headers: Mapping[str, str]) -> None:
        content = self.spoil(content)
        asked = handler.headers.get("Range", "bytes=0-")
        self.ranges.append(asked)
        start = int(asked.removeprefix("bytes=").rstrip("-"))
        ranged = {"Content-Range": f"bytes {start}-{len(content) - 1}/{len(content)}"} if start else {}
        self._send(handler, 206 if start else 200, content[start:], {**headers, **ranged}, self.cut_download_at)

    def _file(self, handler: Any, path: str) -> None:
        user, name, _, revision, file = path.removeprefix("/").split("/", 4)
        repository = self.repositories[f"{user}/{name}"]
        sha = repository.at(revision)
        if repository.gated:
            self._send(handler, 403, b"", {"X-Error-Code": "GatedRepo"})
        elif sha is None or file not in repository.commits[sha]:
            self._send(handler, 404, b"", {"X-Error-Code": "EntryNotFound" if sha else "RevisionNotFound"})
        else:
            self._resolve(handler, file, repository.commits[sha][file], sha)

    def _resolve(self, handler: Any, file: str, content: bytes, sha: str) -> None:
        if not file.endswith(self.LARGE):
            etag = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            self._send(handler, 200, content, {"ETag": f'"{etag}"', "X-Repo-Commit": sha})
            return
        oid = hashlib.sha256(content).hexdigest()
        self.large[oid] = content
        linked = {"X-Linked-Etag": f'"{oid}"', "X-Linked-Size": str(len(content)), "X-Repo-Commit": sha}
        self._send(handler, 302, b"", {**linked, "Location": f"{self.url}/large/{oid}"})

    def _json(self, handler: Any, content: object) -> None:
        self._send(handler, 200, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _send(
        self, handler: Any, status: int, body: bytes, headers: Mapping[str, str] = {}, cut_at: int | None = None
    ) -> None:
        handler.send_response(status)
        for key, value in {"Content-Length": str(len(body)), **headers}.items():
            handler.send_header(key, value)
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body[:cut_at])


@pytest.fixture
def model_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModelHub]:
    there = ModelHub()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            there.answer(self)

        do_HEAD = do_POST = do_PUT = do_GET  # noqa: N815

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


@pytest.fixture(autouse=True)
def _own_account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give each test a token, a cache of the hub's and a home of its own, and no pauses between attempts."""
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr("huggingface_hub.constants.HF_TOKEN_PATH", str(tmp_path / "token"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr("huggingface_hub.utils._http.time", SimpleNamespace(sleep=lambda _: None))


# ── runs ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of drawn pictures: red ones are cats, blue ones dogs."""
    root = tmp_path_factory.mktemp("drawn") / "pets"
    random = np.random.default_rng(7)
    for part, count in (("train", 6), ("valid", 4), ("test", 3)):
        for kind, label in enumerate(LABELS):
            (root / part / label).mkdir(parents=True)
            for i in range(count):
                pixels = random.integers(0, 90, (40, 44, 3), dtype=np.uint8)
                pixels[..., 2 * kind] += 120
                Image.fromarray(pixels).save(root / part / label / f"{part} {i}.png")
    return root


@pytest.fixture(scope="session")
def _run(tmp_path_factory: pytest.TempPathFactory, drawn: Path) -> Path:
    from finetune import run

    return run(data=drawn, out=tmp_path_factory.mktemp("runs"), target=("hf",), **TINY).run


@pytest.fixture
def with_hf(_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the folder of a run with the target hf."""
    return Path(shutil.copytree(_run, tmp_path / "with-hf"))


@pytest.fixture
def plain(_run: Path, tmp_path: Path) -> Path:
    """Return a copy of the same folder as the run leaves it without that target: no folder of it, and no proof."""
    copy = Path(shutil.copytree(_run, tmp_path / "plain", ignore=shutil.ignore_patterns("hf")))
    proofs = json.loads((copy / "verification.json").read_text())
    (copy / "verification.json").write_text(json.dumps([proof for proof in proofs if proof["target"] == "onnx"]))
    return copy
