#!/usr/bin/env bash
# A chat answer of an OpenAI-compatible server, read by Mistral's own SDK: an unknown finish_reason, and no usage.
# Guess: the unknown finish_reason is refused (the type is an enumeration), a missing usage is None.
# Seen: mistralai 3.7.0 does the opposite: the unknown word is returned as it is, and an answer without usage raises
# ResponseValidationError after it has arrived whole, text included.
# Why it matters: a gateway in front of local servers, which often leave usage out, has to write one (an estimate) for these users.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check mistralai==3.7.0
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import json
import sys
import threading

USAGE = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
answer = {}


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
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

from mistralai.client import Mistral

client = Mistral(api_key="k", server_url=f"http://127.0.0.1:{server.server_port}")


def ask(finish, usage):
    answer.clear()
    choice = {"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": "hi"}}
    answer.update(id="x", object="chat.completion", model="m", created=1, choices=[choice], **usage)
    try:
        return client.chat.complete(model="m", messages=[{"role": "user", "content": "q"}]).choices[0].finish_reason
    except Exception as error:
        return type(error).__name__


strange, without = ask("eos_token", {"usage": USAGE}), ask("stop", {})
print("finish_reason eos_token:", strange)
print("no usage:", without)
sys.exit((strange, without) != ("eos_token", "ResponseValidationError"))
PYTHON
