"""Helpers for tests of the Chat Completions engine dialect."""

from __future__ import annotations

import json
from typing import Any

from llm.chat.request import ChatRequest
from llm.dialects import openai_chat
from llm.engines.engine import Engine

HOST = Engine(name="host", label="Host", dialect="openai-chat", base_url="https://host.example/v1")


def write_body(request: ChatRequest, engine: Engine = HOST) -> Any:
    return json.loads(json.dumps(openai_chat.write_request(request, engine).body))
