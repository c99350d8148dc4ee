#!/usr/bin/env bash
# An embeddings answer whose rows are not in the order of the inputs (allowed: each row has an "index").
# Guess: the SDKs sort the rows by index, since they return bare vectors or a list that is read beside the inputs.
# Seen: mistralai 3.7.0, voyageai 0.5.0 and together 3.1.1 keep the order of arrival; voyageai returns bare vectors, so that
# the caller cannot even notice that the vectors of "a" and "b" are exchanged.
# Why it matters: a gateway that splits a batch and joins the answers as they arrive exchanges vectors without any error.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mistralai==3.7.0 voyageai==0.5.0 together==3.1.1
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import json
import sys
import threading

ROWS = [{"object": "embedding", "index": 1, "embedding": [2.0]}, {"object": "embedding", "index": 0, "embedding": [1.0]}]
BODY = json.dumps({"id": "e", "object": "list", "model": "m", "data": ROWS,
                   "usage": {"prompt_tokens": 2, "completion_tokens": 0, "total_tokens": 2}}).encode()


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()
url = f"http://127.0.0.1:{server.server_port}"

import together
import voyageai
from mistralai.client import Mistral

found = {
    "mistralai": [row.embedding for row in Mistral(api_key="k", server_url=url).embeddings.create(
        model="m", inputs=["a", "b"]).data],
    "voyageai": voyageai.Client(api_key="k", base_url=url).embed(["a", "b"], model="m").embeddings,
    "together": [row.embedding for row in together.Together(api_key="k", base_url=url).embeddings.create(
        model="m", input=["a", "b"]).data],
}
for name, vectors in found.items():
    print(name, vectors, "(sorted by index it would be [[1.0], [2.0]])")
sys.exit(any(vectors != [[2.0], [1.0]] for vectors in found.values()))
PYTHON
