"""A Hub of our own: as much of Hugging Face's protocol as its client asks for, on this machine."""

import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Answers(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in {
            "Content-Length": len(body),
            "X-Repo-Commit": COMMIT,
            **headers,
        }.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def json(self, facts):
        self.answer(200, json.dumps(facts).encode(), Content_Type="application/json")

    def gone(self, code):
        self.answer(404 if code != "GatedRepo" else 403, X_Error_Code=code, X_Error_Message=code)

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        if asked := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/auth-check", path):
            return self.gone("GatedRepo") if asked[1] in self.server.gated else self.json({})
        if about := re.fullmatch(
            r"/api/(?:datasets|models)/([^/]+/[^/]+?)(?:/revision/(.+))?", path
        ):
            repo, revision = about[1], about[2] or "main"
            if new := self.server.moved.get(repo):
                return self.answer(307, Location=self.path.replace(repo, new))
            if repo not in self.server.repos:
                return self.gone("RepoNotFound")
            if revision not in (COMMIT, *self.server.repos[repo]):
                return self.gone("RevisionNotFound")
            files = self.server.repos[repo].get(revision) or self.server.repos[repo]["main"]
            return self.json(
                {
                    "id": repo,
                    "sha": COMMIT,
                    "siblings": [{"rfilename": p, "size": len(b)} for p, b in files.items()],
                }
            )
        if tree := re.fullmatch(r"/api/(?:datasets|models)/([^/]+/[^/]+)/tree/[^/]+/?(.*)", path):
            files = next(iter(self.server.repos[tree[1]].values()))
            inside = [p for p in files if p.startswith(tree[2])]
            return self.json([facts(p, files[p]) for p in inside])
        wanted = re.fullmatch(r"/(?:datasets/)?([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path)
        if wanted is None:
            return self.gone("EntryNotFound")
        repo, _, name = wanted.groups()
        if repo in self.server.gated:
            return self.gone("GatedRepo")
        body = next(files[name] for files in self.server.repos[repo].values() if name in files)
        headers = {"ETag": f'"{sha1(body)}"', "Accept-Ranges": "bytes"}
        if asked := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            first, last = int(asked[1]), min(int(asked[2] or len(body)), len(body) - 1)
            headers["Content-Range"] = f"bytes {first}-{last}/{len(body)}"
            self.server.served += last + 1 - first
            return self.answer(206, body[first : last + 1], **headers)
        if self.command == "GET":
            self.server.served += len(body)
        self.answer(200, body, **headers)


def facts(path, body):
    return {"type": "file", "path": path, "size": len(body), "oid": sha1(body)}


def sha1(body):
    return hashlib.sha1(body).hexdigest()


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A server whose `repos` {"owner/name": {"main": {path: bytes}}} the Hub's client sees.

    `asked` is what was asked of it, `served` how many bytes of files it gave, `gated` are the
    repositories whose files it keeps back, `moved` leads from old names to new ones.
    """
    constants = pytest.importorskip("huggingface_hub.constants")
    from huggingface_hub import HfFileSystem

    HfFileSystem.clear_instance_cache()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    server.repos, server.asked, server.served = {}, [], 0
    server.gated, server.moved = set(), {}
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    here = f"http://127.0.0.1:{server.server_port}"
    template = constants.HUGGINGFACE_CO_URL_TEMPLATE.replace(constants.ENDPOINT, here)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(constants, "ENDPOINT", here)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    yield server
    server.shutdown()
