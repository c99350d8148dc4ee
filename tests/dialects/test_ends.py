"""Forms of streams: a last event without blank line, events without data, content types, line separators."""

from __future__ import annotations

import json
from typing import Any

import ollama
import pytest

from llm.chat.events import (
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
)
from llm.chat.messages import Message, Text, Usage
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects import native
from llm.dialects import ollama as ollama_dialect
from llm.dialects.registry import ENGINE_DIALECTS, PASSTHROUGH_DIALECTS
from llm.wire.ndjson import encode_ndjson_line
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.lanes import CASES, NDJSON, SSE, Case, lanes, run_lane
from tests.support.wires import CLIENTS, WIRES

BLANK = {SSE: b"\n\n", NDJSON: b"\n"}
BOTH = [False, True]


def get_cases(dialects: Any) -> list[Case]:
    """Returns one case of each dialect, with text and calls."""
    return [next(c for c in CASES.values() if c.dialect == d and c.text and c.calls) for d in dialects]


VERBATIM = get_cases(PASSTHROUGH_DIALECTS)
EVERY = get_cases(ENGINE_DIALECTS)


def name_of(value: object) -> str:
    return value.dialect if isinstance(value, Case) else repr(value)


# --- the last event without its blank line ---


@pytest.mark.parametrize("left", [b"", b"\n"], ids=["no line end", "one line end"])
@pytest.mark.parametrize("case", VERBATIM, ids=name_of)
async def test_s8_every_event_is_forwarded_if_the_last_has_no_blank_line(case: Case, left: bytes) -> None:
    """Cuts after each event: after the finish the stream is complete, before it an error follows the event."""
    border = BLANK[case.content_type]
    if left and border == left:
        return
    for count in range(1, len(case.events) + 1):
        events = case.events[:count]
        whole = await run_lane(case, [b"".join(events)], verbatim=True)
        for reads in (
            [b"".join(events).removesuffix(border) + left],
            [*events[:-1], events[-1].removesuffix(border) + left],
        ):
            seen = await run_lane(case, reads, verbatim=True)
            assert isinstance(seen.output, bytes) and isinstance(whole.output, bytes)
            assert seen.output.rstrip(b"\n") == whole.output.rstrip(b"\n") and seen.output.endswith(border)
            assert (seen.error, seen.usage, seen.finish, seen.characters) == (
                whole.error, whole.usage, whole.finish, whole.characters,
            )  # fmt: skip


@pytest.mark.parametrize("verbatim", BOTH)
async def test_an_incomplete_event_at_the_end_is_ignored(verbatim: bool) -> None:
    for case in EVERY:
        if verbatim in lanes(case.dialect):
            reads = [case.events[0], case.events[1], case.events[2][:-12]]
            seen = await run_lane(case, reads, verbatim=verbatim)
            assert seen.error is not None and "Truncated" in seen.error
            if verbatim:
                assert seen.output == case.events[0] + case.events[1]


async def test_e7_unrequested_usage_is_withheld_also_without_a_blank_line() -> None:
    case = VERBATIM[0]
    assert case.dialect == "openai-chat" and b'"usage"' in case.events[-2]
    reads = [*case.events[:-2], case.events[-2].rstrip()]
    seen = await run_lane(case, reads, verbatim=True, usage_asked=False)
    assert seen.output == b"".join(case.events[:-2]) and seen.usage == Usage(fresh=5, text=7) and seen.error is None


# --- events without data ---


@pytest.mark.parametrize(
    "empty", [b"data:\n\n", b"data: \n\n", b"data\n\n", b"data:\r\n\r\n", b"event: ping\ndata:\n\n"]
)
@pytest.mark.parametrize("verbatim", BOTH, ids=["translated", "verbatim"])
async def test_an_event_without_data_is_ignored_at_any_position(verbatim: bool, empty: bytes) -> None:
    """It is not forwarded either, since a client of the same wire would parse it as JSON."""
    for case in EVERY:
        if verbatim not in lanes(case.dialect) or case.content_type == NDJSON:
            continue
        plain = await run_lane(case, case.events, verbatim=verbatim)
        for place in range(len(case.events)):
            events = [*case.events[:place], empty, *case.events[place:]]
            for reads in (events, [b"".join(events)]):
                seen = await run_lane(case, reads, verbatim=verbatim)
                assert seen.compared() == plain.compared()


async def test_a_comment_is_forwarded() -> None:
    case = VERBATIM[0]
    events = [case.events[0], b": data:\n\n", b"data:\n\n: kept\n\n", *case.events[1:]]
    seen = await run_lane(case, events, verbatim=True)
    assert seen.output == b"".join([case.events[0], b": data:\n\n: kept\n\n", *case.events[1:]])


# --- separators in lines ---

SEPARATORS = "".join(chr(code) for code in range(0x110000) if len(f"a{chr(code)}b".splitlines()) > 1)
REQUEST = ChatRequest(model="m", messages=(Message("user", (Text("Hello"),)),), stream=True)


def test_a_json_line_has_no_unicode_line_separators() -> None:
    assert {"\x85", "\u2028", "\u2029"} < {*SEPARATORS}
    line = encode_ndjson_line({"text": f"ü{SEPARATORS}🦊"})
    assert len(line.decode().splitlines()) == 1 and json.loads(line)["text"] == f"ü{SEPARATORS}🦊"


@pytest.mark.parametrize("form", ["native chunks", "native ndjson", "ollama"])
@pytest.mark.parametrize("alone", [True, False])
def test_every_write_of_a_json_lines_stream_is_one_line(form: str, alone: bool) -> None:
    text = f"a{SEPARATORS}b"
    arguments = json.dumps({"x": text}, ensure_ascii=False)
    events: list[Event] = [Started("r", "m"), ReasoningDelta(0, text), PartEnded(0), TextDelta(1, text), PartEnded(1)]
    events += [ToolCallStarted(2, "c", "f"), ToolCallDelta(2, arguments), PartEnded(2), Finished("tool_calls")]
    if form == "ollama":
        writer: Any = ollama_dialect.create_writer(REQUEST, 0)
    else:
        writer = native.create_writer(REQUEST, 0, "chunks" if form.endswith("chunks") else "ndjson")
    batches = [[event] for event in events] if alone else [events]
    raw = b"".join(piece for batch in batches for piece in writer.feed(batch))
    assert raw.decode().splitlines() == raw.decode().strip("\n").split("\n")
    objects = [json.loads(line) for line in raw.decode().splitlines()]
    assert join_values(objects).count(text) >= 3


def join_values(value: Any) -> str:
    """Joins all texts in a JSON value."""
    if isinstance(value, dict | list):
        return "".join(join_values(one) for one in (value.values() if isinstance(value, dict) else value))
    return str(value)


@pytest.mark.parametrize("engine", ["ollama", "openai"])
async def test_the_official_ollama_client_reads_a_text_with_separators(engine: str) -> None:
    """Passed through from Ollama, and translated. Passthrough escapes separators that Ollama sends raw."""
    wire = WIRES[engine]
    texts = ["a\u2028b", "c\u2029", "\x85d", " e"]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        if wire.head:
            await connection.chunk(wire.head)
        for text in texts:
            raw = wire.delta("TEXT").replace(b"TEXT", text.encode())
            await connection.chunk(raw[:-20])
            await connection.chunk(raw[-20:])
        await connection.chunk(wire.end)
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**wire.environ(upstream))) as server:
        client = ollama.AsyncClient(host=server.url, headers={"Authorization": f"Bearer {CLIENT_ID}"})
        try:
            parts = await client.chat(model=f"{engine}/m", messages=[{"role": "user", "content": "Hi"}], stream=True)
            text_read = "".join([part.message.content or "" async for part in parts])
        finally:
            await client._client.aclose()
    assert text_read == "".join(texts)


# --- content types ---

TYPES = ["", "application/octet-stream", "text/plain", "text/plain; charset=utf-8"]


@pytest.mark.parametrize("content_type", TYPES)
@pytest.mark.parametrize("verbatim", BOTH, ids=["translated", "verbatim"])
async def test_a_requested_stream_is_read_as_a_stream_with_any_content_type(verbatim: bool, content_type: str) -> None:
    for case in EVERY:
        if verbatim not in lanes(case.dialect):
            continue
        plain = await run_lane(case, case.events, verbatim=verbatim)
        raw = b"".join(case.events)
        for reads in (case.events, [raw], [b"\n", *case.events], [raw[:1], raw[1:2], raw[2:]]):
            seen = await run_lane(case, reads, verbatim=verbatim, content_type=content_type)
            lead = b"\n" if reads[0] == b"\n" else b""
            if verbatim:
                assert seen.content_type == case.content_type
                assert isinstance(seen.output, bytes)
                seen.output = seen.output.removeprefix(lead)
            assert seen.compared() == plain.compared()


@pytest.mark.parametrize("content_type", [*TYPES, "application/json"])
@pytest.mark.parametrize("engine", ["openai", "anthropic", "responses"])
async def test_a_whole_answer_to_a_stream_request_is_read(engine: str, content_type: str) -> None:
    wire = WIRES[engine]
    dialect = {"openai": "openai-chat", "responses": "openai-responses"}.get(engine, engine)
    raw = json.dumps(wire.whole("Hi"), indent=1).encode()
    for verbatim in BOTH:
        seen = await run_lane(Case(dialect, []), [raw[:3], raw[3:]], verbatim=verbatim, content_type=content_type)
        assert seen.error is None and seen.usage == Usage(fresh=5, text=2)
        assert isinstance(seen.output, Reply) and seen.output.text == "Hi"


@pytest.mark.parametrize("content_type", ["", "application/octet-stream", "text/plain"])
async def test_a_client_gets_the_content_type_of_its_wire(content_type: str) -> None:
    for engine, client in (
        ("openai", "openai"),
        ("anthropic", "anthropic"),
        ("openai", "native"),
        ("ollama", "openai"),
    ):
        wire, asks = WIRES[engine], CLIENTS[client]

        async def script(request: Request, connection: Connection, wire: Any = wire) -> None:
            typed = {"Content-Type": content_type} if content_type else {}
            await connection.head(200, {"Transfer-Encoding": "chunked", **typed})
            for piece in (wire.head, wire.delta("Hi"), wire.end):
                if piece:
                    await connection.chunk(piece)
            await connection.end()

        upstream = Upstream(script)
        async with upstream.run(), run_server(make_config(**wire.environ(upstream))) as server:
            answer = await server.post(asks.path, asks.request(engine), {**asks.headers, "Accept": NDJSON})
            seen = asks.read(await answer.body())
        assert answer.headers["Content-Type"].partition(";")[0] == (NDJSON if client == "native" else SSE)
        assert seen.text == "Hi" and seen.error is None and seen.ended
