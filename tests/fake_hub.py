"""A hub of one machine: as much of the Hugging Face hub's interface as pushing and fetching need."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote


class FakeHub:
    """Repositories: name -> branch -> path -> content. `token`: what a writer has to send."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, dict[str, bytes]]] = {}
        self.private: dict[str, bool] = {}
        self.token = "secret"
        self.messages: list[str] = []
        self.asked: list[str] = []
        self.url = ""


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

        def _send(self, value: Any, code: int = 200, headers: dict[str, str] | None = None) -> None:
            body = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(code)
            for name, text in (headers or {}).items():
                self.send_header(name, text)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def _refuse(self, code: int, kind: str, text: str) -> None:
            self._send({"error": text}, code, {"X-Error-Code": kind, "X-Error-Message": text})

        def _body(self) -> bytes:
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def do_POST(self) -> None:
            body, parts = self._body(), unquote(self.path).split("?")[0].strip("/").split("/")
            hub.asked.append(f"POST {self.path}")
            if self.path == "/api/validate-yaml":
                self._send({"errors": [], "warnings": []})
                return
            if self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._refuse(401, "", "Invalid username or password.")
                return
            if parts[:3] == ["api", "repos", "create"]:
                asked = json.loads(body)
                name = f"{asked.get('organization') or 'me'}/{asked['name']}"
                if name in hub.repositories:
                    self._send({"error": "exists", "url": f"{hub.url}/{name}"}, 409)
                    return
                hub.repositories[name] = {"main": {}}
                hub.private[name] = bool(asked.get("private")) or asked.get("visibility") == "private"
                self._send({"url": f"{hub.url}/{name}", "name": name, "id": name})
                return
            name, what = "/".join(parts[2:4]), parts[4]
            branch = parts[5] if len(parts) > 5 else "main"
            if what == "branch":
                hub.repositories[name].setdefault(branch, dict(hub.repositories[name]["main"]))
                self._send({})
            elif what == "preupload":
                files = [
                    {"path": f["path"], "uploadMode": "regular", "shouldIgnore": False}
                    for f in json.loads(body)["files"]
                ]
                self._send({"files": files})
            elif what == "commit":
                self._commit(name, branch, body)
            else:
                self._refuse(404, "", f"no {what}")

        def _commit(self, name: str, branch: str, body: bytes) -> None:
            for line in map(json.loads, body.splitlines()):
                value = line["value"]
                if line["key"] == "header":
                    hub.messages.append(value["summary"])
                elif line["key"] == "file":
                    content = base64.b64decode(value["content"])
                    hub.repositories[name][branch][value["path"]] = content
            commit = _commit_of(hub.repositories[name][branch])
            url = f"{hub.url}/{name}/commit/{commit}"
            self._send({"success": True, "commitOid": commit, "commitUrl": url})

        def do_GET(self) -> None:
            hub.asked.append(f"{self.command} {self.path}")
            parts = unquote(self.path).split("?")[0].strip("/").split("/")
            is_api = parts[0] == "api"
            name = "/".join(parts[2:4] if is_api else parts[:2])
            if is_api and parts[1] == "whoami-v2":
                self._send({"name": "me", "type": "user", "orgs": []})
                return
            allowed = self.headers.get("Authorization") == f"Bearer {hub.token}"
            if name not in hub.repositories or (hub.private[name] and not allowed):
                self._refuse(404, "RepoNotFound", "Repository not found")
                return
            rest = parts[4:] if is_api else parts[2:]
            branch = rest[1] if len(rest) > 1 else "main"
            by_commit = {_commit_of(files): files for files in hub.repositories[name].values()}
            files = hub.repositories[name].get(branch) or by_commit.get(branch)
            if files is None:
                self._refuse(404, "RevisionNotFound", f"Invalid rev id: {branch}")
                return
            if is_api:
                siblings = [{"rfilename": path} for path in files]
                found = {"_id": name, "id": name, "sha": _commit_of(files), "siblings": siblings}
                self._send([_entry(p, c) for p, c in files.items()] if rest[0] == "tree" else found)
                return
            content = files.get("/".join(rest[2:]))
            if content is None:
                self._refuse(404, "EntryNotFound", "Entry not found")
                return
            tag = f'"{hashlib.sha1(content).hexdigest()}"'
            self._send(content, headers={"ETag": tag, "X-Repo-Commit": _commit_of(files)})

        do_HEAD = do_GET

    return Handler


def _entry(path: str, content: bytes) -> dict[str, Any]:
    oid = hashlib.sha1(content).hexdigest()
    return {"type": "file", "path": path, "size": len(content), "oid": oid}


def _commit_of(files: dict[str, bytes]) -> str:
    digest = hashlib.sha1()
    for path, content in sorted(files.items()):
        digest.update(path.encode() + content)
    return digest.hexdigest()


@contextmanager
def serve() -> Iterator[FakeHub]:
    """A hub that answers until the block ends."""
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
