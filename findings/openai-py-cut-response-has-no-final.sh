#!/usr/bin/env bash
# A streamed Responses answer that was cut by the token limit (it ends with response.incomplete), read by OpenAI's own helper.
# Guess: get_final_response() returns the response, with status "incomplete" and the text so far, as the chat helper's
# final completion does with finish_reason "length" where no parsing was asked for.
# Seen: openai 3.57.0 raises RuntimeError ("Didn't receive a `response.completed` event."): only response.completed counts. The
# events themselves, the text among them, are delivered before.
# Why it matters: a gateway that says truthfully that an answer is incomplete makes this helper fail; one that hides it does not.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check openai==3.57.0
"$folder/venv/bin/python" - <<'PYTHON'
import http.server
import json
import sys
import threading

HEAD = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "parallel_tool_calls": True,
        "tool_choice": "auto", "tools": [], "error": None, "instructions": None, "metadata": {}}
PART = {"type": "output_text", "text": "Half an ans", "annotations": []}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "incomplete", "content": [PART]}
CUT = {"status": "incomplete", "incomplete_details": {"reason": "max_output_tokens"}, "output": [ITEM]}
PLACE = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
EVENTS = [
    {"type": "response.created", "response": {**HEAD, "status": "in_progress", "incomplete_details": None, "output": []}},
    {"type": "response.output_item.added", "output_index": 0, "item": {**ITEM, "status": "in_progress", "content": []}},
    {"type": "response.content_part.added", **PLACE, "part": {**PART, "text": ""}},
    {"type": "response.output_text.delta", **PLACE, "delta": "Half an ans", "logprobs": []},
    {"type": "response.output_text.done", **PLACE, "text": "Half an ans", "logprobs": []},
    {"type": "response.content_part.done", **PLACE, "part": PART},
    {"type": "response.output_item.done", "output_index": 0, "item": ITEM},
    {"type": "response.incomplete", "response": {**HEAD, **CUT}},
]
BODY = "".join(f"event: {e['type']}\ndata: {json.dumps({**e, 'sequence_number': n})}\n\n" for n, e in enumerate(EVENTS))


class Server(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Content-Length", str(len(BODY)))
        self.end_headers()
        self.wfile.write(BODY.encode())

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
threading.Thread(target=server.serve_forever, daemon=True).start()

import openai

client = openai.OpenAI(api_key="k", base_url=f"http://127.0.0.1:{server.server_port}/v1", max_retries=0)
with client.responses.stream(model="m", input="q") as stream:
    text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    try:
        end = stream.get_final_response().status
    except Exception as error:
        end = f"{type(error).__name__}: {error}"
print("text:", text)
print("final response:", end)
sys.exit(not (text == "Half an ans" and end.startswith("RuntimeError")))
PYTHON
