"""Helpers for tests of the OpenAI Responses engine dialect."""

from __future__ import annotations

from typing import Any

from llm.chat.messages import Message, Text
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses as wire
from llm.engines.engine import Engine

ENGINE = Engine(name="maker", label="Maker", dialect="openai-responses", base_url="https://maker.example/v1")
HELLO = Message("user", (Text("Hello"),))


def own(**fields: Any) -> Metadata:
    return (ProviderMetadata(wire.NAME, ENGINE.issuer, fields),)


def write_body(*messages: Message, engine: Engine = ENGINE, **fields: Any) -> dict[str, Any]:
    outgoing = wire.write_request(ChatRequest(model="m", messages=messages or (HELLO,), **fields), engine)
    assert (outgoing.path, outgoing.method) == ("/responses", "POST")
    return dict(outgoing.body or {})


def write_items(*messages: Message, **fields: Any) -> Any:
    return write_body(*messages, **fields)["input"]
