"""A stand-in for the Hugging Face hub: the part of its API that pushing and downloading take, in memory.

Routes as huggingface_hub 1 and 2 call them: create-repo, branch, model info, validate-yaml, preupload, LFS batch and
upload, commit, resolve. `fail` makes the next requests of a kind end in an error.
"""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

REPO = "me/tiny-int8"
TOKEN = "hf_right"
"""The one that the hub knows."""

LARGE = 20_000
"""Bytes from which on a file goes to large storage."""

CUT = -1
"""A failure without a status: the connection is cut in the middle of the request."""

LOST = -2
"""The connection is cut when all is done, and before that is answered."""

HANG = -3
"""The request is read, `Hub.hangs` is set, and nothing else happens until `Hub.released` is: then it is cut."""


class Hub:
    """The state: repositories with branches, each a list of commits (id and files). It grows as it is asked."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, Any]] = {}
        self.stored: dict[str, bytes] = {}
        self.failures: dict[str, list[int]] = {}
        self.seen: list[str] = []
        self.messages: list[str] = []
        self.url = ""
        self.hangs, self.released = threading.Event(), threading.Event()

    def fail(self, kind: str, *statuses: int) -> None:
        """Answer the next requests of a kind with these statuses, one each."""
        self.failures.setdefault(kind, []).extend(statuses)

    def head(self, name: str, branch: str = "main") -> tuple[str, dict[str, bytes]]:
        """Return the last commit of a branch, and its files."""
        return self.repositories[name]["branches"][branch][-1]  # type: ignore[no-any-return]

    def commit(self, name: str, files: dict[str, bytes], branch: str = "main") -> str:
        """Put a commit on a branch."""
        commits = self.repositories[name]["branches"][branch]
        oid = hashlib.sha1(f"{name}{branch}{len(commits)}{sorted(files)}".encode()).hexdigest()
        commits.append((oid, files))
        return oid

    def create(self, name: str, *, private: bool = False) -> None:
        """Make a repository with the one file that the hub puts there."""
        self.repositories[name] = {"private": private, "branches": {"main": []}}
        self.commit(name, {".gitattributes": b"*.onnx filter=lfs\n"})


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub on a free port."""
    hub = Hub()

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"
    lost = False

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing."""

    def do_POST(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        kind = _kind(path)
        self.state.seen.append(f"{self.command} {kind}")
        failures = self.state.failures.get(kind)
        length = int(self.headers.get("Content-Length") or 0)
        if failures and failures[0] == CUT:
            failures.pop(0)
            self.rfile.read(length // 2)
            self.connection.close()
            self.close_connection = True
            return
        body = self.rfile.read(length)
        if failures and failures[0] == HANG:
            failures.pop(0)
            self.state.hangs.set()
            self.state.released.wait(60)
            self.close_connection = True
            return
        if failures and failures[0] != LOST:
            self._send(failures.pop(0), {"error": "as the test wants it"})
            return
        if self.headers.get("Authorization") != f"Bearer {TOKEN}" and kind not in ("store",):
            self._send(401, {"error": "Invalid username or password."})
            return
        self.lost = bool(failures) and failures.pop(0) == LOST  # type: ignore[union-attr]
        getattr(self, f"_{kind}")(path, body)

    def _send(self, status: int, document: Any = None, raw: bytes | None = None, **headers: str) -> None:
        if self.lost:
            self.close_connection = True
            return
        content = raw if raw is not None else json.dumps(document).encode()
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)

    def _create(self, path: str, body: bytes) -> None:
        wanted = json.loads(body)
        name = f"{wanted['organization']}/{wanted['name']}"
        document = {"url": f"{self.state.url}/{name}"}
        if name in self.state.repositories:
            self._send(409, {**document, "error": "You already created this model repo"})
            return
        private = wanted.get("private") is True or wanted.get("visibility") == "private"
        self.state.create(name, private=private)
        self._send(200, document)

    def _branch(self, path: str, body: bytes) -> None:
        name, branch = _parts(path, "branch")
        branches = self.state.repositories[name]["branches"]
        if self.command == "DELETE":
            del branches[branch]
            self._send(200, {})
            return
        if branch in branches:
            self._send(409, {"error": "Reference already exists"})
            return
        start = json.loads(body).get("startingPoint")
        oids = [commit[0] for commit in branches["main"]]
        branches[branch] = branches["main"][: oids.index(start) + 1 if start else None]
        self._send(200, {})

    def _info(self, path: str, body: bytes) -> None:
        name, revision = _parts(path, "revision")
        if name not in self.state.repositories:
            self._send(404, {"error": "Repository not found"}, X_Error_Code="RepoNotFound")
            return
        commits = self.state.repositories[name]["branches"]
        if revision not in commits and all(revision != commit[0] for each in commits.values() for commit in each):
            self._send(404, {"error": "Invalid rev id"}, X_Error_Code="RevisionNotFound")
            return
        oid, files = self._at(name, revision)
        siblings = [{"rfilename": file} for file in files]
        private = self.state.repositories[name]["private"]
        self._send(200, {"id": name, "sha": oid, "private": private, "siblings": siblings, "tags": [], "downloads": 0})

    def _tree(self, path: str, body: bytes) -> None:
        name, revision = _parts(path, "tree")
        _, files = self._at(name, revision)
        self._send(200, [{"type": "file", "path": f, "size": len(c), "oid": _git_oid(c)} for f, c in files.items()])

    def _unknown(self, path: str, body: bytes) -> None:
        """Answer as a mirror that has no such route, that of Xet's token for one."""
        self._send(404, {"error": "Not found"})

    def _yaml(self, path: str, body: bytes) -> None:
        content = json.loads(body)["content"]
        whole = content.startswith("---\n") and "\n---\n" in content
        self._send(*((200, {"errors": [], "warnings": []}) if whole else (400, {"errors": [{"message": "no YAML"}]})))

    def _preupload(self, path: str, body: bytes) -> None:
        files = [
            {"path": each["path"], "uploadMode": "lfs" if each["size"] >= LARGE else "regular", "shouldIgnore": False}
            for each in json.loads(body)["files"]
        ]
        self._send(200, {"files": files})

    def _batch(self, path: str, body: bytes) -> None:
        objects = []
        for each in json.loads(body)["objects"]:
            upload = {"href": f"{self.state.url}/store/{each['oid']}"}
            there = each["oid"] in self.state.stored
            objects.append({**each, **({} if there else {"actions": {"upload": upload}})})
        self._send(200, {"transfer": "basic", "objects": objects})

    def _store(self, path: str, body: bytes) -> None:
        oid = path.rpartition("/")[2]
        if hashlib.sha256(body).hexdigest() != oid:
            self._send(400, {"error": "another content"})
            return
        self.state.stored[oid] = body
        self._send(200, {})

    def _commit(self, path: str, body: bytes) -> None:
        name, branch = _parts(path, "commit")
        oid, files = self.state.head(name, branch)
        files = dict(files)
        for line in map(json.loads, body.splitlines()):
            value = line["value"]
            if line["key"] == "header":
                self.state.messages.append(value["summary"])
            if line["key"] == "header" and value.get("parentCommit") not in (None, oid):
                self._send(412, {"error": "A commit has happened since. Please refresh and try again."})
                return
            if line["key"] == "file":
                files[value["path"]] = base64.b64decode(value["content"])
            elif line["key"] == "lfsFile":
                files[value["path"]] = self.state.stored[value["oid"]]
            elif line["key"] == "deletedFile":
                del files[value["path"]]
        new = self.state.commit(name, files, branch)
        if self.state.failures.get("answer"):  # of what is done
            self._send(self.state.failures["answer"].pop(0), {"error": "as the test wants it"})
            return
        self._send(200, {"commitUrl": f"{self.state.url}/{name}/commit/{new}", "commitOid": new})

    def _resolve(self, path: str, body: bytes) -> None:
        owner, name, _, revision, file = path.lstrip("/").split("/", 4)
        oid, files = self._at(f"{owner}/{name}", revision)
        if file not in files:
            self._send(404, {"error": "Entry not found"}, X_Error_Code="EntryNotFound", X_Repo_Commit=oid)
            return
        content = files[file]
        self._send(200, raw=content, ETag=f'"{_git_oid(content)}"', X_Repo_Commit=oid)

    def _at(self, name: str, revision: str) -> tuple[str, dict[str, bytes]]:
        branches = self.state.repositories[name]["branches"]
        if revision in branches:
            return self.state.head(name, revision)
        return next(commit for commits in branches.values() for commit in commits if commit[0] == revision)


def _kind(path: str) -> str:
    fixed = {"/api/repos/create": "create", "/api/validate-yaml": "yaml"}
    if path in fixed:
        return fixed[path]
    if path.startswith("/store/"):
        return "store"
    if path.endswith("/info/lfs/objects/batch"):
        return "batch"
    parts = path.strip("/").split("/")
    if parts[0] == "api":
        known = {"revision": "info", "branch": "branch", "preupload": "preupload", "commit": "commit", "tree": "tree"}
        return "info" if len(parts) == 4 else known.get("".join(parts[4:5]), "unknown")
    return "resolve"


def _parts(path: str, word: str) -> tuple[str, str]:
    """Return the repository and the revision of /api/models/OWNER/NAME/WORD/REVISION."""
    owner, name, *rest = path.removeprefix("/api/models/").split("/")
    return f"{owner}/{name}", rest[1] if len(rest) > 1 and rest[0] == word else "main"


def _git_oid(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
