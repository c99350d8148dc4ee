"""Requests of OpenAI Responses clients, for tests."""

from __future__ import annotations

from typing import Any

from llm.chat.request import ChatRequest
from llm.dialects import openai_responses
from llm.dialects.base import ClientDialect

CLIENT: ClientDialect = openai_responses


def read(**body: Any) -> ChatRequest:
    return CLIENT.read_request({"model": "m", **body})
