"""``/v1/responses``: what a client sends and what it gets, by hand-written bytes, by recordings, through the server."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Citation, Foreign, Media, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.provider_metadata import Opaque, seal
from llm.chat.reply import collect
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses
from llm.dialects.base import ClientDialect
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.records import ENGINES
from llm.errors import InvalidRequest, LLMError
from tests.grammar_responses import check_responses
from tests.harness import CLIENT_ID, Connection, Request, Upstream, config, serving
from tests.recordings import recordings
from tests.wires import WIRES

CLIENT: ClientDialect = openai_responses
REQUEST = ChatRequest(model="m", messages=())
SCHEMA: Any = {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
BEARER = {"Authorization": f"Bearer {CLIENT_ID}"}
NOW = 1764000000


def read(**body: Any) -> ChatRequest:
    return CLIENT.read_request({"model": "m", **body})


def parts(*items: dict[str, Any]) -> list[tuple[str, tuple[Any, ...]]]:
    return [(message.role, message.parts) for message in read(input=[*items]).messages]


def written(events: list[Event], size: int = 1) -> bytes:
    writer = CLIENT.writer(REQUEST, NOW)
    return b"".join(p for n in range(0, len(events), size) for p in writer.feed(events[n : n + size]))


def wires(raw: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: ")]


# --- what a client sends ---


def test_text_is_one_user_message_behind_the_instructions() -> None:
    request = read(input="Hello", instructions="Be brief.", stream=True)
    assert [(m.role, m.parts) for m in request.messages] == [
        ("system", (Text("Be brief."),)),
        ("user", (Text("Hello"),)),
    ]
    assert request.stream


def test_items_become_messages_in_their_order() -> None:
    own: Any = {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}]}
    assert parts(
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": [{"type": "input_text", "text": "Look"}]},
        own,
        {"type": "function_call", "call_id": "c1", "name": "f", "arguments": '{"x": 1}'},
        {"type": "function_call", "call_id": "c2", "name": "f", "arguments": ""},
        {"type": "function_call_output", "call_id": "c1", "output": "42"},
        {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "43"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "Done.", "annotations": []}]},
        {"type": "message", "role": "user", "content": "Thanks"},
    ) == [
        ("system", (Text("Be brief."),)),
        ("user", (Text("Look"),)),
        (
            "assistant",
            (
                Reasoning("Hm.", (Opaque("openai-responses", None, own),)),
                ToolCall("c1", "f", '{"x": 1}'),
                ToolCall("c2", "f"),
            ),
        ),
        ("user", (ToolResult("c1", (Text("42"),)), ToolResult("c2", (Text("43"),)))),
        ("assistant", (Text("Done."),)),
        ("user", (Text("Thanks"),)),
    ]


def test_pictures_and_files_are_read() -> None:
    [(_, content)] = parts(
        {
            "role": "user",
            "content": [
                {"type": "input_image", "detail": "auto", "image_url": "data:image/webp;base64,AAAA"},
                {"type": "input_image", "image_url": "https://example.org/a.png"},
                {"type": "input_file", "filename": "a.pdf", "file_data": "data:application/pdf;base64,AAAA"},
                {"type": "input_file", "file_id": "file-1"},
                {"type": "input_new", "x": 1},
            ],
        }
    )
    image, linked, pdf, stored, new = content
    assert (image.mime, image.base64) == ("image/webp", "AAAA")
    assert (linked.url, linked.base64) == ("https://example.org/a.png", None)
    assert (pdf.mime, pdf.base64, pdf.name) == ("application/pdf", "AAAA", "a.pdf")
    assert (stored.file_id, stored.keep[0].issuer) == ("file-1", None)
    assert isinstance(new, Foreign)


def test_options_are_read() -> None:
    request = read(
        input="x",
        max_output_tokens=0,
        temperature=0,
        top_p=0.5,
        reasoning={"effort": "high", "summary": "auto"},
        text={"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
        tool_choice={"type": "function", "name": "f"},
        parallel_tool_calls=False,
        include=["message.output_text.logprobs", "reasoning.encrypted_content"],
        top_logprobs=2,
        service_tier="flex",
        tools=[
            {"type": "function", "name": "f", "description": None, "parameters": {"type": "object"}, "strict": False}
        ],
        store=False,
        truncation="disabled",
        user=None,
    )
    options = request.options
    assert (options.max_tokens, options.temperature, options.top_p, options.effort) == (0, 0, 0.5, "high")
    assert options.format and (options.format.schema, options.format.strict) == (SCHEMA, True)
    assert (options.tool_choice, options.parallel_tools, options.service_tier) == ("tool:f", False, "flex")
    assert (options.logprobs, options.top_logprobs, options.verbosity) == (True, 2, "low")
    [tool] = request.tools
    assert (tool.name, tool.strict, tool.parameters, tool.executor) == ("f", False, {"type": "object"}, "client")
    outgoing = ENGINE_DIALECTS["anthropic"].write_request(
        replace(request, options=replace(options, logprobs=None, top_logprobs=None, verbosity=None, service_tier=None)),
        ENGINES["anthropic"],
    )
    assert {"store", "truncation", "reasoning", "include"} <= set(outgoing.dropped)


@pytest.mark.parametrize(
    ("body", "place"),
    [
        ({"input": 5}, "input"),
        ({"input": ["x"]}, "input[0]"),
        ({"input": [{"content": "x"}]}, "input[0].type"),
        ({"input": [{"role": "robot", "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": [], "content": "x"}]}, "input[0].role"),
        ({"input": [{"role": "user", "content": 7}]}, "input[0].content"),
        ({"input": [{"role": "user", "content": [7]}]}, "input[0].content[0]"),
        ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input[0].content[0].image_url"),
        ({"input": [{"type": "function_call", "name": "f"}]}, "input[0].call_id"),
        ({"input": [{"type": "function_call_output", "call_id": "c"}]}, "input[0].output"),
        ({"tools": [{"name": "f"}]}, "tools[0].type"),
        ({"tools": [{"type": "function"}]}, "tools[0].name"),
        ({"tool_choice": "sometimes"}, "tool_choice"),
        ({"reasoning": {"effort": "enormous"}}, "reasoning.effort"),
        ({"text": {"format": {"type": "xml"}}}, "text.format.type"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format.name"),
        ({"max_output_tokens": "many"}, "max_output_tokens"),
    ],
)
def test_a_fault_names_its_place(body: dict[str, Any], place: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read(**body)
    assert caught.value.param == place
    assert str(caught.value).startswith(f"{place}: ")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "x", "message", "function_call", "user"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["type", "role", "content", "text", "call_id", "name", "output", "summary", "format", "effort"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["input", "tools", "tool_choice", "reasoning", "text", "include"]), _JSON))
def test_s8_no_body_is_answered_with_anything_but_an_error_of_ours(body: dict[str, Any]) -> None:
    try:
        request = read(**body)
        ENGINE_DIALECTS["anthropic"].write_request(request, ENGINES["anthropic"])
    except LLMError:
        pass


def _plain(value: Any) -> Any:
    """A body in one spelling: what this wire lets a client say in two ways."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    drop = {"description": "", "annotations": [], "logprobs": [], "strict": False, "detail": "auto", "stream": False}
    plain = {k: _plain(v) for k, v in value.items() if v is not None and (k not in drop or drop[k] != v)}
    if plain.get("type") == "function" and plain.get("parameters") == {"type": "object", "properties": {}}:
        del plain["parameters"]
    if "role" in plain:
        plain.setdefault("type", "message")
        if isinstance(plain.get("content"), str):
            kind = "output_text" if plain["role"] == "assistant" else "input_text"
            plain["content"] = [{"type": kind, "text": plain["content"]}] if plain["content"] else []
    return plain


def _body(body: dict[str, Any]) -> dict[str, Any]:
    plain: dict[str, Any] = _plain(body)
    if isinstance(plain.get("input"), str):
        plain["input"] = [_plain({"role": "user", "content": plain["input"]})]
    plain.setdefault("input", [])
    for name in ("tools", "include", "instructions", "top_logprobs"):
        if not plain.get(name):
            plain.pop(name, None)
    return plain


# What the engine side does on its own account (see its docstring): it is stateless, asks for thoughts in a form that
# can be sent back and shown, and puts leading system messages where the wire wants them.
def _without_ours(got: dict[str, Any], wanted: dict[str, Any]) -> None:
    if "store" not in wanted:
        assert got.pop("store", False) is False
    if isinstance(got.get("reasoning"), dict):
        got["reasoning"].setdefault("summary", "auto")
        wanted["reasoning"] = {"summary": "auto", **wanted.get("reasoning", {})}
    asked = {"reasoning.encrypted_content", *wanted.pop("include", ())}
    assert {*got.pop("include", ())} <= asked


_STORED_THOUGHT = "a thought that only its provider has stored: nothing of it could be sent back"
_EXCEPTIONS = {
    "openai/responses-400-gpt-5-codex-object-streaming-ae17be#0": "refused: a tool without a name",
    "github-copilot/responses-prompt-typed-with-tool-call-roundtrip-f0f907#1": _STORED_THOUGHT,
    "xai/responses-stream-permission-control-streaming-example-012c3e#1": _STORED_THOUGHT,
}


def test_t12_every_recorded_request_is_written_as_it_was_read() -> None:
    engine = replace(ENGINES["openai"], dialect="openai-responses")
    faults: dict[str, str] = {}
    total = 0
    asked = [
        (f"{recording.name}#{n}", request.body)
        for recording in recordings()
        if recording.api == "responses"
        for n, (request, _) in enumerate(recording.exchanges)
    ]
    for name_, body in asked:
        if not isinstance(body, dict) or "model" not in body:
            continue
        total += 1
        try:
            out = json.loads(json.dumps(CLIENT_TO_ENGINE(body, engine)))
        except LLMError as error:
            faults[name_] = str(error)
            continue
        got, wanted = _body(out), _body(body)
        texts = [got.pop("instructions", ""), wanted.pop("instructions", "")]
        for plain, said in zip((got, wanted), texts, strict=True):
            system = [said] if said else []
            while plain["input"] and plain["input"][0].get("role") in ("system", "developer"):
                system += [part["text"] for part in plain["input"].pop(0)["content"] if "text" in part]
            plain["system"] = "\n\n".join(system)
        _without_ours(got, wanted)
        if got != wanted:
            faults[name_] = f"{json.dumps(wanted)[:1500]}\n -> {json.dumps(got)[:1500]}"
    print(f"recorded requests of /responses: {total - len(faults)} of {total}")
    assert set(faults) == (set(_EXCEPTIONS) if total else set()), json.dumps(faults, indent=1)[:9000]


def CLIENT_TO_ENGINE(body: dict[str, Any], engine: Any) -> Any:
    return openai_responses.write_request(CLIENT.read_request(body), engine).body


# --- what a client gets ---

LOOP: list[Event] = [
    Started("x", "model-1"),
    ReasoningDelta(0, "Hm"),
    ReasoningDelta(0, "."),
    PartEnded(0, (Opaque("anthropic", "anthropic", {"signature": "EqQ+/x="}),)),
    TextDelta(1, "Grüße "),
    TextDelta(1, "🦊"),
    Cited(1, Citation("https://example.org", "Example", start=0, end=5)),
    PartEnded(1),
    ToolCallStarted(2, "c1", "f"),
    ToolCallStarted(3, "c2", "g"),
    ToolCallDelta(2, '{"a"'),
    ToolCallDelta(3, '{"b":'),
    ToolCallDelta(2, ": 1}"),
    ToolCallDelta(3, "2}"),
    PartEnded(3),
    PartEnded(2, (Opaque("gemini", "google", {"thoughtSignature": "s"}),)),
    ToolCallStarted(4, "c3", "h"),
    PartEnded(4),
    WholePart(5, Media(mime="image/png", base64="iVBO")),
    UsageReported(Usage(fresh=5, cache_read=3, text=2, reasoning=4)),
    Finished("tool_calls"),
]


@pytest.mark.parametrize("size", [1, 3, 100])
def test_s3_a_stream_is_its_items_one_after_the_other(size: int) -> None:
    raw = written(LOOP, size)
    check_responses(raw)
    response = wires(raw)[-1]["response"]
    assert [item["type"] for item in response["output"]] == [
        "reasoning",
        "message",
        "function_call",
        "function_call",
        "function_call",
        "image_generation_call",
    ]
    thought, message, first, second, third, image = response["output"]
    assert thought["summary"] == [{"type": "summary_text", "text": "Hm."}]
    assert message["content"][0]["text"] == "Grüße 🦊"
    assert message["content"][0]["annotations"] == [
        {"type": "url_citation", "url": "https://example.org", "title": "Example", "start_index": 0, "end_index": 5}
    ]
    assert [(c["call_id"], c["name"], c["arguments"]) for c in (first, second, third)] == [
        ("c1", "f", '{"a": 1}'),
        ("c2", "g", '{"b":2}'),
        ("c3", "h", "{}"),
    ]
    assert image["result"] == "iVBO"
    assert response["usage"] == {
        "input_tokens": 8,
        "input_tokens_details": {"cached_tokens": 3, "cache_write_tokens": 0},
        "output_tokens": 6,
        "output_tokens_details": {"reasoning_tokens": 4},
        "total_tokens": 14,
    }


def test_a_whole_answer_is_the_last_event_of_its_stream() -> None:
    streamed = wires(written(LOOP))[-1]["response"]
    whole: Any = CLIENT.write_reply(collect(LOOP), REQUEST, NOW)

    def nameless(response: dict[str, Any]) -> dict[str, Any]:
        items = [{name: value for name, value in item.items() if name != "id"} for item in response["output"]]
        return {**response, "id": "", "output": items}

    assert nameless(whole) == nameless(streamed)
    assert whole["status"] == "completed"


def test_t1_what_another_engine_signed_comes_back_byte_exact() -> None:
    output = wires(written(LOOP))[-1]["response"]["output"]
    messages = read(input=[{"role": "user", "content": "x"}, *output]).messages
    thought, text, first, second, *_ = messages[1].parts
    assert thought == Reasoning("Hm.", (Opaque("anthropic", "anthropic", {"signature": "EqQ+/x="}),))
    assert isinstance(text, Text) and text.text == "Grüße 🦊"
    assert isinstance(first, ToolCall) and first.keep == (Opaque("gemini", "google", {"thoughtSignature": "s"}),)
    assert isinstance(second, ToolCall) and second.id == "c2"


def test_a_withheld_thought_is_an_item_without_text() -> None:
    keep = (Opaque("openai-responses", "openai", {"type": "reasoning", "encrypted_content": "gAAA", "id": "rs_9"}),)
    raw = written(
        [
            Started("x", "m"),
            ReasoningDelta(0, ""),
            PartEnded(0, keep),
            TextDelta(1, "a"),
            PartEnded(1),
            Finished("stop"),
        ]
    )
    check_responses(raw)
    thought = wires(raw)[-1]["response"]["output"][0]
    assert thought["summary"] == [] and thought["encrypted_content"] == seal(keep)


@pytest.mark.parametrize(
    ("reason", "event", "why"),
    [
        ("stop", "response.completed", None),
        ("other", "response.completed", None),
        ("paused", "response.completed", None),
        ("length", "response.incomplete", {"reason": "max_output_tokens"}),
        ("filtered", "response.incomplete", {"reason": "content_filter"}),
    ],
)
def test_s6_the_end_says_how_it_ended(reason: Any, event: str, why: Any) -> None:
    raw = written([Started("x", "m"), TextDelta(0, "a"), PartEnded(0), Finished(reason)])
    check_responses(raw)
    last = wires(raw)[-1]
    assert (last["type"], last["response"]["incomplete_details"]) == (event, why)


@pytest.mark.parametrize("before", [[], LOOP[:5], LOOP[:12]])
def test_s2_an_error_in_the_stream_is_told_and_fails_the_response(before: list[Event]) -> None:
    said = errors.ProviderSaid(529, "overloaded", "overloaded_error", "Too much.")
    raw = written([*before, Failed(errors.Overloaded("Too much.", provider=said))])
    check_responses(raw)
    *_, error, failed = wires(raw)
    assert (error["type"], error["code"], error["message"]) == ("error", "overloaded", "Too much.")
    assert error["provider"]["status"] == 529
    assert failed["response"]["status"] == "failed"
    assert failed["response"]["error"] == {"code": "overloaded", "message": "Too much."}


def test_what_is_not_for_this_client_is_skipped() -> None:
    other = (Opaque("anthropic", "anthropic", {"type": "server_tool_use"}),)
    raw = written(
        [
            Started("x", "m"),
            ToolCallStarted(0, "a", "search", "server"),
            ToolCallDelta(0, "{}"),
            PartEnded(0),
            ToolProgress(0, "running"),
            WholePart(1, ToolResult("a", (Text("found"),))),
            ToolCallStarted(2, "b", "web_search", "provider"),
            ToolCallDelta(2, "{}"),
            PartEnded(2, other),
            WholePart(3, Foreign(other)),
            TextDelta(4, "Found."),
            PartEnded(4),
            Finished("stop"),
        ]
    )
    check_responses(raw)
    assert [item["type"] for item in wires(raw)[-1]["response"]["output"]] == ["message"]


# --- through the server ---


def upstream_of(engine: str, *pieces: bytes) -> Upstream:
    wire = WIRES[engine]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        for piece in pieces or (wire.head, wire.delta("Grüße"), wire.end):
            if piece:
                await connection.chunk(piece)
        await connection.end()

    return Upstream(script)


@pytest.mark.parametrize("engine", [name for name in WIRES if name != "openai"])  # which has the API itself
async def test_it_works_over_every_engine(engine: str) -> None:
    wire = WIRES[engine]
    async with upstream_of(engine).running() as upstream, serving(config(**wire.environ(upstream))) as server:
        body = {"model": f"{engine}/m", "input": "Hello", "stream": True}
        answer = await server.post("/v1/responses", body, BEARER)
        raw = await answer.body()
    assert answer.headers["Content-Type"] == "text/event-stream"
    assert wires(raw)[-1]["type"] == "response.completed"
    if engine != "responses":  # there it is verbatim
        check_responses(raw)
        assert wires(raw)[-1]["response"]["output"][0]["content"][0]["text"] == "Grüße"


@pytest.mark.parametrize("engine", ["openai", "responses"])
async def test_t12_where_the_engine_has_the_api_the_exchange_is_verbatim(engine: str) -> None:
    wire = WIRES["responses"]
    environ = WIRES[engine].environ
    sent = {
        "model": f"{engine}/gpt-5.4-mini",
        "input": [{"type": "new_item", "x": 1}],
        "previous_response_id": "resp_0",
        "unknown": {"a": [1]},
        "stream": True,
    }
    answers = (wire.head, wire.delta("Hi"), b'event: new\ndata: {"type":"response.new","a":1}\n\n', wire.end)
    async with upstream_of("responses", *answers).running() as upstream:
        async with serving(config(**environ(upstream))) as server:
            raw = await (await server.post("/v1/responses", sent, BEARER)).body()
    [request] = upstream.requests
    assert request.path == "/v1/responses"
    assert request.json == {**sent, "model": "gpt-5.4-mini"}
    assert raw == b"".join(answers)


async def test_t10_what_is_stored_elsewhere_is_refused_by_name() -> None:
    async with serving(config(ANTHROPIC_API_KEY="sk-12345678")) as server:
        for name, value in (("previous_response_id", "resp_1"), ("conversation", "conv_1"), ("background", True)):
            body = {"model": "anthropic/m", "input": "Hello", name: value}
            answer = await server.post("/v1/responses", body, BEARER)
            error = (await answer.json())["error"]
            assert (answer.status, error["param"], error["code"]) == (400, name, "unsupported")
            assert name == "background" or "send the whole conversation" in error["message"]
        items: list[Any] = [{"type": "item_reference", "id": "rs_1"}, {"type": "compaction", "encrypted_content": "gA"}]
        for item in items:
            sent: Any = {"model": "anthropic/m", "input": [{"role": "user", "content": "Hi"}, item]}
            assert (await server.post("/v1/responses", sent, BEARER)).status == 400


async def test_a_whole_answer_and_an_error_have_the_wire_s_own_form() -> None:
    async with serving(config(MAX_RETRIES="0")) as server:
        body = {"model": "demo/demo-chat", "input": "Hello"}
        whole = await (await server.post("/v1/responses", body, BEARER)).json()
        limited = await server.post("/v1/responses", {"model": "demo/demo-limit", "input": "Hello"}, BEARER)
        error = (await limited.json())["error"]
        bare = await server.post("/v1/responses", {"input": "Hello"}, BEARER)
        missing = (await bare.json())["error"]
    assert whole["object"] == "response" and whole["status"] == "completed"
    assert whole["output"][0]["content"][0]["text"].endswith("Hello")
    assert (limited.status, limited.headers["Retry-After"]) == (429, "7")
    assert error["code"] and error["type"]
    assert (bare.status, missing["message"], missing["param"]) == (400, "model: is required", "model")
