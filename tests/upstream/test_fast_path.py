"""The fast path: it returns what decoding would return, and it handles only events that match the template."""

from __future__ import annotations

import asyncio
import json
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.chat.events import Event, PartEnded, ReasoningDelta, TextDelta
from llm.dialects.openai_common import VOLATILE_FIELDS
from llm.upstream.fast_path import DeltaTemplate
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.lanes import compared_events
from tests.support.wires import CLIENTS, WIRES

TEXTS = ["Hel", "lo", ' "quoted"', "\n\n", "\\", "Grüße 🦊", "\u2028", "stop", "0", '"}}]}', "data: x", " end"]
texts = st.text(min_size=1, max_size=20)


def event_of(text: str, *, ascii_: bool = True, **more: Any) -> bytes:
    wire = {"id": "c1", "choices": [{"index": 0, "delta": {"content": text, **more}, "finish_reason": None}]}
    return f"data: {json.dumps(wire, ensure_ascii=ascii_)}\n\n".encode(errors="surrogatepass")


@given(texts, st.lists(texts, min_size=1, max_size=5), st.booleans(), st.booleans(), st.integers(0, 60))
def test_matching_events_are_read_and_an_incomplete_event_is_left(
    first: str, then: list[str], learnt_ascii: bool, read_ascii: bool, cut: int
) -> None:
    template = DeltaTemplate()
    template.learn(event_of(first, ascii_=learnt_ascii), [TextDelta(3, first)])
    whole = b"".join(event_of(text, ascii_=read_ascii) for text in then)
    half = event_of("half")[:cut]
    delta, taken = template.read(whole + half)
    if first in ("c1", "id", "choices", "index", "delta", "content", "finish_reason"):
        return  # the text occurs twice in its event: no template
    assert delta == TextDelta(3, "".join(then))
    assert taken == len(whole)


@given(st.lists(texts, min_size=1, max_size=3), st.booleans())
def test_matching_events_without_escapes_are_not_decoded(texts: list[str], ascii_: bool) -> None:
    template = DeltaTemplate()
    template.learn(event_of("first"), [TextDelta(3, "first")])
    read = b"".join(event_of(text, ascii_=ascii_) for text in texts)
    plain = "".join(texts)
    with patch.object(DeltaTemplate, "_decode_texts", return_value=""):
        known = b"\\" not in read and plain.isprintable()
        assert template.read(read) == ((TextDelta(3, plain), len(read)) if known else (None, 0))
        assert template.read(read[1:]) == (None, 0)


@pytest.mark.parametrize(
    "other",
    [
        event_of("x", role="assistant"),
        event_of("x").replace(b"null", b'"stop"'),
        event_of("x").replace(b"c1", b"c2"),
        event_of("x").replace(b'"x"', b"null"),
        event_of("x").replace(b'"x"', b'"x","y":"z"'),
        event_of("x").replace(b'"x"', b'"x'),
        event_of("x").replace(b'"x"', b'"\\q"'),
        event_of("x").replace(b'"x"', b'"\xff"'),
        event_of("x").replace(b'"x"', b'"\n"'),
        event_of("x").replace(b'"x"', b'""'),
        event_of("x").replace(b"\n\n", b"\r\n\r\n"),
        b": comment\n\n",
        b"data: [DONE]\n\n",
        b"\n\n",
        b"",
        event_of("x")[:-1],
    ],
)
def test_any_other_event_is_decoded(other: bytes) -> None:
    template = DeltaTemplate()
    template.learn(event_of("a"), [TextDelta(0, "a")])
    assert template.read(event_of("b") + other)[0] in (None, TextDelta(0, "b"))
    assert template.read(other + event_of("b"))[0] is None or other in (b"", event_of(""))
    assert template.read(other) == (None, 0)


@pytest.mark.parametrize(
    ("read", "events"),
    [
        (event_of("a"), []),
        (event_of("a"), [PartEnded(0)]),
        (event_of("a"), [TextDelta(0, "a"), PartEnded(0)]),
        (event_of("a"), [TextDelta(0, "other")]),
        (event_of("c1"), [TextDelta(0, "c1")]),
        (event_of("a") + event_of("b"), [TextDelta(0, "ab")]),
        (event_of("a")[:-1], [TextDelta(0, "a")]),
        (b"", [TextDelta(0, "a")]),
    ],
)
def test_an_ambiguous_event_is_not_learnt(read: bytes, events: list[Event]) -> None:
    template = DeltaTemplate()
    template.learn(event_of("a"), [TextDelta(0, "a")])
    template.learn(read, events)
    assert template.read(event_of("b")) == (None, 0)


def event_with_filler(text: str, number: int, filler: str, **more: Any) -> bytes:
    """An event as OpenAI's Responses API sends it; Chat Completions has the filler only."""
    wire = {"sequence_number": number, "delta": text, "logprobs": [], "obfuscation": filler, **more}
    return f"event: response.output_text.delta\ndata: {json.dumps(wire, separators=(',', ':'))}\n\n".encode()


words = st.text("abcABC019", max_size=12)


@given(
    texts, words, st.lists(st.tuples(texts, st.integers(0, 10**6), words), min_size=1, max_size=5), st.integers(0, 90)
)
def test_members_that_the_reader_ignores_may_differ(
    first: str, filler: str, then: list[tuple[str, int, str]], cut: int
) -> None:
    template = DeltaTemplate(VOLATILE_FIELDS)
    template.learn(event_with_filler(first, 1, filler), [TextDelta(0, first)])
    whole = b"".join(event_with_filler(*one) for one in then)
    half = event_with_filler("half", 7, "x")[:cut]
    if event_with_filler(first, 1, "").count(json.dumps(first).encode()) != 1:  # "delta", or ":"
        return
    texts = "".join(text for text, _, _ in then)
    assert template.read(whole + half) == (TextDelta(0, texts), len(whole))
    assert template.read(event_with_filler("a", 2, "b", error={})) == (None, 0)
    assert DeltaTemplate().read(whole) == (None, 0)


@pytest.mark.parametrize(
    "text", ['"obfuscation":"a"', '\\"sequence_number":7', 'x","obfuscation":"y', '","sequence_number":3,"delta":"']
)
def test_a_text_that_looks_like_an_ignored_member_stays_text(text: str) -> None:
    template = DeltaTemplate(VOLATILE_FIELDS)
    template.learn(event_with_filler("a", 1, "b"), [TextDelta(0, "a")])
    assert template.read(event_with_filler(text, 2, "c")) == (TextDelta(0, text), len(event_with_filler(text, 2, "c")))
    template.learn(event_with_filler(text, 1, "b"), [TextDelta(0, text)])
    assert template.read(event_with_filler("d", 2, "c"))[0] == TextDelta(0, "d")


def test_reasoning_deltas_have_a_template_too() -> None:
    template = DeltaTemplate()
    template.learn(event_of("a") + event_of("b"), [ReasoningDelta(1, "a"), ReasoningDelta(1, "b")])
    assert template.read(event_of("c"))[0] == ReasoningDelta(1, "c")


@pytest.mark.parametrize("client", ["native", "openai", "anthropic"])
@pytest.mark.parametrize("engine", ["openai", "responses", "anthropic", "google", "ollama"])
async def test_an_answer_is_the_same_with_the_fast_path(engine: str, client: str) -> None:
    """Each piece is sent when the one before has arrived, so that each is one read; some are cut in two."""
    wire, asks = WIRES[engine], CLIENTS[client]
    arrived = asyncio.Event()

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        if wire.head:
            await connection.chunk(wire.head)
        for number, text in enumerate(TEXTS * 2):
            piece = wire.delta(text)
            if number % 5 == 4:
                await connection.chunk(piece[: number + 3])
                await asyncio.sleep(0)
                piece = piece[number + 3 :]
            if number % 7 == 6:
                piece += wire.delta("more")
            arrived.clear()
            await connection.chunk(piece)
            await asyncio.wait_for(arrived.wait(), 5)
        await connection.chunk(wire.end)
        await connection.end()

    upstream = Upstream(script)
    with compared_events() as compared:
        async with upstream.run(), run_server(make_config(**wire.environ(upstream))) as server:
            headers = {**asks.headers, "Accept": "application/x-ndjson" if client == "native" else "*/*"}
            answer = await server.post(asks.path, asks.request(engine), headers)
            raw = b""
            async for chunk in answer.chunks():
                raw += chunk
                arrived.set()
    seen = asks.read(raw)
    expected = "".join(text + ("more" if number % 7 == 6 else "") for number, text in enumerate(TEXTS * 2))
    assert seen.text == expected and seen.error is None and seen.finish is not None
    if engine in ("openai", "responses", "anthropic"):
        assert len(compared) > len(TEXTS)
