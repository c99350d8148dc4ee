"""The model that an answer names to a Messages client: the requested one, also where the engine names none."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.support.crossings import Crossed, cross
from tests.support.field_cases import field_case
from tests.support.wires import WIRES

CLIENTS: Final[dict[str, dict[str, Any]]] = {
    "anthropic": {"messages": [{"role": "user", "content": "hi"}]},
    "chat": {"messages": [{"role": "user", "content": "hi"}]},
    "responses": {"input": "hi"},
    "ollama": {"messages": [{"role": "user", "content": "hi"}]},
}
SAME: Final = {("chat", "openai"), ("responses", "responses"), ("anthropic", "anthropic"), ("ollama", "ollama")}


def without_model(piece: bytes) -> bytes:
    for name in (b"modelVersion", b"model"):
        piece = piece.replace(b'"%b": "m", ' % name, b"").replace(b', "%b": "m"' % name, b"")
    return piece


def find_models(client: str, got: Crossed) -> set[object]:
    assert got.status == 200, got.raw
    if client == "anthropic":
        return {e["message"]["model"] for e in got.events if e.get("type") == "message_start"} or {got.json["model"]}
    if client == "responses":
        return {e["response"]["model"] for e in got.events if "response" in e} or {got.json["model"]}
    return {e["model"] for e in got.events if "choices" not in e or e["choices"]}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
async def test_cl_20_the_reported_answer(stream: bool) -> None:
    case = field_case("cl-20")
    body = {**case["request"]["body"], "stream": stream}
    events = case["provider_response"]["events"]
    pieces = [f"data: {json.dumps(event)}\n\n".encode() for event in events]
    got = await cross("anthropic", "google", body, whole=events[0], pieces=pieces)
    assert find_models("anthropic", got) == {body["model"]}


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("client", "engine"),
    [(c, e) for c in CLIENTS for e in WIRES if (c, e) not in SAME and (c, e) != ("responses", "openai")],
)
async def test_cl_20_an_engine_that_names_no_model(client: str, engine: str, stream: bool) -> None:
    wire = WIRES[engine]
    pieces = [without_model(piece) for piece in (wire.head, wire.delta("Hello"), wire.end)]
    whole = json.loads(without_model(json.dumps(wire.whole("Hello")).encode()))
    assert '"m"' not in json.dumps(whole) and b'"m"' not in b"".join(pieces)
    got = await cross(client, engine, {**CLIENTS[client], "stream": stream}, whole=whole, pieces=pieces)
    assert find_models(client, got) == {f"{engine}/m"}
