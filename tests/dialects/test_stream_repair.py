"""Halves of surrogate pairs and errors in passed-through streams, over every dialect that is passed through."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

import pytest

from llm.chat.events import PartEnded, ReasoningDelta, TextDelta
from llm.chat.filters import HalfPairFilter
from llm.chat.reply import collect
from llm.dialects.registry import CLIENT_DIALECTS, ENGINE_DIALECTS
from llm.engines.engine import Engine
from llm.upstream.decoder import Decoder
from tests.support.recordings import recordings
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
    "gemini": {"model": "e/m", "contents": [{"parts": [{"text": "Hello"}]}], "stream": True},
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


# --- every recorded stream ---


def read(dialect: str, raw: bytes) -> Any:
    """What the dialect's reader makes of a stream, without ids that it makes up; an error as its text."""
    decoder = Decoder(ENGINE_DIALECTS[dialect], Engine(name="custom", label="Custom", dialect=dialect), 1 << 24)
    events = [*decoder.feed(raw)]
    events += [] if decoder.done or decoder.failure else decoder.close()
    if decoder.failure is not None:
        return str(decoder.failure)
    reply = collect(events)
    calls = [(call.name, call.arguments) for call in reply.calls]
    reason = "stop" if reply.finish.reason == "other" else reply.finish.reason  # clients get a word that they know
    return reply.text, reply.reasoning, calls, reason, reply.usage


PATH_OF: Final = {"/chat/completions": "openai-chat", "/responses": "openai-responses", "/messages": "anthropic"}


def recorded_streams() -> Iterator[tuple[str, str, bytes]]:
    for recording in recordings():
        for number, (request, response) in enumerate(recording.exchanges):
            path = request.path.partition("?")[0]
            dialect = next((name for end, name in PATH_OF.items() if path.endswith(end)), None)
            raw = response.body if isinstance(response.body, bytes) else response.body.encode()
            if dialect and 200 <= response.status < 300 and raw.lstrip().startswith((b"data:", b"event:", b":")):
                yield f"{recording.name}#{number}", dialect, raw


def without_rest(raw: bytes) -> bytes:
    """What comes before ``[DONE]``, which is not read after the end event of the Responses dialect."""
    raw = re.sub(rb"chatcmpl-[0-9a-f]{24}", b"made up", raw)
    return raw.rstrip().removesuffix(b"data: [DONE]").rstrip()


def test_recorded_streams_say_the_same_after_the_repair() -> None:
    """Each repaired stream reads as it was; finish reason and usage come once, however the bytes are cut."""
    changed: list[str] = []
    count = 0
    for name, dialect, raw in recorded_streams():
        out = relay(dialect, [raw])
        if out.failure is not None:  # nothing came, and no finish reason
            assert read(dialect, raw)[3] == "error", name
            continue
        assert read(dialect, out.sent) == read(dialect, raw), name
        cut = relay(dialect, [raw[n : n + 97] for n in range(0, len(raw), 97)]).sent
        assert without_rest(cut) == without_rest(out.sent), name
        count += 1
        if out.sent.rstrip() != raw.rstrip():
            changed.append(name)
            assert dialect == "openai-chat", name
        if dialect == "openai-chat":
            chunks = [one for one in out.objects if isinstance(one, dict)]
            choices = [choice for one in chunks for choice in one.get("choices") or () if choice.get("finish_reason")]
            assert len(choices) == len({choice.get("index") for choice in choices}), name
            usages = [json.dumps(one["usage"], sort_keys=True) for one in chunks if one.get("usage")]
            assert len(usages) == len({*usages}), name
    print(f"recorded streams: {count}, repaired: {len(changed)}")
    assert count
