"""The Open Responses specification (2026-04-24) as schemas written by hand, and engines of every wire for its checks."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from jsonschema import Draft202012Validator

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.one_answer import sse, stream_of

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
# One engine of every wire; the first one passes the bytes of its provider through.
MODELS: Final = {
    "openai-responses": "openai/gpt-5.4-mini",
    "openai-chat": "mistralai/mistral-medium-latest",
    "anthropic": "anthropic/claude-sonnet-4-5",
    "gemini": "google/gemini-2.5-flash",
    "ollama": "ollama/qwen3:8b",
}

# --- what the specification demands ---

_TEXT: Final = {"type": "string"}
_COUNT: Final = {"type": "integer", "minimum": 0}
_STATUS: Final = {"enum": ["in_progress", "completed", "incomplete"]}


def _object(required: Mapping[str, Any], **optional: Any) -> dict[str, Any]:
    return {"type": "object", "required": [*required], "properties": {**required, **optional}}


def _or_null(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema, {"type": "null"}]}


_OUTPUT_TEXT: Final = _object(
    {"type": {"const": "output_text"}, "text": _TEXT, "annotations": {"type": "array"}}, logprobs={"type": "array"}
)
_REFUSAL: Final = _object({"type": {"const": "refusal"}, "refusal": _TEXT})
_SUMMARY: Final = _object({"type": {"const": "summary_text"}, "text": _TEXT})
_ITEMS: Final = {
    "message": _object(
        {
            "id": _TEXT,
            "status": _STATUS,
            "role": {"const": "assistant"},
            "content": {"type": "array", "items": {"anyOf": [_OUTPUT_TEXT, _REFUSAL]}},
        },
        phase={"enum": ["commentary", "final_answer"]},
    ),
    "function_call": _object({"id": _TEXT, "status": _STATUS, "call_id": _TEXT, "name": _TEXT, "arguments": _TEXT}),
    "reasoning": _object(
        {"id": _TEXT, "status": _STATUS, "summary": {"type": "array", "items": _SUMMARY}},
        encrypted_content=_or_null(_TEXT),
    ),
    "compaction": _object({"id": _TEXT, "encrypted_content": _TEXT}),
}
ITEM: Final = {
    "type": "object",
    "required": ["type"],
    "properties": {"type": {"enum": [*_ITEMS]}},
    "allOf": [{"if": {"properties": {"type": {"const": name}}}, "then": one} for name, one in _ITEMS.items()],
}
_FORMAT: Final = {
    "anyOf": [
        _object({"type": {"enum": ["text", "json_object"]}}),
        _object({"type": {"const": "json_schema"}, "name": _TEXT, "schema": {"type": "object"}}),
    ]
}
_TOOL: Final = _object(
    {
        "type": {"const": "function"},
        "name": _TEXT,
        "description": _or_null(_TEXT),
        "parameters": _or_null({"type": "object"}),
        "strict": _or_null({"type": "boolean"}),
    }
)
_CHOICE: Final = {
    "anyOf": [
        {"enum": ["auto", "none", "required"]},
        _object({"type": {"const": "function"}, "name": _TEXT}),
        _object(
            {"type": {"const": "allowed_tools"}, "tools": {"type": "array"}, "mode": {"enum": ["auto", "required"]}}
        ),
    ]
}
USAGE: Final = _object(
    {
        "input_tokens": _COUNT,
        "output_tokens": _COUNT,
        "total_tokens": _COUNT,
        "input_tokens_details": _object({"cached_tokens": _COUNT}),
        "output_tokens_details": _object({"reasoning_tokens": _COUNT}),
    }
)
_NUMBER: Final = {"type": "number"}
_FLAG: Final = {"type": "boolean"}
_TIME: Final = {"type": "integer"}
RESPONSE: Final = _object(
    {
        "id": {"type": "string", "minLength": 1},
        "object": {"const": "response"},
        "created_at": _TIME,
        "completed_at": _or_null(_TIME),
        "status": {"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
        "incomplete_details": _or_null(_object({"reason": _TEXT})),
        "model": _TEXT,
        "previous_response_id": _or_null(_TEXT),
        "instructions": {"anyOf": [_TEXT, {"type": "array"}, {"type": "null"}]},
        "output": {"type": "array", "items": ITEM},
        "error": _or_null(_object({"code": _TEXT, "message": _TEXT})),
        "tools": {"type": "array", "items": _TOOL},
        "tool_choice": _CHOICE,
        "truncation": {"enum": ["auto", "disabled"]},
        "parallel_tool_calls": _FLAG,
        "text": _object({"format": _FORMAT}),
        "top_p": _NUMBER,
        "presence_penalty": _NUMBER,
        "frequency_penalty": _NUMBER,
        "top_logprobs": _COUNT,
        "temperature": _NUMBER,
        "reasoning": _or_null({"type": "object"}),
        "user": _or_null(_TEXT),
        "usage": _or_null(USAGE),
        "max_output_tokens": _or_null(_TIME),
        "max_tool_calls": _or_null(_TIME),
        "store": _FLAG,
        "background": _FLAG,
        "service_tier": _TEXT,
        "metadata": {"type": "object", "additionalProperties": _TEXT},
        "safety_identifier": _or_null(_TEXT),
        "prompt_cache_key": _or_null(_TEXT),
    }
)
COMPACTION: Final = _object(
    {
        "id": _TEXT,
        "object": {"const": "response.compaction"},
        "output": {"type": "array", "minItems": 1},
        "created_at": _TIME,
        "usage": USAGE,
    }
)
_PLACE: Final = {"item_id": _TEXT, "output_index": _COUNT}
_CONTENT: Final = {**_PLACE, "content_index": _COUNT}
_SUMMARIES: Final = {**_PLACE, "summary_index": _COUNT}
_PART: Final = {"anyOf": [_OUTPUT_TEXT, _REFUSAL]}
EVENTS: Final[Mapping[str, Mapping[str, Any]]] = {
    **{
        f"response.{state}": {"response": RESPONSE}
        for state in ("created", "queued", "in_progress", "completed", "incomplete", "failed")
    },
    "response.output_item.added": {"output_index": _COUNT, "item": ITEM},
    "response.output_item.done": {"output_index": _COUNT, "item": ITEM},
    "response.content_part.added": {**_CONTENT, "part": _PART},
    "response.content_part.done": {**_CONTENT, "part": _PART},
    "response.output_text.delta": {**_CONTENT, "delta": _TEXT},
    "response.output_text.done": {**_CONTENT, "text": _TEXT},
    "response.output_text.annotation.added": {**_CONTENT, "annotation_index": _COUNT, "annotation": {"type": "object"}},
    "response.refusal.delta": {**_CONTENT, "delta": _TEXT},
    "response.refusal.done": {**_CONTENT, "refusal": _TEXT},
    "response.function_call_arguments.delta": {**_PLACE, "delta": _TEXT},
    "response.function_call_arguments.done": {**_PLACE, "arguments": _TEXT},
    "response.reasoning_summary_part.added": {**_SUMMARIES, "part": _SUMMARY},
    "response.reasoning_summary_part.done": {**_SUMMARIES, "part": _SUMMARY},
    "response.reasoning_summary_text.delta": {**_SUMMARIES, "delta": _TEXT},
    "response.reasoning_summary_text.done": {**_SUMMARIES, "text": _TEXT},
}
ERROR: Final = _object(
    {"type": {"const": "error"}, "status": {"type": "integer"}, "error": _object({"code": _TEXT, "message": _TEXT})}
)


def find_faults(schema: Mapping[str, Any], value: Any) -> list[str]:
    """Returns what is wrong with a value, each with its place."""
    return [f"{error.json_path}: {error.message[:200]}" for error in Draft202012Validator(schema).iter_errors(value)]


def find_event_faults(events: list[Any]) -> list[str]:
    """Returns what is wrong with the events of one answer: their forms, their numbers, and the end."""
    faults = []
    for number, event in enumerate(events):
        kind = event.get("type")
        if kind not in EVENTS:
            faults.append(f"no such event: {kind}")
            continue
        fields = {"type": {"const": kind}, "sequence_number": {"const": number}, **EVENTS[kind]}
        faults += [f"{kind} {fault}" for fault in find_faults(_object(fields), event)]
    if not events or events[-1]["type"] not in ("response.completed", "response.incomplete", "response.failed"):
        faults.append("no end")
    return faults


# --- engines ---

_USAGE: Final = {
    "input_tokens": 5, "input_tokens_details": {"cached_tokens": 0}, "output_tokens": 2,
    "output_tokens_details": {"reasoning_tokens": 0}, "total_tokens": 7,
}  # fmt: skip


def make_native(id: str, asked: Mapping[str, Any], *output: Any) -> dict[str, Any]:
    """Returns the response object that the provider of the Responses API gives."""
    return {
        "id": id, "object": "response", "created_at": 1, "completed_at": 2, "status": "completed", "background": False,
        "error": None, "incomplete_details": None, "instructions": asked.get("instructions"),
        "max_output_tokens": None, "max_tool_calls": None, "model": "gpt", "output": [*output],
        "parallel_tool_calls": True, "previous_response_id": asked.get("previous_response_id"), "presence_penalty": 0.0,
        "frequency_penalty": 0.0, "prompt_cache_key": None, "reasoning": {"effort": None, "summary": None},
        "safety_identifier": None, "service_tier": "default", "store": asked.get("store") is not False,
        "temperature": 1.0, "text": {"format": {"type": "text"}}, "tool_choice": asked.get("tool_choice", "auto"),
        "tools": [{"description": None, "strict": True, **tool} for tool in asked.get("tools") or ()],
        "top_logprobs": 0, "top_p": 1.0, "truncation": "disabled", "usage": _USAGE, "user": None, "metadata": {},
    }  # fmt: skip


def stream_native(response: Mapping[str, Any]) -> bytes:
    """Returns the stream that the provider of the Responses API sends for a response of texts and calls."""
    events: list[dict[str, Any]] = []
    began = {**response, "status": "in_progress", "output": [], "completed_at": None, "usage": None}
    events += [{"type": f"response.{state}", "response": began} for state in ("created", "in_progress")]
    for index, item in enumerate(response["output"]):
        place = {"item_id": item["id"], "output_index": index}
        empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {"arguments": ""}
        added = {**item, **empty, "status": "in_progress"}
        events.append({"type": "response.output_item.added", "output_index": index, "item": added})
        if item["type"] == "message":
            at, [part] = {**place, "content_index": 0}, item["content"]
            events += [
                {"type": "response.content_part.added", **at, "part": {**part, "text": ""}},
                {"type": "response.output_text.delta", **at, "delta": part["text"], "logprobs": []},
                {"type": "response.output_text.done", **at, "text": part["text"], "logprobs": []},
                {"type": "response.content_part.done", **at, "part": part},
            ]
        else:
            delta, done = "response.function_call_arguments.delta", "response.function_call_arguments.done"
            events += [{"type": delta, **place, "delta": item["arguments"]}]
            events += [{"type": done, **place, "arguments": item["arguments"]}]
        events.append({"type": "response.output_item.done", "output_index": index, "item": item})
    events.append({"type": "response.completed", "response": response})
    return sse(*({**event, "sequence_number": number} for number, event in enumerate(events)))


def _answer_native(number: int, asked: Mapping[str, Any], text: str, call: bool) -> dict[str, Any]:
    if call:
        item = {"type": "function_call", "id": f"fc_{number}", "call_id": f"call_{number}", "name": "get_weather"}
        return make_native(
            f"resp_{number}", asked, {**item, "status": "completed", "arguments": '{"location": "Rome"}'}
        )
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    message = {"type": "message", "id": f"msg_{number}", "role": "assistant", "status": "completed", "content": [part]}
    return make_native(f"resp_{number}", asked, message)


def _answer_chat(number: int, asked: Mapping[str, Any], text: str, call: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if call else text}
    if call:
        function = {"name": "get_weather", "arguments": '{"location": "Rome"}'}
        message["tool_calls"] = [{"index": 0, "id": f"call_{number}", "type": "function", "function": function}]
    choice = {"index": 0, "message": message, "finish_reason": "tool_calls" if call else "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    return {
        "id": f"c{number}",
        "object": "chat.completion",
        "created": 1,
        "model": "m",
        "choices": [choice],
        "usage": usage,
    }


def _answer_anthropic(number: int, asked: Mapping[str, Any], text: str, call: bool) -> dict[str, Any]:
    block: dict[str, Any] = {"type": "text", "text": text}
    if call:
        block = {"type": "tool_use", "id": f"toolu_{number}", "name": "get_weather", "input": {"location": "Rome"}}
    return {
        "id": f"msg_{number}", "type": "message", "role": "assistant", "model": "m", "content": [block],
        "stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None,
        "usage": {"input_tokens": 5, "output_tokens": 2},
    }  # fmt: skip


def _answer_gemini(number: int, asked: Mapping[str, Any], text: str, call: bool) -> dict[str, Any]:
    part = {"functionCall": {"name": "get_weather", "args": {"location": "Rome"}}} if call else {"text": text}
    return {
        "candidates": [{"content": {"role": "model", "parts": [part]}, "finishReason": "STOP", "index": 0}],
        "usageMetadata": {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7},
        "modelVersion": "g", "responseId": f"r{number}",
    }  # fmt: skip


def _answer_ollama(number: int, asked: Mapping[str, Any], text: str, call: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": "" if call else text}
    if call:
        message["tool_calls"] = [{"function": {"name": "get_weather", "arguments": {"location": "Rome"}}}]
    counts = {"prompt_eval_count": 5, "eval_count": 2}
    return {"model": "m", "message": message, "done": True, "done_reason": "stop", **counts}


_ANSWERS: Final = {
    "openai-responses": _answer_native,
    "openai-chat": _answer_chat,
    "anthropic": _answer_anthropic,
    "gemini": _answer_gemini,
    "ollama": _answer_ollama,
}


@dataclass
class Engine:
    """A provider of one wire: calls a tool where it has one, else answers with the number of the request."""

    wire: str
    upstream: Upstream = field(init=False)
    refuses: bool = False  # answers 500

    def __post_init__(self) -> None:
        self.upstream = Upstream(self._script)

    @property
    def model(self) -> str:
        return MODELS[self.wire]

    @property
    def environ(self) -> dict[str, str]:
        name, base = self.model.partition("/")[0].upper(), self.upstream.url
        if self.wire in ("openai-responses", "openai-chat"):
            base += "/v1"
        enabled = {"OLLAMA_ENABLED": "true"} if name == "OLLAMA" else {f"{name}_API_KEY": f"sk-canary-{name}"}
        return {**enabled, f"{name}_BASE_URL": base}

    @property
    def asked(self) -> list[str]:
        """The bodies of all requests, as text."""
        return [request.body.decode() for request in self.upstream.requests]

    async def _script(self, request: Request, connection: Connection) -> None:
        if self.refuses:
            await connection.respond({"error": {"message": "It broke.", "type": "server_error"}}, status=500)
            return
        asked = json.loads(request.body)
        number = len(self.upstream.requests)
        if request.path.endswith("/responses/compact"):
            item = {"type": "compaction", "id": "cmp_1", "encrypted_content": "gA=="}
            kind = "response.compaction"
            await connection.respond(
                {"id": "resp_1", "object": kind, "created_at": 1, "output": [item], "usage": _USAGE}
            )
            return
        body = _ANSWERS[self.wire](number, asked, f"answer {number}", bool(asked.get("tools")))
        if "streamGenerateContent" in request.path or (asked.get("stream") is True and self.wire != "gemini"):
            raw = stream_native(body) if self.wire == "openai-responses" else stream_of(body)
            await connection.stream("application/x-ndjson" if self.wire == "ollama" else "text/event-stream")
            await connection.chunk(raw)
            await connection.end()
        else:
            await connection.respond(body)


@asynccontextmanager
async def serve(wire: str, **environ: str) -> AsyncIterator[tuple[Client, Engine]]:
    """Runs the server in front of an engine of the wire."""
    engine = Engine(wire)
    async with engine.upstream.run():
        async with run_server(make_config(MAX_RETRIES="0", **engine.environ, **environ)) as server:
            yield server, engine
