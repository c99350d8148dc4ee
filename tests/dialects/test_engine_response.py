"""Chat Completions, Gemini and Ollama: answers read as events for any cut of their bytes; errors; model lists."""

from __future__ import annotations

import copy
import json
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm import errors
from llm.chat.events import (
    Cited,
    Event,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
)
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Media, Reasoning, Text, ToolCall, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.reply import collect, replay
from llm.dialects import gemini, ollama, openai_chat
from llm.dialects.base import EngineDialect
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.errors import LLMError, ProviderErrorDetails
from llm.wire.frames import Frame
from tests.support.paths import SAMPLES
from tests.support.work import limit_processor_time, measure_work

OPENAI, GOOGLE, OLLAMA, XAI = (ENGINES[name] for name in ("openai", "google", "ollama", "xai"))


def read_events(engine: Engine, body: bytes, size: int = 1 << 30) -> list[Event]:
    """Reads an answer in reads of ``size`` bytes and checks the grammar of its events."""
    dialect = ENGINE_DIALECTS[engine.dialect]
    framing, reader = dialect.create_framing(), dialect.create_reader(engine)
    events: list[Event] = []
    for start in range(0, len(body), size):
        for frame in framing.feed(body[start : start + size]):
            events += reader.feed(frame)
    for frame in framing.close():
        events += reader.feed(frame)
    if not reader.done:
        events += reader.close()
    grammar = Grammar()
    grammar.feed(events)
    grammar.close()
    return events


def read_sample(name: str) -> bytes:
    return (SAMPLES / name).read_bytes()


def drop_generated_ids(events: Sequence[Event]) -> list[Event]:
    return [
        ToolCallStarted(e.index, "minted", e.name, e.executor)
        if isinstance(e, ToolCallStarted) and e.id.startswith("call_") and len(e.id) > 20
        else e
        for e in events
    ]


def metadata(engine: Engine, **data: Any) -> tuple[ProviderMetadata, ...]:
    return (ProviderMetadata(engine.dialect, engine.issuer, data),)


DETAILS = [
    {"type": "reasoning.text", "text": "Let me.", "index": 0, "format": "f-v1", "signature": "c2ln"},
]
GOLDEN: dict[str, tuple[Engine, list[Event]]] = {
    "openai-chat/parallel-calls.sse": (
        OPENAI,
        [
            Started("c1", "m-1"),
            ReasoningDelta(0, "Two "),
            ReasoningDelta(0, "calls."),
            PartEnded(0, (ProviderMetadata("openai-chat", "openai", {"reasoning_field": "reasoning_content"}),)),
            TextDelta(1, "One mo"),
            TextDelta(1, "ment 🎈"),
            PartEnded(1),
            ToolCallStarted(2, "call_a", "f"),
            ToolCallStarted(3, "call_b", "g"),
            ToolCallDelta(3, '{"y"'),
            ToolCallDelta(2, '{"x": '),
            ToolCallDelta(3, ": 2}"),
            ToolCallDelta(2, "1}"),
            PartEnded(2),
            PartEnded(3),
            UsageReported(Usage(fresh=10, cache_read=8, cache_write=2, text=5, reasoning=4)),
            Finished("tool_calls", "stop"),
        ],
    ),
    "openai-chat/reasoning-details.sse": (
        ENGINES["openrouter"],
        [
            Started("g1", "m-2"),
            ReasoningDelta(0, "Let "),
            ReasoningDelta(0, "me."),
            PartEnded(0, metadata(ENGINES["openrouter"], reasoning_details=DETAILS)),
            ToolCallStarted(1, "t1", "f"),
            ToolCallDelta(1, "{}"),
            PartEnded(1),
            ReasoningDelta(2, ""),
            PartEnded(
                2,
                metadata(
                    ENGINES["openrouter"],
                    reasoning_details=[{"type": "reasoning.encrypted", "data": "ZW5j", "index": 1}],
                ),
            ),
            Finished("tool_calls", "tool_calls"),
        ],
    ),
    "gemini/signed-calls.sse": (
        GOOGLE,
        [
            Started("r1", "gem-3"),
            ReasoningDelta(0, "Hm."),
            PartEnded(0),
            TextDelta(1, "Zwölf 🎈 "),
            PartEnded(1),
            ToolCallStarted(2, "minted", "f"),
            ToolCallDelta(2, '{"n":1}'),
            PartEnded(2, metadata(GOOGLE, thoughtSignature="c2ln+/==")),
            ToolCallStarted(3, "minted", "f"),
            PartEnded(3),
            WholePart(4, Text("", metadata=metadata(GOOGLE, thoughtSignature="bGFzdA=="))),
            UsageReported(Usage(fresh=9, cache_read=4, text=5, reasoning=30, other={"tool_input": 3})),
            Finished("tool_calls", "STOP"),
        ],
    ),
    "ollama/thinking-and-calls.ndjson": (
        OLLAMA,
        [
            Started("", "q:8b"),
            ReasoningDelta(0, "Hm"),
            ReasoningDelta(0, "m."),
            PartEnded(0),
            TextDelta(1, "Zwölf 🎈"),
            PartEnded(1),
            ToolCallStarted(2, "minted", "f"),
            ToolCallDelta(2, '{"x":1}'),
            PartEnded(2),
            ToolCallStarted(3, "c7", "g"),
            PartEnded(3),
            UsageReported(Usage(fresh=20, text=12)),
            Finished("tool_calls", "stop"),
        ],
    ),
}


@pytest.mark.parametrize("name", GOLDEN)
def test_s9_a_sample_is_read_as_its_events_in_any_pieces(name: str) -> None:
    engine, golden = GOLDEN[name]
    body = read_sample(name)
    for form in (body, body.replace(b"\r\n", b"\n"), body.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")):
        for size in (1, 7, 50, 1 << 20):
            assert drop_generated_ids(read_events(engine, form, size)) == golden


@pytest.mark.parametrize("name", GOLDEN)
def test_s4_deltas_together_are_the_whole(name: str) -> None:
    engine, _ = GOLDEN[name]
    reply = collect(read_events(engine, read_sample(name)))
    assert collect(replay(reply)) == reply
    assert len({call.id for call in reply.calls}) == len(reply.calls)


@pytest.mark.parametrize("name", GOLDEN)
def test_s1_every_beginning_of_an_answer_is_truncated(name: str) -> None:
    engine, _ = GOLDEN[name]
    body = read_sample(name)
    whole = 0
    for end in range(0, len(body), 11):
        try:
            events = read_events(engine, body[:end])
        except errors.Truncated:
            continue
        except errors.Malformed:
            continue  # cut inside an event
        assert isinstance(events[-1], Finished)
        whole += 1
    assert whole <= len(body) // 11 * 0.25  # only events after the finish reason may be missing


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    value = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}], **more}
    return f"data: {json.dumps(value)}\n\n".encode()


END = chunk({}, "stop") + b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("pieces", "calls"),
    [
        # ids repeated, index missing, the whole call at once, arguments as an object, no id at all
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": "{"}},
          {"index": 0, "id": "a", "function": {"arguments": "}"}}], [("a", "f", "{}")]),
        ([{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"id": "a", "function": {"arguments": "}"}},
          {"id": "b", "function": {"name": "g", "arguments": "{}"}}], [("a", "f", "{}"), ("b", "g", "{}")]),
        ([{"id": "a", "function": {"name": "f", "arguments": "{"}}, {"function": {"arguments": "}"}}], [("a", "f", "{}")]),
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": {"x": 1}}}], [("a", "f", '{"x":1}')]),
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": None}}], [("a", "f", "{}")]),
        ([{"index": 0, "id": "a", "function": {"name": "f", "arguments": ""}},
          {"index": 0, "id": "b", "function": {"name": "g", "arguments": ""}}], [("a", "f", "{}"), ("b", "g", "{}")]),
    ],
)  # fmt: skip
def test_s5_tool_calls_stay_separate_in_all_forms(pieces: list[Any], calls: list[tuple[str, str, str]]) -> None:
    body = b"".join(chunk({"tool_calls": [piece]}) for piece in pieces) + END
    reply = collect(read_events(OPENAI, body))
    assert [(call.id, call.name, call.arguments) for call in reply.calls] == calls
    assert reply.finish.reason == "tool_calls"


def test_content_can_be_a_list_with_reasoning() -> None:
    thinking = {"type": "thinking", "thinking": [{"type": "text", "text": "Hm."}]}
    body = chunk({"content": [thinking]}) + chunk({"content": [{"type": "text", "text": "Yes."}]}) + END
    reply = collect(read_events(OPENAI, body))
    assert (reply.reasoning, reply.text) == ("Hm.", "Yes.")


def test_a_finish_reason_can_come_before_the_last_text_and_twice() -> None:
    body = chunk({"content": "A"}, "stop") + chunk({"content": "B"}, "eos") + chunk({}, None)
    assert collect(read_events(OPENAI, body)).text == "AB"  # and without [DONE]


def test_done_without_a_finish_reason_is_other() -> None:
    reply = collect(read_events(OPENAI, chunk({"content": "A"}) + b"data: [DONE]\n\n"))
    assert (reply.finish.reason, reply.finish.raw) == ("other", None)


def test_citations_images_and_refusals_are_read() -> None:
    cited = {
        "type": "url_citation",
        "url_citation": {"url": "https://a.example", "title": "A", "start_index": 0, "end_index": 2},
    }
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    body = (
        chunk({"content": "Hi"})
        + chunk({"annotations": [cited]})
        + chunk({"images": [image]})
        + chunk({"refusal": "No."})
        + END
    )
    parts = collect(read_events(OPENAI, body)).message.parts
    assert isinstance(parts[0], Text) and parts[0].citations[0].url == "https://a.example"
    assert parts[1] == Media(mime="image/png", base64="AAAA")
    assert isinstance(parts[2], Text) and parts[2].text == "No."


def test_t5_byte_offsets_become_characters() -> None:
    text = "Zwölf 🎈 here"
    support = {"segment": {"startIndex": 7, "endIndex": 11, "text": "🎈"}, "groundingChunkIndices": [0]}
    grounding = {
        "groundingChunks": [{"web": {"uri": "https://a.example", "title": "A"}}],
        "groundingSupports": [support],
    }
    value = {
        "candidates": [{"content": {"parts": [{"text": text}]}, "groundingMetadata": grounding, "finishReason": "STOP"}]
    }
    [part] = collect(read_events(GOOGLE, f"data: {json.dumps(value)}\n\n".encode())).message.parts
    assert isinstance(part, Text)
    [citation] = part.citations
    assert citation == Citation("https://a.example", "A", "🎈", 6, 7)
    assert text[6:7] == "🎈"


def test_t5_deltas_from_the_fast_path_count_for_offsets() -> None:
    reader = gemini.create_reader(GOOGLE)

    def chunk(text: str, **more: Any) -> Frame:
        return Frame(json.dumps({"candidates": [{"content": {"parts": [{"text": text}]}, **more}]}))

    support = {"segment": {"startIndex": 13, "endIndex": 17}, "groundingChunkIndices": [0]}
    sources = {"groundingChunks": [{"web": {"uri": "https://a.example"}}], "groundingSupports": [support]}
    reader.feed(chunk("Zwölf "))
    reader.note_delta(TextDelta(0, "times "))
    cited = [event for event in reader.feed(chunk("🎈", groundingMetadata=sources)) if isinstance(event, Cited)]
    assert [(one.citation.start, one.citation.end) for one in cited] == [(12, 13)]


_GROWING = {
    "text of Gemini": (GOOGLE, [], {"candidates": [{"content": {"parts": [{"text": "word " * 200}]}}]}),
    "a signature": (
        ENGINES["anthropic"],
        [
            {"type": "message_start", "message": {"id": "msg_1", "model": "m"}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "thinking", "thinking": ""}},
        ],
        {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": "word" * 50}},
    ),
    "arguments whose name is told each time": (
        OPENAI,
        [],
        {
            "choices": [
                {"index": 0, "delta": {"tool_calls": [{"function": {"name": "f", "arguments": '["' + "word" * 50}}]}}
            ]
        },
    ),
}


@pytest.mark.parametrize("what", _GROWING)
def test_o3_the_cost_of_a_delta_is_constant(what: str) -> None:
    engine, before, piece = _GROWING[what]
    frame = Frame(json.dumps(piece))

    reader = ENGINE_DIALECTS[engine.dialect].create_reader(engine)
    for first in before:
        reader.feed(Frame(json.dumps(first)))
    with limit_processor_time():
        codes, held = measure_work(lambda: reader.feed(frame))
        for _ in range(10_000):
            reader.feed(frame)
        late_codes, late_held = measure_work(lambda: reader.feed(frame))
    assert late_codes <= codes and late_held < 2 * held


def test_a_blocked_prompt_is_an_error() -> None:
    with pytest.raises(errors.ContentBlocked, match="SAFETY"):
        read_events(GOOGLE, b'data: {"promptFeedback": {"blockReason": "SAFETY"}}\n\n')


@pytest.mark.parametrize(
    ("engine", "wire", "usage"),
    [
        (OPENAI, {"prompt_tokens": 10, "completion_tokens": 5}, Usage(fresh=10, text=5)),
        (OPENAI, {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 12}}, Usage(fresh=0, cache_read=10, text=5)),
        (ENGINES["deepseek"], {"prompt_tokens": 10, "completion_tokens": 5, "prompt_cache_hit_tokens": 4}, Usage(fresh=6, cache_read=4, text=5)),
        (XAI, {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 22, "completion_tokens_details": {"reasoning_tokens": 7}}, Usage(fresh=10, text=5, reasoning=7)),
        (OPENAI, {"prompt_tokens": 10, "completion_tokens": 9, "total_tokens": 19, "completion_tokens_details": {"reasoning_tokens": 7}}, Usage(fresh=10, text=2, reasoning=7)),
    ],
)  # fmt: skip
def test_e8_the_arithmetic_of_usage(engine: Engine, wire: dict[str, Any], usage: Usage) -> None:
    body = chunk({"content": "A"}, "stop", usage=wire) + b"data: [DONE]\n\n"
    reply = collect(read_events(engine, body))
    assert reply.usage == usage
    total = (usage.input or 0) + (usage.output or 0)
    assert total == sum((usage.fresh or 0, usage.cache_read, usage.cache_write, usage.text or 0, usage.reasoning))


IN_BAND = [
    (OPENAI, b'data: {"error":{"message":"Broke.","type":"server_error","code":"x"}}\n\n', errors.EngineFailed, "x"),
    (OPENAI, b'event: error\ndata: {"error":{"message":"Broke.","status_code":400}}\n\n', errors.InvalidRequest, None),
    (OPENAI, b'data: {"code":"The service is unavailable","error":"Broke."}\n\n', errors.EngineFailed, "The service is unavailable"),
    (OPENAI, b'data: {"message":"Broke.","code":"queue_exceeded","type":"t"}\n\n', errors.Overloaded, "queue_exceeded"),
    (ENGINES["openrouter"], b'data: {"id":"g","error":{"code":502,"message":"Broke."},"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}]}\n\n', errors.EngineFailed, "502"),
    (OPENAI, b'data: {"error":"Broke."}\n\n', errors.EngineFailed, None),
    (GOOGLE, b'data: {"error":{"code":429,"message":"Broke.","status":"RESOURCE_EXHAUSTED"}}\n\n', errors.RateLimited, "RESOURCE_EXHAUSTED"),
    (GOOGLE, b'data: [{"error":{"code":503,"message":"Broke.","status":"UNAVAILABLE"}}]\n\n', errors.Overloaded, "UNAVAILABLE"),
    (OLLAMA, b'{"error":"Broke."}\n', errors.EngineFailed, None),
]  # fmt: skip


@pytest.mark.parametrize(("engine", "body", "kind", "code"), IN_BAND)
def test_s2_an_error_inside_a_stream_is_that_error(
    engine: Engine, body: bytes, kind: type[LLMError], code: str | None
) -> None:
    with pytest.raises(kind, match="Broke") as raised:
        read_events(engine, body)
    assert raised.value.provider is not None
    assert (raised.value.provider.message, raised.value.provider.code) == ("Broke.", code)


FAILURES = [
    (openai_chat, OPENAI, 400, {"error": {"message": "M", "code": "context_length_exceeded"}}, errors.ContextTooLong),
    (openai_chat, OPENAI, 400, {"error": {"message": "M", "code": "content_filter", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, errors.ContentBlocked),
    (openai_chat, OPENAI, 404, {"error": {"message": "M", "code": "model_not_found"}}, errors.UnknownModel),
    (openai_chat, OPENAI, 429, {"error": {"message": "M", "code": "insufficient_quota"}}, errors.QuotaExceeded),
    (openai_chat, OPENAI, 422, {"detail": [{"loc": ["body", "messages"], "msg": "M", "type": "t"}]}, errors.InvalidRequest),
    (openai_chat, OPENAI, 401, {"message": "M", "request_id": "r"}, errors.EngineRefusedKey),
    (openai_chat, XAI, 400, {"code": "Client specified an invalid argument", "error": "Incorrect API key provided: xa***"}, errors.EngineRefusedKey),
    (openai_chat, ENGINES["openrouter"], 402, {"error": {"code": 402, "message": "M"}}, errors.QuotaExceeded),
    (gemini, GOOGLE, 400, {"error": {"code": 400, "message": "API key not valid.", "status": "INVALID_ARGUMENT", "details": [{"reason": "API_KEY_INVALID"}]}}, errors.EngineRefusedKey),
    (gemini, GOOGLE, 403, {"error": {"code": 403, "message": "M", "status": "PERMISSION_DENIED"}}, errors.EngineForbids),
    (ollama, OLLAMA, 404, {"error": "model 'x' not found"}, errors.UnknownModel),
    (ollama, OLLAMA, 400, {"error": "the input exceeds the available context size"}, errors.ContextTooLong),
]  # fmt: skip


@pytest.mark.parametrize(("dialect", "engine", "status", "wire", "kind"), FAILURES)
def test_e2_a_failure_is_classified_by_status_and_code(
    dialect: EngineDialect, engine: Engine, status: int, wire: dict[str, Any], kind: type[LLMError]
) -> None:
    error = dialect.read_error(status, json.dumps(wire).encode(), engine)
    assert type(error) is kind
    assert error.message
    assert isinstance(error.provider, ProviderErrorDetails) and error.provider.status == status


def test_a_retry_delay_in_the_body_is_read() -> None:
    detail = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "34.4s"}
    body = {"error": {"code": 429, "message": "M", "status": "RESOURCE_EXHAUSTED", "details": [detail]}}
    assert gemini.read_error(429, json.dumps(body).encode(), GOOGLE).retry_after == 34.4


ODD: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just({}) | st.just([]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)


@pytest.mark.parametrize("name", GOLDEN)
@given(data=st.data())
def test_s8_a_mutated_answer_raises_only_llm_errors(name: str, data: st.DataObject) -> None:
    """Replaces or removes one value of one event of a sample."""
    engine, _ = GOLDEN[name]
    lines = read_sample(name).replace(b"\r\n", b"\n").split(b"\n")
    places = [n for n, line in enumerate(lines) if b"{" in line]
    at = data.draw(st.sampled_from(places))
    prefix, _, raw = lines[at].partition(b"{")
    value = _mutate(json.loads(b"{" + raw), data)
    lines[at] = prefix + json.dumps(value).encode()
    dialect = ENGINE_DIALECTS[engine.dialect]
    with suppress(LLMError):
        read_events(engine, b"\n".join(lines))
    with suppress(LLMError):
        dialect.read_reply(value, engine)
    assert isinstance(dialect.read_error(500, json.dumps(value).encode(), engine), LLMError)


def _mutate(value: Any, data: st.DataObject) -> Any:
    value = copy.deepcopy(value)
    node: Any = value
    path: list[Any] = []
    while isinstance(node, dict | list) and node and (not path or data.draw(st.booleans())):
        keys = list(node) if isinstance(node, dict) else range(len(node))
        path.append(key := data.draw(st.sampled_from(keys)))
        node = node[key]
    if not path:
        return data.draw(ODD)
    holder = value
    for key in path[:-1]:
        holder = holder[key]
    if data.draw(st.booleans()):
        holder[path[-1]] = data.draw(ODD)
    else:
        del holder[path[-1]]
    return value


@given(body=st.binary(max_size=60), status=st.integers(400, 599))
def test_e2_any_error_body_gives_a_message(body: bytes, status: int) -> None:
    for engine in (OPENAI, GOOGLE, OLLAMA):
        error = ENGINE_DIALECTS[engine.dialect].read_error(status, body, engine)
        assert error.message and error.engine == engine.name


def run_lister(engine: Engine, *answers: Any) -> list[ModelInfo]:
    """Drives a model lister with the engine's answers, batch by batch."""
    lister = ENGINE_DIALECTS[engine.dialect].list_models(engine)
    next(lister)
    for answer in answers[:-1]:
        lister.send(answer)
    with pytest.raises(StopIteration) as end:
        lister.send(answers[-1])
    models: list[ModelInfo] = end.value.value
    return models


def test_a_model_list_prefers_the_entry_to_patterns() -> None:
    entry = {
        "id": "a/b",
        "name": "B",
        "created": 7,
        "context_length": 1000,
        "supported_parameters": ["tools"],
        "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
        "top_provider": {"max_completion_tokens": 50},
    }
    [model] = run_lister(ENGINES["openrouter"], [{"data": [entry]}])
    assert model.can == {"tools", "images"} and not model.guessed
    assert (model.context_tokens, model.max_output_tokens, model.meta) == (1000, 50, entry)


def test_a_model_list_of_bare_ids_is_classified_by_patterns() -> None:
    ids = [
        "gpt-5.4",
        "text-embedding-3-small",
        "gpt-image-2",
        "whisper-1",
        "tts-1",
        "omni-moderation",
        "gpt-5-chat-latest",
    ]
    models = {m.id: m for m in run_lister(OPENAI, [{"data": [{"id": id, "created": n} for n, id in enumerate(ids)]}])}
    kinds = {id: model.kind for id, model in models.items()}
    assert kinds == {
        "gpt-5.4": "chat", "text-embedding-3-small": "embedding", "gpt-image-2": "image", "whisper-1": "stt",
        "tts-1": "tts", "gpt-5-chat-latest": "chat",
    }  # fmt: skip
    assert models["gpt-5.4"].can == models["gpt-5.4"].guessed == {"tools", "images", "reasoning"}
    assert models["gpt-5-chat-latest"].can == {"images"}


def test_gemini_lists_page_by_page() -> None:
    first = {"models": [{"name": "models/gemini-9", "displayName": "G9", "thinking": True, "inputTokenLimit": 5,
                         "supportedGenerationMethods": ["generateContent"]}], "nextPageToken": "x/y"}  # fmt: skip
    second = {"models": [{"name": "models/embed-1", "supportedGenerationMethods": ["embedContent"]}]}
    lister = gemini.list_models(GOOGLE)
    next(lister)
    [asked] = lister.send([first])
    assert asked.path.endswith("pageToken=x%2Fy")
    models = run_lister(GOOGLE, [first], [second])
    assert [(m.id, m.kind) for m in models] == [("gemini-9", "chat"), ("embed-1", "embedding")]
    assert "reasoning" in models[0].can and "reasoning" not in models[0].guessed


def test_ollama_requests_details_and_keeps_models_without_them() -> None:
    tags = {
        "models": [{"name": "b:1", "model": "b:1"}, {"name": "a:1", "model": "a:1", "capabilities": ["completion"]}]
    }
    show = {"capabilities": ["completion", "tools", "vision", "thinking"], "model_info": {"q.context_length": 4096}}
    models = run_lister(OLLAMA, [tags], [show, errors.EngineFailed("no")])
    assert [(m.id, m.context_tokens) for m in models] == [("a:1", None), ("b:1", 4096)]
    assert models[1].can == {"tools", "images", "reasoning"}


def test_parts_of_a_reply_keep_their_order() -> None:
    reply = collect(read_events(GOOGLE, read_sample("gemini/signed-calls.sse")))
    assert [type(part) for part in reply.message.parts] == [Reasoning, Text, ToolCall, ToolCall, Text]
    assert any(isinstance(event, Cited) for event in [*replay(reply)]) is False
