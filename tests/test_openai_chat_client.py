"""Chat Completions towards clients: what we read from them, and what we write, byte by byte where it counts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
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
    FinishReason,
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
from llm.chat.messages import Citation, Foreign, Media, Message, Reasoning, Text, ToolCall, ToolResult, Usage
from llm.chat.provider_metadata import Opaque
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.dialects import openai_chat
from llm.engines.capabilities import ModelInfo
from llm.engines.engine import Engine, Quirks
from llm.errors import LLMError, ProviderSaid
from llm.wire.json_codec import Json
from tests.grammars import check_openai_chat

HOST = Engine(
    name="host",
    label="Host",
    dialect="openai-chat",
    base_url="https://host.example/v1",
    quirks=Quirks(echo_reasoning="always"),
)


def read(*messages: Any, **more: Any) -> ChatRequest:
    return openai_chat.read_request({"model": "e/m", "messages": [*messages], **more})


def sent(request: ChatRequest, engine: Engine = HOST) -> Any:
    return json.loads(json.dumps(openai_chat.write_request(request, engine).body))


def kept(**data: Any) -> tuple[Opaque, ...]:
    return (Opaque("openai-chat", None, data),)


def test_results_in_a_row_are_one_message_of_the_user() -> None:
    request = read(
        {"role": "tool", "tool_call_id": "a", "content": "1"},
        {"role": "tool", "tool_call_id": "b", "name": "f", "content": [{"type": "text", "text": "2"}]},
        {"role": "user", "content": "And?"},
        {"role": "tool", "tool_call_id": "c", "content": None},
    )
    assert request.messages == (
        Message("user", (ToolResult("a", (Text("1"),)), ToolResult("b", (Text("2"),), name="f"))),
        Message("user", (Text("And?"),)),
        Message("user", (ToolResult("c"),)),
    )


def test_both_words_for_the_system_are_the_system_and_keep_their_spelling() -> None:
    request = read({"role": "system", "content": "A"}, {"role": "developer", "content": "B"})
    assert [message.role for message in request.messages] == ["system", "system"]
    assert [message["role"] for message in sent(request)["messages"]] == ["system", "developer"]


def test_functions_of_old_find_their_results() -> None:
    made = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}}
    told = {"role": "function", "name": "f", "content": "1"}
    request = read(made, told, made, told, functions=[{"name": "f"}], function_call={"name": "f"})
    calls = [part.id for message in request.messages for part in message.parts if isinstance(part, ToolCall)]
    results = [part.call_id for message in request.messages for part in message.parts if isinstance(part, ToolResult)]
    assert calls == results and len({*calls}) == 2
    assert request.tools == (ToolSpec("f"),)
    assert request.options.tool_choice == "tool:f"
    assert [message["role"] for message in sent(request)["messages"]] == ["assistant", "tool"] * 2
    assert read(made, told, made, told) == read(made, told, made, told)  # caches depend on the same bytes


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_t3_a_thought_is_read_under_both_names(field: str) -> None:
    request = read({"role": "assistant", "content": "A", field: "Hm."})
    assert request.messages[0].parts == (Reasoning("Hm."), Text("A"))
    assert sent(request)["messages"][0] == {"role": "assistant", "content": "A", "reasoning_content": "Hm."}


def test_t1_reasoning_details_come_back_as_they_came() -> None:
    details = [{"type": "reasoning.encrypted", "data": "QQ==", "x": [None]}, {"type": "new"}]
    message = {"role": "assistant", "content": "A", "reasoning_details": details}
    assert sent(read(message))["messages"] == [message]
    odd = {"role": "assistant", "content": "A", "reasoning_details": {"no": "list"}}
    assert sent(read(odd))["messages"] == [odd]


def test_a_refusal_is_what_was_said() -> None:
    request = read({"role": "assistant", "content": None, "refusal": "No."})
    assert request.messages[0].parts == (Text("No."),)


CONTENT: list[tuple[Any, Any]] = [
    ({"type": "text", "text": "A"}, Text("A")),
    ({"type": "text", "text": "A", "x": 1}, Text("A", keep=kept(x=1))),
    ({"type": "refusal", "refusal": "No."}, Text("No.")),
    (
        {"type": "image_url", "image_url": {"url": "https://x/y.png", "detail": "low"}},
        Media(mime="image/png", url="https://x/y.png", keep=kept(image_url={"detail": "low"})),
    ),
    (
        {"type": "image_url", "image_url": {"url": "data:image/webp;base64,AA=="}},
        Media(mime="image/webp", base64="AA=="),
    ),
    ({"type": "image_url", "image_url": "https://x/y.png"}, Media(mime="image/png", url="https://x/y.png")),
    (
        {"type": "input_audio", "input_audio": {"data": "AA==", "format": "mp3"}},
        Media(mime="audio/mpeg", base64="AA=="),
    ),
    (
        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:application/pdf;base64,AA==", "x": 1}},
        Media(mime="application/pdf", base64="AA==", name="a.pdf", keep=kept(file={"x": 1})),
    ),
    ({"type": "file", "file": {"file_id": "f1"}}, Media(mime="application/octet-stream", file_id="f1", keep=kept())),
    ({"type": "video_url", "video_url": {"url": "u"}}, Foreign(kept(type="video_url", video_url={"url": "u"}))),
]
# Forms that only some hosts have are theirs to judge.
HOSTS_OWN: list[Any] = [
    {"type": "input_audio", "input_audio": "https://x/y.mp3"},
    {"type": "input_audio", "input_audio": {"data": "AA==", "format": "pcm24"}},
    {"type": "file", "file": {"filename": "a.pdf", "file_data": "https://x/a.pdf"}},
    {"no": "type"},
]


@pytest.mark.parametrize(("wire", "part"), [*CONTENT, *((wire, Foreign(kept(**wire))) for wire in HOSTS_OWN)])
def test_t12_parts_are_read_and_written_again(wire: Any, part: Any) -> None:
    request = read({"role": "user", "content": [{"type": "text", "text": "Look"}, wire]})
    assert request.messages[0].parts == (Text("Look"), part)
    [_, again] = sent(request)["messages"][0]["content"]
    if isinstance(wire.get("image_url"), str):
        wire = {**wire, "image_url": {"url": wire["image_url"]}}
    if wire.get("type") == "refusal":
        wire = {"type": "text", "text": "No."}
    assert again == wire


def test_t12_a_custom_tool_keeps_its_form() -> None:
    tool = {"type": "custom", "custom": {"name": "shell", "format": {"type": "text"}}}
    call = {"id": "c1", "type": "custom", "custom": {"name": "shell", "input": "ls -l"}}
    request = read(
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c1", "content": "a.txt"},
        tools=[tool],
        tool_choice={"type": "custom", "custom": {"name": "shell"}},
    )
    body = sent(request)
    assert body["tools"] == [tool]
    assert body["messages"][0]["tool_calls"] == [call]
    assert body["tool_choice"] == {"type": "custom", "custom": {"name": "shell"}}


@pytest.mark.parametrize(
    ("wire", "choice"),
    [
        ("auto", "auto"),
        ("none", "none"),
        ("required", "required"),
        ("any", "required"),  # Mistral's word
        ({"type": "auto"}, "auto"),
        ({"type": "function", "function": {"name": "f"}}, "tool:f"),
        ({"function": {"name": "f"}}, "tool:f"),
        (None, None),
        ({"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}, None),
    ],
)
def test_a_choice_of_tools_is_read(wire: Any, choice: str | None) -> None:
    request = read(tool_choice=wire)
    assert request.options.tool_choice == choice
    if isinstance(wire, dict) and choice is None:
        assert sent(request)["tool_choice"] == wire


@pytest.mark.parametrize(
    ("wire", "read_as"),
    [
        ({"type": "text"}, None),
        ({"type": "json_object"}, JsonFormat()),
        ({"type": "json_object", "schema": {"type": "object"}}, JsonFormat({"type": "object"})),
        (
            {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True, "description": "d"}},
            JsonFormat({}, "n", True, kept(description="d")),
        ),
    ],
)
def test_t7_a_format_is_read(wire: Any, read_as: JsonFormat | None) -> None:
    assert read(response_format=wire).options.format == read_as


def test_options_are_read_with_their_zeros() -> None:
    options = read(
        max_tokens=1, max_completion_tokens=0, temperature=0, top_p=0.0, top_k=0, stop="x", seed=0, presence_penalty=0,
        frequency_penalty=0, reasoning_effort="none", verbosity="low", logprobs=False, top_logprobs=0,
        parallel_tool_calls=False, service_tier="flex",
    ).options  # fmt: skip
    assert options == Options(
        max_tokens=0, temperature=0, top_p=0, top_k=0, stop=("x",), seed=0, presence_penalty=0, frequency_penalty=0,
        effort="none", verbosity="low", logprobs=False, top_logprobs=0, parallel_tools=False, service_tier="flex",
    )  # fmt: skip
    assert read(stop=["a", "b"], max_tokens=3).options == Options(stop=("a", "b"), max_tokens=3)


def test_t8_what_changes_the_answer_is_no_hint_unless_it_asks_for_nothing() -> None:
    telling = {"n": 2, "modalities": ["audio"], "audio": {"voice": "x"}, "logit_bias": {"1": 2}, "min_p": 0.1}
    asking_nothing: dict[str, Any] = {"n": 1, "modalities": ["text"], "logit_bias": {}}
    hints = {"user": "u", "metadata": {}, "store": False, "prompt_cache_key": "k", "safety_identifier": "s"}
    assert not read(**telling).hints & telling.keys()
    assert asking_nothing.keys() | hints.keys() <= read(**asking_nothing, **hints).hints
    for fields in (telling, {**asking_nothing, **hints}):
        body = sent(read(**fields))
        assert {name: body[name] for name in fields} == fields
    assert not read(audio=None).keep


@pytest.mark.parametrize("effort", ["default", "ultra"])
def test_an_effort_that_only_some_hosts_have_is_kept_for_them(effort: str) -> None:
    request = read(reasoning_effort=effort)
    assert request.options.effort is None and "reasoning_effort" not in request.hints
    assert sent(request)["reasoning_effort"] == effort


def test_usage_is_shown_to_a_stream_that_asked_and_to_every_whole_answer() -> None:
    assert not read(stream=True).show_usage
    assert not read(stream=True, stream_options={"include_usage": False}).show_usage
    assert read(stream=True, stream_options={"include_usage": True}).show_usage
    assert read().show_usage


PLACES: list[tuple[dict[str, Any], str]] = [
    ({"tool_calls": [{"id": "a", "type": "custom"}]}, "messages[0].tool_calls[0].custom"),
    ({"tool_calls": [{"type": "function", "function": {"name": "f"}}]}, "messages[0].tool_calls[0].id"),
    ({"tool_calls": [{"id": "a", "function": {"name": 3}}]}, "messages[0].tool_calls[0].function.name"),
    (
        {"tool_calls": [{"id": "a", "function": {"name": "f", "arguments": {}}}]},
        "messages[0].tool_calls[0].function.arguments",
    ),
    ({"tool_calls": "x"}, "messages[0].tool_calls"),
    ({"function_call": {"arguments": "{}"}}, "messages[0].function_call.name"),
    ({"refusal": 3}, "messages[0].refusal"),
    ({"content": [3]}, "messages[0].content[0]"),
    ({"content": [{"type": "image_url", "image_url": {}}]}, "messages[0].content[0].image_url.url"),
    ({"content": [{"type": "input_audio", "input_audio": {}}]}, "messages[0].content[0].input_audio.data"),
    ({"content": [{"type": "file", "file": {}}]}, "messages[0].content[0].file.file_data"),
]


@pytest.mark.parametrize(("fields", "place"), PLACES)
def test_what_is_wrong_is_told_with_its_place(fields: dict[str, Any], place: str) -> None:
    with pytest.raises(errors.InvalidRequest) as told:
        read({"role": "assistant", **fields})
    assert told.value.param == place and str(told.value).startswith(f"{place}: ")


JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.text(max_size=3) | st.sampled_from(["user", "tool", "text"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(
            [
                "role", "content", "type", "text", "image_url", "url", "input_audio", "data", "format", "file",
                "file_id", "file_data", "filename", "tool_calls", "function_call", "tool_call_id", "function", "custom",
                "name", "arguments", "input", "id", "refusal", "reasoning", "reasoning_details", "schema",
                "json_schema", "strict", "parameters", "include_usage", "x",
            ]
        ),
        inner,
        max_size=5,
    ),
    max_leaves=15,
)  # fmt: skip
ROLES = st.sampled_from(["system", "developer", "user", "assistant", "tool", "function"])


@given(
    messages=st.lists(st.tuples(ROLES, st.dictionaries(st.sampled_from(
        ["content", "refusal", "name", "tool_calls", "function_call", "tool_call_id", "reasoning", "reasoning_details"]
    ), JSON, max_size=4)), max_size=3),
    fields=st.dictionaries(st.sampled_from([
        "tools", "functions", "tool_choice", "function_call", "stream", "stream_options", "response_format", "stop", "n",
        "reasoning_effort", "temperature", "max_tokens", "logprobs", "metadata", "modalities", "logit_bias", "seed",
    ]), JSON, max_size=4),
)  # fmt: skip
def test_s8_any_json_object_is_a_request_or_a_fault_that_is_told(messages: list[Any], fields: dict[str, Any]) -> None:
    with suppress(LLMError):
        request = read(*({**more, "role": role} for role, more in messages), **fields)
        with suppress(errors.Unsupported):
            sent(request)
        with suppress(errors.Unsupported):
            sent(request, replace(HOST, translate=True, quirks=Quirks(flat_content=True, unknown_fields=False)))


ASKED = ChatRequest(model="e/m", messages=(), stream=True, show_usage=False)
HEAD = b'data: {"id":"r1","object":"chat.completion.chunk","created":7,"model":"m-1",'
DONE = b"data: [DONE]\n\n"


def chunk(delta: bytes, finish: bytes = b"null") -> bytes:
    return HEAD + b'"choices":[{"index":0,"delta":' + delta + b',"finish_reason":' + finish + b"}]}\n\n"


ROLE = chunk(b'{"role":"assistant","content":""}')


def written(*events: Event, request: ChatRequest = ASKED) -> bytes:
    writer = openai_chat.writer(request, 7)
    raw = b"".join(piece for event in events for piece in writer.feed([event]))
    writer = openai_chat.writer(request, 7)
    at_once = writer.feed(events)
    assert len(at_once) == 1 and at_once[0] == raw  # however they are batched
    check_openai_chat(raw)
    return raw


def deltas(raw: bytes) -> Iterator[Any]:
    for block in raw.decode().split("\n\n"):
        if block.startswith("data: {"):
            for choice in json.loads(block[6:])["choices"]:
                yield choice["delta"]


BEGIN, END = Started("r1", "m-1"), Finished("stop", "eos")


def test_a_stream_byte_by_byte() -> None:
    raw = written(
        BEGIN,
        ReasoningDelta(0, "Hm\n"),
        PartEnded(0),
        TextDelta(1, 'Grüße 🎈 "%s" </script>\u2028'),
        TextDelta(1, ""),
        PartEnded(1),
        UsageReported(Usage(fresh=1, text=2)),
        END,
    )
    assert raw == b"".join(
        (
            ROLE,
            chunk(b'{"reasoning_content":"Hm\\n"}'),
            chunk('{"content":"Grüße 🎈 \\"%s\\" </script>\u2028"}'.encode()),
            chunk(b"{}", b'"stop"'),
            DONE,
        )
    )


def test_e7_usage_is_told_behind_the_end_to_those_who_asked() -> None:
    usage = Usage(fresh=10, cache_read=60, cache_write=30, text=30, reasoning=20, other={"audio_output": 7})
    raw = written(
        BEGIN, TextDelta(0, "A"), PartEnded(0), UsageReported(Usage(fresh=1)), UsageReported(usage), END,
        request=replace(ASKED, show_usage=True),
    )  # fmt: skip
    *_, finish, told, done, nothing = raw.split(b"\n\n")
    assert (done, nothing) == (b"data: [DONE]", b"")
    assert b'"finish_reason":"stop"' in finish
    assert json.loads(told[6:])["choices"] == []
    assert json.loads(told[6:])["usage"] == {
        "prompt_tokens": 100,
        "completion_tokens": 50,
        "total_tokens": 150,
        "prompt_tokens_details": {"cached_tokens": 60, "cache_write_tokens": 30},
        "completion_tokens_details": {"reasoning_tokens": 20, "audio_tokens": 7},
    }
    assert b"usage" not in written(BEGIN, UsageReported(usage), END)


@pytest.mark.parametrize(
    ("usage", "wholes"),
    [
        (Usage(), (0, 0)),
        (Usage(cache_read=5, reasoning=3), (5, 3)),  # the wholes were not told
        (Usage(fresh=1, cache_read=5, cache_write=2, text=4, reasoning=3), (8, 7)),
    ],
)
def test_e8_the_wholes_of_usage_hold_their_parts(usage: Usage, wholes: tuple[int, int]) -> None:
    raw = written(BEGIN, UsageReported(usage), END, request=replace(ASKED, show_usage=True))
    told = json.loads(raw.split(b"\n\n")[-3][6:])["usage"]
    assert (told["prompt_tokens"], told["completion_tokens"], told["total_tokens"]) == (*wholes, sum(wholes))


def test_half_an_emoji_in_each_of_two_deltas_is_whole_when_joined() -> None:
    raw = written(BEGIN, TextDelta(0, "\ud83c"), TextDelta(0, "\udf88"), PartEnded(0), END)
    joined = "".join(delta.get("content", "") for delta in deltas(raw))
    assert joined.encode("utf-16", "surrogatepass").decode("utf-16") == "🎈"


@given(texts=st.lists(st.text(max_size=8), max_size=5))
def test_s4_whatever_is_said_comes_out_as_it_was_said(texts: list[str]) -> None:
    said: list[Event] = [TextDelta(0, text) for text in texts]
    raw = written(BEGIN, *said, *([PartEnded(0)] if said else []), END)
    assert "".join(delta.get("content", "") for delta in deltas(raw)) == "".join(texts)


def test_s3_pieces_of_calls_in_turn_keep_their_bytes_and_their_numbers() -> None:
    raw = written(
        BEGIN,
        TextDelta(0, "A"),
        PartEnded(0),
        ToolCallStarted(1, "a", "f"),
        ToolCallStarted(2, "ours", "fetch", "server"),
        ToolCallStarted(3, "theirs", "search", "provider"),
        ToolCallStarted(4, "b", "g"),
        ToolCallDelta(1, '{"x" :'),
        ToolCallDelta(4, '{ "é'),
        ToolCallDelta(2, "not to be seen"),
        ToolCallDelta(1, " 1.0}"),
        ToolCallDelta(4, '": "\\u00e9" }'),
        PartEnded(1),
        PartEnded(2),
        PartEnded(3),
        PartEnded(4),
        ToolProgress(2, "running", "not to be seen"),
        WholePart(5, ToolResult("ours", (Text("not to be seen"),))),
        WholePart(6, Foreign((Opaque("another", None, {"type": "not to be seen"}),))),
        Finished("tool_calls", "stop"),
    )
    assert b"not to be seen" not in raw and b"fetch" not in raw and b"search" not in raw
    told: dict[int, dict[str, str]] = {}
    for delta in deltas(raw):
        for piece in delta.get("tool_calls", ()):
            call = told.setdefault(piece["index"], {"id": piece.get("id"), "name": "", "arguments": ""})
            call["name"] += piece["function"].get("name", "")
            call["arguments"] += piece["function"]["arguments"]
    assert told == {
        0: {"id": "a", "name": "f", "arguments": '{"x" : 1.0}'},
        1: {"id": "b", "name": "g", "arguments": '{ "é": "\\u00e9" }'},
    }


def test_what_a_client_has_to_bring_back_is_told() -> None:
    details: list[Json] = [{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln"}]
    signature: Json = {"google": {"thought_signature": "c2ln"}}
    raw = written(
        BEGIN,
        ReasoningDelta(0, "Hm."),
        PartEnded(0, (Opaque("openai-chat", "openrouter", {"reasoning_details": details}),)),
        ToolCallStarted(1, "a", "f"),
        PartEnded(
            1,
            (
                Opaque("openai-chat", "host", {"extra_content": signature}),
                Opaque("gemini", "google", {"thoughtSignature": "not for this wire"}),
            ),
        ),
        Finished("tool_calls"),
    )
    assert {"reasoning_details": details} in [*deltas(raw)]
    [first, last] = [delta["tool_calls"][0] for delta in deltas(raw) if "tool_calls" in delta]
    assert first["function"]["name"] == "f"
    assert last == {"index": 0, "function": {"arguments": "{}"}, "extra_content": signature}
    assert b"not for this wire" not in raw


def test_s4_a_call_without_arguments_has_an_empty_object_of_them() -> None:
    """Clients read the joined pieces as JSON."""
    raw = written(
        BEGIN,
        ToolCallStarted(0, "a", "f"),
        PartEnded(0),
        ToolCallStarted(1, "b", "g"),
        PartEnded(1),
        Finished("tool_calls"),
    )
    pieces = [call for delta in deltas(raw) for call in delta.get("tool_calls", ())]
    assert [(call["index"], call["function"]["arguments"]) for call in pieces] == [
        (0, ""),
        (0, "{}"),
        (1, ""),
        (1, "{}"),
    ]


def test_t5_offsets_count_in_all_the_text() -> None:
    own: dict[str, Any] = {
        "type": "url_citation",
        "url_citation": {"url": "https://own", "start_index": 1, "end_index": 2, "x": 3},
    }
    events: list[Event] = [
        BEGIN,
        TextDelta(0, "🎈 one. "),
        Cited(0, Citation("https://a", "A", "q", 2, 5)),
        PartEnded(0),
        ToolCallStarted(1, "a", "f"),
        PartEnded(1),
        TextDelta(2, "Then "),
        TextDelta(2, "two."),
        Cited(2, Citation("https://b", start=5, end=8)),
        Cited(2, Citation("https://c")),
        Cited(2, Citation("https://own", start=1, end=2, keep=(Opaque("openai-chat", "host", own),))),
        PartEnded(2),
        Finished("tool_calls"),
    ]
    streamed = [note for delta in deltas(written(*events)) for note in delta.get("annotations", ())]
    reply: Any = openai_chat.write_reply(collect(events), ASKED, 7)
    message = reply["choices"][0]["message"]
    assert [note.pop("index", None) for note in streamed] == [None, 1, 2, 3]  # how OpenAI's own client joins them
    assert message["annotations"] == streamed
    first, second, third, fourth = (note["url_citation"] for note in streamed)
    assert message["content"][first["start_index"] : first["end_index"]] == "one"
    assert message["content"][second["start_index"] : second["end_index"]] == "two"
    assert first == {"url": "https://a", "title": "A", "content": "q", "start_index": 2, "end_index": 5}
    assert third == {"url": "https://c"}
    assert fourth == own["url_citation"]


@pytest.mark.parametrize("begun", [(), (BEGIN,), (BEGIN, TextDelta(0, "A"))])
def test_s1_s2_a_failure_is_an_error_and_then_the_end_of_the_wire(begun: tuple[Event, ...]) -> None:
    said = ProviderSaid(0, "tool_use_failed", "invalid_request_error", "Broke.")
    raw = written(*begun, Failed(errors.InvalidRequest("Broke.", provider=said)))
    assert b'"finish_reason":"' not in raw and raw.endswith(b"\n\n" + DONE if begun else DONE)
    [error] = [json.loads(block[6:])["error"] for block in raw.decode().split("\n\n") if '"error"' in block]
    assert (error["message"], error["type"], error["code"]) == ("Broke.", "invalid_request_error", "tool_use_failed")
    cut = written(*begun, Failed(errors.Truncated("Cut.")))
    assert b'"code":"upstream_truncated"' in cut and b'"type":"gateway_error"' in cut
    assert b'"finish_reason":"' not in cut


def test_s11_a_ping_is_a_comment() -> None:
    assert openai_chat.writer(ASKED, 7).ping() == b": ping\n\n"


ENDS: list[tuple[FinishReason, str]] = [
    ("stop", "stop"), ("length", "length"), ("filtered", "content_filter"), ("paused", "stop"), ("other", "stop"),
]  # fmt: skip


@pytest.mark.parametrize(("reason", "word"), ENDS)
def test_s6_the_end_in_the_words_of_the_wire(reason: FinishReason, word: str) -> None:
    raw = written(BEGIN, TextDelta(0, "A"), PartEnded(0), Finished(reason))
    assert raw.endswith(chunk(b"{}", f'"{word}"'.encode()) + DONE)


def test_a_stream_without_an_id_or_a_model_gets_them() -> None:
    writer = openai_chat.writer(ASKED, 7)
    [raw] = writer.feed([Started("", ""), TextDelta(0, "A"), PartEnded(0), END])
    check_openai_chat(raw)
    first = json.loads(raw.split(b"\n\n")[0][6:])
    assert first["id"].startswith("chatcmpl-") and first["model"] == "e/m"


WHOLE: Reply = collect(
    [
        BEGIN,
        ReasoningDelta(0, "Hm."),
        PartEnded(0, (Opaque("openai-chat", "host", {"reasoning_details": [{"type": "x"}]}),)),
        TextDelta(1, "A"),
        PartEnded(1),
        ToolCallStarted(2, "a", "f"),
        PartEnded(2, (Opaque("openai-chat", "host", {"extra_content": {"g": 1}}),)),
        ToolCallStarted(3, "ours", "fetch", "server"),
        PartEnded(3),
        WholePart(4, Media(mime="image/png", base64="AA==")),
        TextDelta(5, "B"),
        PartEnded(5),
        UsageReported(Usage(fresh=3, text=2)),
        Finished("tool_calls", "stop", (Opaque("openai-chat", "host", {"logprobs": {"content": []}}),)),
    ]
)


def test_a_whole_answer() -> None:
    assert openai_chat.write_reply(WHOLE, ASKED, 7) == {
        "id": "r1",
        "object": "chat.completion",
        "created": 7,
        "model": "m-1",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": "AB",
                    "refusal": None,
                    "reasoning_content": "Hm.",
                    "reasoning_details": [{"type": "x"}],
                    "tool_calls": [
                        {
                            "id": "a",
                            "type": "function",
                            "function": {"name": "f", "arguments": "{}"},
                            "extra_content": {"g": 1},
                        }
                    ],
                    "images": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}],
                },
                "finish_reason": "tool_calls",
                "logprobs": {"content": []},
            }
        ],
        "usage": {
            "prompt_tokens": 3,
            "completion_tokens": 2,
            "total_tokens": 5,
            "prompt_tokens_details": {"cached_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": 0},
        },
    }


def test_content_is_null_only_beside_calls() -> None:
    def content(*events: Event) -> Any:
        reply: Any = openai_chat.write_reply(collect([BEGIN, *events]), ASKED, 7)
        return reply["choices"][0]["message"]["content"]

    assert content(ToolCallStarted(0, "a", "f"), PartEnded(0), Finished("tool_calls")) is None
    assert content(ReasoningDelta(0, "Hm."), PartEnded(0), Finished("length")) == ""


def test_what_a_client_got_it_can_bring_back() -> None:
    """A whole answer, and the same one streamed, are the same history."""
    whole: Any = openai_chat.write_reply(WHOLE, ASKED, 7)
    history = read(whole["choices"][0]["message"]).messages[0]
    assert [type(part) for part in history.parts] == [Reasoning, Text, ToolCall]
    joined: dict[str, Any] = {"role": "assistant", "content": "", "reasoning_content": "", "tool_calls": {}}
    for delta in deltas(written(*replay(WHOLE))):
        for name in ("content", "reasoning_content"):
            joined[name] += delta.get(name, "")
        if "reasoning_details" in delta:
            joined["reasoning_details"] = delta["reasoning_details"]
        for piece in delta.get("tool_calls", ()):
            call = joined["tool_calls"].setdefault(piece["index"], {"function": {"name": "", "arguments": ""}})
            call["function"]["name"] += piece["function"].get("name", "")
            call["function"]["arguments"] += piece["function"]["arguments"]
            call |= {name: value for name, value in piece.items() if name not in ("index", "function")}
    joined["tool_calls"] = [*joined["tool_calls"].values()]
    assert read(joined).messages[0].parts == history.parts


@pytest.mark.parametrize(
    ("error", "type_", "code"),
    [
        (errors.NotAuthenticated("M"), "authentication_error", "unauthorized"),
        (errors.InvalidRequest("M", param="stop"), "invalid_request_error", "bad_request"),
        (errors.UnknownModel("M"), "invalid_request_error", "model_not_found"),
        (errors.Unsupported("M", param="seed"), "invalid_request_error", "unsupported"),
        (errors.RateLimited("M"), "rate_limit_error", "rate_limited"),
        (errors.Internal("M"), "gateway_error", "internal"),
        (errors.Draining("M"), "gateway_error", "draining"),
        (errors.IdleTimeout("M"), "gateway_error", "idle_timeout"),
        (errors.Truncated("M"), "gateway_error", "upstream_truncated"),
        (errors.EngineFailed("M", provider=ProviderSaid(500)), "server_error", "provider_error"),
        (errors.EngineFailed("M", provider=ProviderSaid(500, "c", "t")), "t", "c"),
        (errors.ContextTooLong("M", provider=ProviderSaid(400, "context_length_exceeded", "invalid_request_error")),
         "invalid_request_error", "context_length_exceeded"),
        # The server's key is not the client's.
        (errors.EngineRefusedKey("M", provider=ProviderSaid(401, "invalid_api_key", "invalid_request_error")),
         "gateway_error", "provider_auth"),
        (errors.EngineForbids("M", provider=ProviderSaid(403, "x", "permission_error")),
         "gateway_error", "provider_permission"),
    ],
)  # fmt: skip
def test_e2_errors_are_told_in_the_shape_of_the_wire(error: LLMError, type_: str, code: str) -> None:
    wire: Any = openai_chat.write_error(error)["error"]
    assert (wire["message"], wire["type"], wire["param"], wire["code"]) == ("M", type_, error.param, code)
    assert wire.get("provider") == (error.provider.as_json() if error.provider else None)


def test_models_are_named_with_their_engine() -> None:
    models = [
        ModelInfo(id="x/y", engine="host", name="Y", created=9, context_tokens=5, max_output_tokens=3, can=frozenset({"tools", "images"})),
        ModelInfo(id="z", engine="host"),
    ]  # fmt: skip
    assert openai_chat.write_models(models) == {
        "object": "list",
        "data": [
            {
                "id": "host/x/y", "object": "model", "created": 9, "owned_by": "host", "name": "Y", "kind": "chat",
                "capabilities": ["images", "tools"], "context_length": 5, "max_completion_tokens": 3,
            },
            {
                "id": "host/z", "object": "model", "created": 0, "owned_by": "host", "name": "z", "kind": "chat",
                "capabilities": [],
            },
        ],
    }  # fmt: skip


@pytest.mark.parametrize("streamed", [True, False])
def test_t1_another_engine_s_signed_thoughts_come_back_each_with_its_own_text(streamed: bool) -> None:
    first, second = (Opaque("anthropic", "anthropic", {"signature": "s1"}),), (Opaque("gemini", "google", {"t": 1}),)
    events: list[Event] = [
        Started("i", "m"),
        ReasoningDelta(0, "One"),
        ReasoningDelta(0, "."),
        PartEnded(0, first),
        ReasoningDelta(1, ""),
        PartEnded(1, second),
        TextDelta(2, "Said."),
        PartEnded(2),
        Finished("stop"),
    ]
    if streamed:
        raw = b"".join(openai_chat.writer(ChatRequest(model="m", messages=()), 1).feed(events)).decode()
        deltas = [json.loads(line[6:])["choices"][0]["delta"] for line in raw.splitlines() if '"delta"' in line]
        details = [one for delta in deltas for one in delta.get("reasoning_details", ())]
        message: Any = {"role": "assistant", "content": "Said.", "reasoning_content": "One."}
        message["reasoning_details"] = details
    else:
        whole: Any = openai_chat.write_reply(collect(events), ChatRequest(model="m", messages=()), 1)
        message = whole["choices"][0]["message"]
    [read] = openai_chat.read_request({"model": "m", "messages": [message]}).messages
    assert read.parts == (Reasoning("One.", first), Reasoning("", second), Text("Said."))
