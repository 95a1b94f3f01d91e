#!/usr/bin/env bash
# huggingface_hub: three uploads that end in an exception nobody catches.
#
# Versions: huggingface_hub 2.4.0, hf-xet 1.8.0.
# Measured: 2026-11, Python 3.11, Linux, x86-64 with AVX-512 VNNI.
# Expected: the upload to a mirror or through a gateway fails with an HfHubHTTPError, which programs catch; without a
# route for Xet's tokens the LFS route is taken, which the same server offers. Its own warnings concern its authors.
# Seen: the answer to the check of README.md is parsed as JSON before its status is looked at, so a gateway's page of
# HTML is a JSONDecodeError. Without Xet's route large files are a ConnectionError; they go through once Xet is switched
# off by hand. The LFS upload calls its own HTTP client in a deprecated way: where warnings are errors, none succeeds.
#
#   huggingface_hub 2.4.0, hf-xet 1.8.0
#   guess: a gateway's error is an HfHubHTTPError wherever it comes; without Xet's route, LFS is used
#   all is well                    uploaded
#   502 at the commit              HfHubHTTPError 502
#   502 at the card's check        JSONDecodeError
#   weights, no Xet route          ConnectionError
#   weights, Xet disabled          uploaded
#   the same, warnings are errors  RuntimeError, from DeprecationWarning
#
# Matters to: whoever retries or reports failed uploads, keeps models on a mirror of one's own (set
# HF_HUB_DISABLE_XET=1), or tests with `-W error`.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
"${PYTHON:-python3}" -m venv venv
venv/bin/python -m pip install --quiet --disable-pip-version-check huggingface_hub==2.4.0 hf-xet==1.8.0
HF_HOME="$folder" HF_HUB_DISABLE_PROGRESS_BARS=1 venv/bin/python - <<'PYTHON'
import json
import threading
import time
import warnings
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version

CARD = b"---\nlicense: mit\n---\n# A model\n"
WEIGHTS = bytes(30_000)
LARGE = 20_000
broken = ""


class Mirror(BaseHTTPRequestHandler):
    """As much of the hub as a commit takes; it has LFS, and no route of Xet."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments):
        """Log nothing."""

    def answer(self):
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if broken and broken in self.path:
            return self.send(502, b"<html><body>Bad gateway</body></html>", "text/html")
        if self.path.endswith("/validate-yaml"):
            return self.send(200, {"warnings": [], "errors": []})
        if "/preupload/" in self.path:
            modes = [(f["path"], "lfs" if f["size"] > LARGE else "regular") for f in json.loads(body)["files"]]
            return self.send(200, {"files": [{"path": p, "uploadMode": m, "shouldIgnore": False} for p, m in modes]})
        if self.path.endswith("/info/lfs/objects/batch"):
            objects = [
                {**each, "actions": {"upload": {"href": f"{url}/store/{each['oid']}"}}}
                for each in json.loads(body)["objects"]
            ]
            return self.send(200, {"transfer": "basic", "objects": objects})
        if self.path.startswith("/store/"):
            return self.send(200, {})
        if "/commit/" in self.path:
            return self.send(200, {"commitOid": "0" * 40, "commitUrl": f"{url}/me/model/commit/{'0' * 40}"})
        return self.send(404, {"error": "Not found"})

    do_GET = do_POST = do_PUT = do_HEAD = answer

    def send(self, status, content, kind="application/json"):
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


server = ThreadingHTTPServer(("127.0.0.1", 0), Mirror)
url = f"http:{'//'}127.0.0.1:{server.server_port}"
threading.Thread(target=server.serve_forever, daemon=True).start()

from huggingface_hub import CommitOperationAdd, HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

print(f"huggingface_hub {version('huggingface_hub')}, hf-xet {version('hf-xet')}")
print("guess: a gateway's error is an HfHubHTTPError wherever it comes; without Xet's route, LFS is used")
api = HfApi(endpoint=url, token="hf_any")


def push(name, content):
    """Commit one file; return what became of it."""
    start = time.monotonic()
    try:
        api.create_commit("me/model", [CommitOperationAdd(name, content)], commit_message="one")
    except Exception as error:
        assert time.monotonic() - start < 60
        if isinstance(error, HfHubHTTPError):
            return f"HfHubHTTPError {error.response.status_code}"
        cause = f", from {type(error.__cause__).__name__}" if error.__cause__ else ""
        return f"{type(error).__name__}{cause}"
    return "uploaded"


seen = {"all is well": push("README.md", CARD)}
broken = "/commit/"
seen["502 at the commit"] = push("README.md", CARD)
broken = "/validate-yaml"
seen["502 at the card's check"] = push("README.md", CARD)
broken = ""
seen["weights, no Xet route"] = push("model.bin", WEIGHTS)
constants.HF_HUB_DISABLE_XET = True
seen["weights, Xet disabled"] = push("model.bin", WEIGHTS)
with warnings.catch_warnings():
    warnings.simplefilter("error")
    seen["the same, warnings are errors"] = push("model.bin", WEIGHTS)
for name, outcome in seen.items():
    print(f"{name:30} {outcome}")
known = [
    "uploaded",
    "HfHubHTTPError 502",
    "JSONDecodeError",
    "ConnectionError",
    "uploaded",
    "RuntimeError, from DeprecationWarning",
]
raise SystemExit(0 if list(seen.values()) == known else "the behaviour is no longer so")
PYTHON
