"""A stand-in for the model hub: a local server that takes what a real upload sends, and keeps the files."""

import hashlib
import json
import re
import threading
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class StubHub:
    """What was created and uploaded."""

    def __init__(self, *, refuses: bool = False) -> None:
        self.refuses = refuses
        self.created: list[dict[str, object]] = []
        self.files: dict[str, bytes] = {}
        self.objects: dict[str, bytes] = {}
        self.url = ""


@contextmanager
def stub_hub(*, refuses: bool = False) -> Iterator[StubHub]:
    """A hub on a free port of this machine."""
    hub = StubHub(refuses=refuses)

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.url = f"http://127.0.0.1:{server.server_port}"
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    state: StubHub

    def do_POST(self) -> None:
        body = self._body()
        if self.state.refuses:
            return self._answer({"error": "You are not allowed to do this"}, status=403)
        if self.path == "/api/repos/create":
            self.state.created.append(json.loads(body))
            return self._answer({"url": f"{self.state.url}/org/name"})
        if self.path == "/api/validate-yaml":
            return self._answer({"errors": [], "warnings": []})
        if "/preupload/" in self.path:
            files = [
                {"path": f["path"], "uploadMode": "lfs" if f["path"].endswith(".safetensors") else "regular"}
                for f in json.loads(body)["files"]
            ]
            return self._answer({"files": [{**f, "shouldIgnore": False} for f in files]})
        if self.path.endswith("/info/lfs/objects/batch"):
            return self._answer({"transfer": "basic", "objects": [self._lfs(o) for o in json.loads(body)["objects"]]})
        if "/commit/" in self.path:
            return self._commit([json.loads(line) for line in body.splitlines()])
        return self._answer({"error": f"no such place: {self.path}"}, status=404)

    def do_PUT(self) -> None:
        body = self._body()
        assert hashlib.sha256(body).hexdigest() == self.path.rpartition("/")[2]
        self.state.objects[self.path.rpartition("/")[2]] = body
        self._answer({})

    def do_GET(self) -> None:
        self._answer({"id": "org/name", "sha": "0" * 40, "siblings": [], "private": True})

    def _lfs(self, wanted: dict[str, object]) -> dict[str, object]:
        upload = {"href": f"{self.state.url}/objects/{wanted['oid']}", "header": {}}
        return {**wanted, "actions": {"upload": upload}}

    def _commit(self, lines: list[dict[str, dict[str, str]]]) -> None:
        for line in lines:
            value = line["value"]
            if line["key"] == "file":
                self.state.files[value["path"]] = b64decode(value["content"])
            elif line["key"] == "lfsFile":
                self.state.files[value["path"]] = self.state.objects[value["oid"]]
        url = f"{self.state.url}/org/name/commit/{'0' * 40}"
        self._answer({"commitUrl": url, "commitOid": "0" * 40, "pullRequestUrl": None})

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, content: object, status: int = 200) -> None:
        data = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:
        assert re.match(r"\S", format)  # nothing on the screen
