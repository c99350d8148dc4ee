"""Hand-written answers of every engine dialect, run through both lanes (translation, passthrough) without a server."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any
from unittest.mock import patch

from llm.chat.events import AnyDelta, Event
from llm.chat.messages import Message, Text, ToolCall, Usage
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest
from llm.dialects.registry import PASSTHROUGH_DIALECTS
from llm.engines.engine import Engine, Target
from llm.errors import LLMError
from llm.upstream.call_record import CallRecord
from llm.upstream.engine_client import EngineClient
from llm.upstream.fast_path import DeltaTemplate
from llm.upstream.passthrough.round import PassthroughRound
from llm.upstream.retry import RetryPolicy
from llm.upstream.translate import EngineRound
from tests.support.harness import ScriptedReply, ScriptedTransport

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


def event_of(value: Any) -> bytes:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n".encode()


def chat(*deltas: dict[str, Any]) -> list[bytes]:
    """Returns events of Chat Completions, without the end."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    return [event_of({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}) for delta in deltas]


def chat_end(finish: str) -> list[bytes]:
    ended = {"id": "c1", "choices": [{"index": 0, "delta": {}, "finish_reason": finish}]}
    usage = {"id": "c1", "choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 7, "total_tokens": 12}}
    return [event_of(ended), event_of(usage), b"data: [DONE]\n\n"]


def call(index: int, arguments: str, name: str = "") -> dict[str, Any]:
    """Returns a piece of a tool call; the first piece has the name."""
    function: dict[str, Any] = {"arguments": arguments}
    if not name:
        return {"tool_calls": [{"index": index, "function": function}]}
    function = {"name": name, **function}
    return {"tool_calls": [{"index": index, "id": f"call_{name}", "type": "function", "function": function}]}


def detail(kind: str, text: str) -> dict[str, Any]:
    return {"type": kind, "text": text, "format": "x", "index": 0}


def responses(*events: tuple[str, dict[str, Any]]) -> list[bytes]:
    """Returns events of the Responses API as OpenAI sends them: numbered, the deltas with an obfuscation field."""
    made = []
    for number, (kind, more) in enumerate(events):
        noise = {"obfuscation": "xY7" * (number % 4)} if kind.endswith(".delta") else {}
        value = {"type": kind, "sequence_number": number, **more, **noise}
        made.append(f"event: {kind}\n".encode() + event_of(value))
    return made


def added(index: int, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "response.output_item.added", {"output_index": index, "item": item}


def done(index: int, item: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    return "response.output_item.done", {"output_index": index, "item": item}


def make_text_delta(text: str, index: int = 0) -> tuple[str, dict[str, Any]]:
    place = {"item_id": f"msg_{index}", "output_index": index, "content_index": 0}
    return "response.output_text.delta", {**place, "delta": text, "logprobs": []}


def make_arguments_delta(piece: str, index: int) -> tuple[str, dict[str, Any]]:
    return "response.function_call_arguments.delta", {"item_id": f"fc_{index}", "output_index": index, "delta": piece}


def function(name: str, index: int, arguments: str = "") -> dict[str, Any]:
    head = {"type": "function_call", "id": f"fc_{index}", "call_id": f"call_{name}"}
    return {**head, "name": name, "arguments": arguments}


CREATED = ("response.created", {"response": {"id": "resp_1", "model": "m", "status": "in_progress", "output": []}})


def completed(*output: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    response = {"id": "resp_1", "model": "m", "status": "completed", "output": [*output], "usage": usage}
    return "response.completed", {"response": response}


def message(text: str, index: int = 0) -> dict[str, Any]:
    content = [{"type": "output_text", "text": text, "annotations": []}]
    return {"type": "message", "id": f"msg_{index}", "role": "assistant", "content": content}


def anthropic(*events: dict[str, Any]) -> list[bytes]:
    usage = {"input_tokens": 5, "output_tokens": 1}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": usage}
    start = {"type": "message_start", "message": {**head, "stop_reason": None}}
    first, *others = [f"event: {value['type']}\n".encode() + event_of(value) for value in (start, *events)]
    return [first + others[0], *others[1:]]


def make_block_start(index: int, **block: Any) -> dict[str, Any]:
    return {"type": "content_block_start", "index": index, "content_block": block}


def piece_of(index: int, kind: str, field: str, text: str) -> dict[str, Any]:
    return {"type": "content_block_delta", "index": index, "delta": {"type": kind, field: text}}


def text_of(index: int, text: str) -> dict[str, Any]:
    return piece_of(index, "text_delta", "text", text)


def json_of(index: int, piece: str) -> dict[str, Any]:
    return piece_of(index, "input_json_delta", "partial_json", piece)


def make_block_stop(index: int) -> dict[str, Any]:
    return {"type": "content_block_stop", "index": index}


def make_message_stop(reason: str) -> tuple[dict[str, Any], ...]:
    usage = {"output_tokens": 7}
    return {"type": "message_delta", "delta": {"stop_reason": reason}, "usage": usage}, {"type": "message_stop"}


def gemini(*parts: dict[str, Any], finish: str = "STOP") -> list[bytes]:
    head: dict[str, Any] = {"modelVersion": "m", "responseId": "r1"}
    made: list[dict[str, Any]] = [
        {"candidates": [{"content": {"parts": [part]}, "index": 0}], **head} for part in parts
    ]
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 7, "totalTokenCount": 12}
    made.append({"candidates": [{"finishReason": finish, "index": 0}], "usageMetadata": usage, **head})
    return [event_of(value) for value in made]


def ollama(*messages: dict[str, Any]) -> list[bytes]:
    """Returns lines, each with a different time."""
    made = [
        {"model": "m", "created_at": f"2026-01-01T00:00:0{number}Z", "message": {"role": "assistant", **one}, **more}
        for number, one in enumerate((*messages, {"content": ""}))
        for more in [{"done": False} if number < len(messages) else OLLAMA_END]
    ]
    return [json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" for value in made]


OLLAMA_END = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 7}


def ollama_call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"content": "", "tool_calls": [{"id": f"call_{name}", "function": {"name": name, "arguments": arguments}}]}


@dataclass(frozen=True)
class Case:
    """One answer of an engine: its events and the expected content."""

    dialect: str
    events: Sequence[bytes]
    text: str = ""
    reasoning: str = ""
    calls: tuple[tuple[str, str], ...] = ()

    @property
    def content_type(self) -> str:
        return NDJSON if self.dialect == "ollama" else SSE


ONE = (("f", '{"a": "b\\n"}'),)
TWO = (("f", '{"a": 1}'), ("g", '{"b": 22}'))

CASES = {
    "chat, text and a call": Case(
        "openai-chat",
        chat({"content": "Le"}, {"content": "t"}, {"content": " me"}, call(0, "", "f"), call(0, '{"a": '))
        + chat(call(0, '"b\\n"'), call(0, "}"))
        + chat_end("tool_calls"),
        text="Let me",
        calls=ONE,
    ),
    "chat, a thought and text": Case(
        "openai-chat",
        chat({"role": "assistant", "content": ""}, {"reasoning_content": "Hm"}, {"reasoning_content": "m, \n"})
        + chat({"content": "Gr"}, {"content": 'ü"ße'}, {"content": "\u2028!"})
        + chat_end("stop"),
        text='Grü"ße\u2028!',
        reasoning="Hmm, \n",
    ),
    "chat, parallel calls": Case(
        "openai-chat",
        chat({"content": "A"}, call(0, "", "f"), call(1, "", "g"), call(0, '{"a": 1'), call(1, '{"b": 2'))
        + chat(call(1, "2}"), call(0, "}"))
        + chat_end("stop"),
        text="A",
        calls=TWO,
    ),
    "chat, calls that are all numbered 0 and have no ids": Case(
        "openai-chat",
        chat(
            {"content": "A"},
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a":'}}]},
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": " 1}"}}]},
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a": 2}'}}]},
            {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": '{"a": 3}'}}]},
        )
        + chat_end("stop"),
        text="A",
        calls=(("f", '{"a": 1}'), ("f", '{"a": 2}'), ("f", '{"a": 3}')),
    ),
    "chat, the finish in the event with the last piece": Case(
        "openai-chat",
        [
            *chat({"content": "A"}, {"content": "B"}, {"content": "C"}, call(0, "", "f"), call(0, '{"a": ')),
            *chat(call(0, '"b\\n"')),
            chat(call(0, "}"))[0].replace(b"null", b'"tool_calls"'),
            *chat_end("tool_calls")[1:],
        ],
        text="ABC",
        calls=ONE,
    ),
    "chat, a thought in details alone": Case(
        "openai-chat",
        chat(*({"reasoning_details": [detail("reasoning.text", text)]} for text in ("Hmm", " yes", " no?", "\n")))
        + chat({"reasoning_details": [{"type": "reasoning.encrypted", "data": "c2ln", "index": 1}]}, {"content": "A"})
        + chat_end("stop"),
        text="A",
        reasoning="Hmm yes no?\n",
    ),
    "chat, a thought in details of an unknown kind": Case(
        "openai-chat",
        chat(
            *({"reasoning_details": [detail("other", text)]} for text in ("Hmm", " yes", " no?", "\n")),
            {"content": "A"},
        )
        + chat_end("stop"),
        text="A",
        reasoning="Hmm yes no?\n",
    ),
    "responses, text and a call": Case(
        "openai-responses",
        responses(
            CREATED, added(0, message("")), make_text_delta("Let"), make_text_delta(" me"), added(1, function("f", 1))
        )
        + responses(
            make_arguments_delta('{"a": ', 1),
            make_arguments_delta('"b\\n"}', 1),
            done(1, function("f", 1, '{"a": "b\\n"}')),
        )
        + responses(completed(message("Let me"), function("f", 1, '{"a": "b\\n"}'))),
        text="Let me",
        calls=ONE,
    ),
    "responses, a thought and text": Case(
        "openai-responses",
        responses(
            CREATED,
            *(
                ("response.reasoning_summary_text.delta", {"output_index": 0, "summary_index": 0, "delta": text})
                for text in ("Hm", "m, \n")
            ),
            done(0, {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hmm, \n"}]}),
            make_text_delta("Gr", 1),
            make_text_delta('ü"ße', 1),
            make_text_delta("\u2028!", 1),
            ("response.output_text.done", {"output_index": 1, "content_index": 0, "text": 'Grü"ße\u2028!'}),
            completed(),
        ),
        text='Grü"ße\u2028!',
        reasoning="Hmm, \n",
    ),
    "responses, parallel calls": Case(
        "openai-responses",
        responses(CREATED, added(0, function("f", 0)), added(1, function("g", 1)), make_arguments_delta('{"a": ', 0))
        + responses(
            make_arguments_delta('{"b": ', 1),
            make_arguments_delta("22", 1),
            make_arguments_delta("}", 1),
            make_arguments_delta("1}", 0),
            completed(),
        ),
        calls=TWO,
    ),
    "anthropic, text and a call": Case(
        "anthropic",
        anthropic(
            make_block_start(0, type="text", text=""),
            text_of(0, "Let"),
            text_of(0, " me"),
            make_block_stop(0),
            make_block_start(1, type="tool_use", id="call_f", name="f", input={}),
            json_of(1, '{"a": '),
            json_of(1, '"b\\n"'),
            json_of(1, "}"),
            make_block_stop(1),
            *make_message_stop("tool_use"),
        ),
        text="Let me",
        calls=ONE,
    ),
    "anthropic, a thought and text": Case(
        "anthropic",
        anthropic(
            make_block_start(0, type="thinking", thinking=""),
            piece_of(0, "thinking_delta", "thinking", "Hm"),
            piece_of(0, "thinking_delta", "thinking", "m, \n"),
            piece_of(0, "signature_delta", "signature", "c2ln"),
            make_block_start(1, type="text", text=""),
            text_of(1, "Gr"),
            text_of(1, 'ü"ße'),
            text_of(1, "\u2028!"),
            *make_message_stop("end_turn"),
        ),
        text='Grü"ße\u2028!',
        reasoning="Hmm, \n",
    ),
    "anthropic, parallel calls": Case(
        "anthropic",
        anthropic(
            make_block_start(0, type="tool_use", id="call_f", name="f", input={}),
            json_of(0, '{"a": '),
            make_block_start(1, type="tool_use", id="call_g", name="g", input={}),
            json_of(1, '{"b": '),
            json_of(1, "22"),
            json_of(1, "}"),
            json_of(0, "1}"),
            *make_message_stop("tool_use"),
        ),
        calls=TWO,
    ),
    "gemini, text and a call": Case(
        "gemini",
        gemini(
            {"text": "Let"},
            {"text": " me"},
            {"functionCall": {"id": "call_f", "name": "f", "args": {"a": "b\n"}}, "thoughtSignature": "c2ln"},
        ),
        text="Let me",
        calls=(("f", '{"a":"b\\n"}'),),
    ),
    "gemini, a thought and text": Case(
        "gemini",
        gemini(
            {"text": "Hm", "thought": True},
            {"text": "m, \n", "thought": True},
            {"text": "Gr"},
            {"text": 'ü"ß'},
            {"text": "e", "thoughtSignature": "c2ln"},
            {"text": "\u2028"},
            {"text": "!"},
        ),
        text='Grü"ße\u2028!',
        reasoning="Hmm, \n",
    ),
    "gemini, parallel calls": Case(
        "gemini",
        gemini(
            {"text": "A"},
            {"functionCall": {"name": "f", "args": {"a": 1}}},
            {"functionCall": {"name": "f", "args": {"a": 2}}},
            {"text": "B"},
            {"text": "C"},
        ),
        text="ABC",
        calls=(("f", '{"a":1}'), ("f", '{"a":2}')),
    ),
    "ollama, text and a call": Case(
        "ollama",
        ollama({"content": "Let"}, {"content": " me"}, {"content": "."}, ollama_call("f", a="b\n")),
        text="Let me.",
        calls=(("f", '{"a":"b\\n"}'),),
    ),
    "ollama, a thought and text": Case(
        "ollama",
        ollama(
            {"content": "", "thinking": "Hm"},
            {"content": "", "thinking": "m, \n"},
            {"content": "Gr"},
            {"content": 'ü"ße'},
            {"content": "!"},
        ),
        text='Grü"ße!',
        reasoning="Hmm, \n",
    ),
    "ollama, parallel calls": Case(
        "ollama",
        ollama({"content": "A"}, ollama_call("f", a=1), ollama_call("g", a=2), {"content": "B"}, {"content": "C"}),
        text="ABC",
        calls=(("f", '{"a":1}'), ("g", '{"a":2}')),
    ),
}


def lanes(dialect: str) -> list[bool]:
    return [False, True] if dialect in PASSTHROUGH_DIALECTS else [False]


class Grouped(ScriptedReply):
    """An engine response in these reads. Each is passed to ``on_data`` first, as a transport does."""

    def __init__(self, content_type: str, reads: Iterable[bytes], *, tapped: bool) -> None:
        super().__init__(200, {"Content-Type": content_type} if content_type else {}, reads)
        self._tapped = tapped

    async def _each(self, pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
        for piece in pieces:
            if not self._tapped or self.on_data is None:
                yield piece
            elif self.on_data(piece) is False:
                yield b""


class RecordingSink:
    """A sink that is never slow; it records everything in order."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.holds_end = False
        self.bytes = b""
        self.content_type: str | None = None

    def accept(self, content_type: str | None = None) -> None:
        self.content_type = content_type

    def feed(self, events: Sequence[Event]) -> bool:
        self.events += events
        return True

    def send(self, piece: bytes) -> bool:
        self.bytes += piece
        return True

    send_last = send

    def write_reply(self, reply: Reply, request: ChatRequest) -> None:
        self.events += replay(reply)

    async def drain(self) -> None:
        """Does nothing: there is no queue."""


@contextmanager
def compared_events() -> Iterator[list[int]]:
    """The sizes of what was compared with a template and not decoded."""
    found: list[int] = []
    read, skim = DeltaTemplate.read, DeltaTemplate.skim

    def counting_read(self: DeltaTemplate, data: bytes) -> tuple[AnyDelta | None, int]:
        piece, size = read(self, data)
        found.extend([size] if size else [])
        return piece, size

    def counting_skim(self: DeltaTemplate, data: bytes) -> int:
        size = skim(self, data)
        found.extend([size] if size else [])
        return size

    with patch.object(DeltaTemplate, "read", counting_read), patch.object(DeltaTemplate, "skim", counting_skim):
        yield found


@dataclass
class Outcome:
    """The result of an answer. Generated ids are not compared."""

    output: Reply | bytes | None = None
    error: str | None = None
    usage: Usage | None = None
    finish: str | None = None
    characters: int = 0
    started: bool = False
    failure: str | None = None
    short: int = 0
    content_type: str = ""  # of a passthrough answer

    def compared(self) -> tuple[Any, ...]:
        told: Any = self.output
        if isinstance(told, Reply):
            parts = [replace(part, id="") if isinstance(part, ToolCall) else part for part in told.message.parts]
            told = (parts, told.id, told.model, told.finish, told.usage)
        return told, self.error, self.usage, self.finish, self.characters, self.started, self.failure


BODY: dict[str, Any] = {"model": "m", "messages": [{"role": "user", "content": "Hello"}], "stream": True}


async def run_lane(
    case: Case,
    reads: Sequence[bytes],
    *,
    verbatim: bool,
    tapped: bool = True,
    content_type: str | None = None,
    usage_asked: bool = True,
) -> Outcome:
    """Runs a case in one lane. ``content_type``: the engine's, if it is not the right one; ``""``: none."""
    sent_as = case.content_type if content_type is None else content_type
    engine = Engine(name="e", label="E", dialect=case.dialect, base_url="http://engine.test")
    request = ChatRequest(model="m", messages=(Message("user", (Text("Hello"),)),), stream=True)
    transport = ScriptedTransport(lambda _: Grouped(sent_as, reads, tapped=tapped))
    services = EngineClient({"http": transport}, RetryPolicy(retries=0))
    target, trace, sink, seen = Target(engine=engine, model="m"), CallRecord(), RecordingSink(), Outcome()
    with compared_events() as compared:
        try:
            if verbatim:
                asking = case.dialect == "openai-chat" and usage_asked
                asked = {**BODY, "stream_options": {"include_usage": True}} if asking else BODY
                await PassthroughRound(asked, request, target, services, trace, sink).run()
                seen.failure = repr(trace.failure) if trace.failure else None
            else:
                sink.events.append(await EngineRound(request, target, services, trace, sink).run())
        except LLMError as error:
            seen.error = repr(error)
    if verbatim and not sink.events:
        seen.output = sink.bytes
    else:  # translated, or converted to the form that was requested
        seen.output = collect(sink.events) if seen.error is None else None
    seen.usage, seen.finish, seen.characters = trace.usage, trace.finish_reason, trace.characters
    seen.started, seen.short = trace.first_token is not None, len(compared)
    seen.content_type = sink.content_type or ""
    return seen
