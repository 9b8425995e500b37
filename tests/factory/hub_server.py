"""A small hub on this machine: the part of the Hugging Face hub's interface that models need.

It keeps commits of small files in memory; the client is the real `huggingface_hub`.
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


class Hub:
    """Repositories by name, and those behind a gate; a space's name begins with `spaces/`."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()

    def commit(self, name: str) -> str:
        content = repr(sorted(self.repositories[name].items())).encode()
        return hashlib.sha1(content).hexdigest()


@contextmanager
def running_hub() -> Iterator[tuple[Hub, str]]:
    """Serve a hub; gives it and its address."""
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def log_message(self, *_: Any) -> None:
            pass

        def _answer(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            path = unquote(urlsplit(self.path).path)
            if path == "/api/repos/create":
                record = json.loads(body)
                name = "/".join(filter(None, (record.get("organization"), record["name"])))
                hub.repositories.setdefault(name, {})
                self._json({"url": f"{self._address()}/{name}", "name": name, "id": name})
            elif path == "/api/validate-yaml":
                self._json({"errors": [], "warnings": []})
            elif path.startswith("/api/models/") and path.endswith("/preupload/main"):
                files = json.loads(body)["files"]
                self._json({"files": [{"path": f["path"], "uploadMode": "regular",
                                       "shouldIgnore": False} for f in files]})  # fmt: skip
            elif path.startswith("/api/models/") and path.endswith("/commit/main"):
                name = path.removeprefix("/api/models/").removesuffix("/commit/main")
                for line in body.splitlines():
                    record = json.loads(line)
                    if record["key"] == "file":
                        value = record["value"]
                        content = base64.b64decode(value["content"])
                        hub.repositories[name][value["path"]] = content
                commit = hub.commit(name)
                url = f"{self._address()}/{name}/commit/{commit}"
                self._json({"commitUrl": url, "commitOid": commit, "success": True})
            elif path.startswith("/api/models/") and "/tree/" in path:
                files = hub.repositories[path.removeprefix("/api/models/").partition("/tree/")[0]]
                self._json([{"type": "file", "path": file, "size": len(content),
                             "oid": hashlib.sha1(content).hexdigest()}
                            for file, content in files.items()])  # fmt: skip
            elif path.startswith(("/api/models/", "/api/spaces/")):
                name = "/".join(path.split("/")[3:5])
                if path.startswith("/api/spaces/"):
                    name = f"spaces/{name}"
                if name not in hub.repositories:
                    self._missing("RepoNotFound")
                    return
                siblings = [{"rfilename": file, "size": len(content)}
                            for file, content in hub.repositories[name].items()]  # fmt: skip
                self._json({"id": name, "sha": hub.commit(name), "siblings": siblings})
            elif "/resolve/" in path:
                name, _, rest = path[1:].partition("/resolve/")
                if name in hub.gated:
                    self._missing("GatedRepo", status=403)
                    return
                content = hub.repositories.get(name, {}).get(rest.partition("/")[2])
                if content is None:
                    self._missing("EntryNotFound")
                    return
                self._send(content, {"X-Repo-Commit": hub.commit(name),
                                     "ETag": f'"{hashlib.sha1(content).hexdigest()}"'})  # fmt: skip
            else:
                self._missing("EntryNotFound")

        def _address(self) -> str:
            return f"http://{self.headers['Host']}"

        def _json(self, record: Any) -> None:
            self._send(json.dumps(record).encode(), {"Content-Type": "application/json"})

        def _missing(self, code: str, status: int = 404) -> None:
            self._send(b"{}", {"X-Error-Code": code}, status=status)

        def _send(self, content: bytes, headers: dict[str, str], status: int = 200) -> None:
            self.send_response(status)
            for key, value in headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub, f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
