"""Helpers for tests of the OpenAI Responses engine dialect."""

from __future__ import annotations

from typing import Any

from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import Keep, Opaque
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses as wire
from llm.engines.engine import Engine

ENGINE = Engine(name="maker", label="Maker", dialect="openai-responses", base_url="https://maker.example/v1")
HELLO = Message("user", (Text("Hello"),))


def own(**fields: Any) -> Keep:
    return (Opaque(wire.NAME, ENGINE.issuer, fields),)


def body_of(*messages: Message, engine: Engine = ENGINE, **fields: Any) -> dict[str, Any]:
    outgoing = wire.write_request(ChatRequest(model="m", messages=messages or (HELLO,), **fields), engine)
    assert (outgoing.path, outgoing.method) == ("/responses", "POST")
    return dict(outgoing.body or {})


def items_of(*messages: Message, **fields: Any) -> Any:
    return body_of(*messages, **fields)["input"]
