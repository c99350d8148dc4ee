"""Requests of Chat Completions clients, for tests."""

from __future__ import annotations

from typing import Any

from llm.chat.request import ChatRequest
from llm.dialects import openai_chat


def read(*messages: Any, **more: Any) -> ChatRequest:
    return openai_chat.read_request({"model": "e/m", "messages": [*messages], **more})
