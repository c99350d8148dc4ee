#!/usr/bin/env bash
# What the Voyage SDK sends for embed(["a"], model=...) and rerank(...), nothing else being set.
# Guess: input and model alone, as other SDKs leave out what was not set; vectors as JSON numbers.
# Seen: voyageai 0.5.0 writes every optional field as null (input_type, output_dtype, output_dimension; top_k) and asks for
# encoding_format "base64"; the user reads lists of floats either way.
# Why it matters: a gateway that checks fields by their type refuses each of these requests, and one that always answers with
# numbers is read all the same, at three times the size.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check voyageai==0.5.0
"$folder/venv/bin/python" - <<'PYTHON'
import base64
import http.server
import json
import struct
import sys
import threading

requests = []
VECTOR = base64.b64encode(struct.pack("<2f", 1.0, 2.0)).decode()
ANSWERS = {
    "/embeddings": [{"object": "embedding", "index": 0, "embedding": VECTOR}],
    "/rerank": [{"index": 0, "relevance_score": 0.5}],
}


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        requests.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        answer = {"object": "list", "model": "m", "data": ANSWERS[self.path], "usage": {"total_tokens": 1}}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()

import voyageai

client = voyageai.Client(api_key="k", base_url=f"http://127.0.0.1:{server.server_port}")
vectors = client.embed(["a"], model="m").embeddings
client.rerank("q", ["a"], model="m")
print("sent:", *requests, sep="\n  ")
print("read:", vectors)
nulls = [sorted(name for name, value in request.items() if value is None) for request in requests]
seen = nulls == [["input_type", "output_dimension", "output_dtype"], ["top_k"]]
sys.exit(not (seen and requests[0]["encoding_format"] == "base64" and [list(v) for v in vectors] == [[1.0, 2.0]]))
PYTHON
