"""Halves of surrogate pairs and errors in passed-through streams, over every dialect that is passed through."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final

import pytest

from llm.chat.events import PartEnded, ReasoningDelta, TextDelta
from llm.chat.filters import HalfPairFilter
from llm.dialects.registry import CLIENT_DIALECTS, ENGINE_DIALECTS
from llm.engines.engine import Engine
from llm.upstream.decoder import Decoder
from tests.support.relay import relay, sse
from tests.support.wires import WIRES

DIALECTS: Final = {
    "openai-chat": "openai",
    "openai-responses": "responses",
    "anthropic": "anthropic",
    "ollama": "ollama",
}
HELLO: Final = [{"role": "user", "content": "Hello"}]
REQUESTS: Final[dict[str, Any]] = {
    "native": {"engine": "e", "model": "m", "prompt": "Hello"},
    "openai-chat": {"model": "e/m", "messages": HELLO, "stream": True},
    "openai-responses": {"model": "e/m", "input": "Hello", "stream": True},
    "anthropic": {"model": "e/m", "messages": HELLO, "max_tokens": 10, "stream": True},
    "ollama": {"model": "e/m", "messages": HELLO},
}
HALF: Final = re.compile("[\ud800-\udfff]")


def texts(sent: bytes) -> list[str]:
    """All texts of a stream's events, as a client in Python decodes them."""
    found: list[str] = []

    def walk(value: Any) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, dict | list):
            for one in value.values() if isinstance(value, dict) else value:
                walk(one)

    for line in sent.splitlines():
        text = line.removeprefix(b"data: ")
        if text.startswith(b"{"):
            walk(json.loads(text))
    return found


@pytest.mark.parametrize("cut", ["one read each", "one read", "in the middle"])
@pytest.mark.parametrize("dialect", DIALECTS)
def test_half_a_surrogate_pair_waits_for_its_other_half(dialect: str, cut: str) -> None:
    wire = WIRES[DIALECTS[dialect]]
    deltas = ["Hi", " there ", "\ud83d", "\ude00 and \ud83d", "\ude80", " bye"]
    pieces = [wire.head, *map(wire.delta, deltas), wire.end]
    if cut == "one read":
        pieces = [b"".join(pieces)]
    elif cut == "in the middle":
        whole = b"".join(pieces)
        pieces = [whole[: len(whole) // 2], whole[len(whole) // 2 :]]
    out = relay(dialect, filter(None, pieces))
    assert out.failure is None
    found = texts(out.sent)
    assert not [text for text in found if HALF.search(text)]
    assert "Hi there 😀 and 🚀 bye" in "".join(text for text in found if text in "Hi there 😀 and 🚀 bye")


@pytest.mark.parametrize("dialect", DIALECTS)
def test_whole_pairs_and_escaped_backslashes_are_unchanged(dialect: str) -> None:
    wire = WIRES[DIALECTS[dialect]]
    pieces = [wire.head, *map(wire.delta, ["Hi", "😀", "\\ud83d", '"\\ude00', "\\\\", '"', "bye"]), wire.end]
    assert relay(dialect, filter(None, pieces)).sent == b"".join(pieces)


@pytest.mark.parametrize("client", CLIENT_DIALECTS)
@pytest.mark.parametrize("engine", WIRES)
def test_half_a_surrogate_pair_waits_when_translated(engine: str, client: str) -> None:
    wire = WIRES[engine]
    dialect = {"google": "gemini", "responses": "openai-responses", "openai": "openai-chat"}.get(engine, engine)
    writer = CLIENT_DIALECTS[client].create_writer(CLIENT_DIALECTS[client].read_request(REQUESTS[client]), 0)
    pieces = [wire.head, *map(wire.delta, ["Hi ", "there", "\ud83d", "\ude00\ud83d", "\ude80", " bye"]), wire.end]
    decoder = Decoder(ENGINE_DIALECTS[dialect], Engine(name="custom", label="Custom", dialect=dialect), 1 << 20)
    sent = b"".join(out for piece in filter(None, pieces) for out in writer.feed(decoder.feed(piece)))
    sent += b"".join(writer.feed(decoder.close())) if not decoder.done else b""
    found = texts(sent)
    assert not [text for text in found if HALF.search(text)]
    assert "😀" in "".join(found) and "🚀" in "".join(found)


def test_a_half_that_stays_alone_becomes_a_replacement_character() -> None:
    halves = HalfPairFilter()
    assert halves.feed([TextDelta(0, "a\ud83d")]) == [TextDelta(0, "a")]
    assert halves.feed([TextDelta(1, "b"), TextDelta(0, "c")]) == [TextDelta(1, "b"), TextDelta(0, "\ufffdc")]
    assert halves.feed([ReasoningDelta(2, "\ud83d"), PartEnded(2)]) == [ReasoningDelta(2, "\ufffd"), PartEnded(2)]
    assert halves.feed([TextDelta(3, "")]) == [TextDelta(3, "")]


# --- errors ---


def flat(sent: Sequence[bytes]) -> bytes:
    return b"".join(sent)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_an_error_in_the_dialects_own_form_is_enough(dialect: str) -> None:
    wire = WIRES[DIALECTS[dialect]]
    ends = [wire.error]
    if dialect == "openai-responses":
        failed = {"id": "resp_1", "status": "failed", "error": {"code": "server_error", "message": "It broke."}}
        end = flat(sse({"type": "response.failed", "response": failed}, event="response.failed"))
        ends += [end, wire.error + end, flat(sse({"error": {"message": "It broke."}})) + end]
    for error in ends:
        out = relay(dialect, filter(None, [wire.head, wire.delta("Hi"), error]))
        assert out.failure is None
        assert out.sent == wire.head + wire.delta("Hi") + error


@pytest.mark.parametrize(
    ("dialect", "frame"),
    [
        ("openai-responses", flat(sse({"error": {"message": "It broke.", "type": None, "code": "500"}}))),
        ("openai-responses", flat(sse({"error": {"message": "It broke."}}, "[DONE]"))),
        ("anthropic", flat(sse({"error": {"message": "It broke.", "type": "api_error"}}))),
        ("anthropic", flat(sse({"type": "error", "error": {"message": "It broke.", "type": "api_error"}}))),
    ],
)
def test_an_error_in_another_form_is_followed_by_the_dialects_own(dialect: str, frame: bytes) -> None:
    """codex-prints-nothing: only ``response.failed`` and ``response.completed`` end a response there."""
    wire = WIRES[DIALECTS[dialect]]
    for pieces in ([wire.head, wire.delta("Hi"), frame], [wire.head + wire.delta("Hi") + frame]):
        out = relay(dialect, pieces)
        assert out.failure is not None and out.failure.message == "It broke."
        assert out.sent == flat(pieces).replace(b"data: [DONE]\n\n", b"")
