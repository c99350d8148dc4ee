"""Simple clients of every wire: how each writes a request, reads an answer, and sends it back in the next request.

A stream is assembled as the SDKs of its wire do, into the object of the same answer without streaming, so that both are
read by the same code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from openai.lib.streaming._deltas import accumulate_delta

from tests.support.gemini_client import (
    ask_gemini,
    assemble_gemini,
    check_gemini,
    check_gemini_reply,
    find_error,
    find_url,
    read_gemini,
)
from tests.support.grammar_ollama import check_ollama, check_ollama_reply
from tests.support.grammar_responses import check_responses
from tests.support.grammar_whole import check_chat_reply, check_message, check_native_reply, check_response
from tests.support.grammars import check_anthropic, check_native, check_openai_chat
from tests.support.harness import CLIENT, CLIENT_ID
from tests.support.oracle import Answer, Call, Tokens, arguments_of
from tests.support.wires import _events

Wire = dict[str, Any]
BEARER = {"Authorization": f"Bearer {CLIENT_ID}"}


@dataclass(frozen=True)
class CrossingClient:
    """One client dialect, as a client sees it."""

    name: str
    path: str
    headers: Mapping[str, str]
    ask: Callable[[str, bool, Sequence[str]], Wire]  # (model, stream, names of tools) → request body
    check: Callable[[bytes], None]  # checks the grammar of a stream
    check_whole: Callable[[Wire], None]
    assemble: Callable[[bytes], Wire]  # stream → the same answer without streaming, or {"error": …}
    read_content: Callable[[Wire], Answer]
    finish_reasons: Mapping[str, str]  # finish reason that the wire lacks → the one it uses instead
    invalid_arguments: Callable[[str, Call], Any] = lambda text, call: arguments_of(
        text
    )  # what invalid arguments become
    empty_arguments: str = "{}"  # how a stream writes empty arguments
    counts_parts: bool = True  # usage has cached and reasoning tokens
    shows_hosted: bool = False  # shows tool calls that the provider runs itself
    find_error: Callable[[Wire], Any] = lambda whole: whole.get("error")
    find_url: Callable[[Wire], str] | None = None  # the path for a request body, where it has the model

    def url_of(self, body: Wire) -> str:
        """Returns the path for a request."""
        return self.path if self.find_url is None else self.find_url(body)


def _tokens(prompt: int, completion: int, cached: int, reasoning: int) -> Tokens:
    return Tokens(prompt, completion, cached, reasoning)


# --- native ---


def _ask_native(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    engine, _, model = model.partition("/")
    return {"engine": engine, "model": model, "prompt": "x", "stream": stream}


def _native_objects(raw: bytes) -> list[Wire]:
    if raw.startswith((b"data: ", b":")):
        return [json.loads(data) for _, data in _events(raw)]
    return [json.loads(line) for line in raw.splitlines() if line]


def _assemble_native(raw: bytes) -> Wire:
    objects = _native_objects(raw)
    texts = {kind: "".join(o["text"] for o in objects if o["type"] == kind) for kind in ("content", "reasoning")}
    tools = {o["id"]: o for o in objects if o["type"] == "tool"}
    whole: Wire = {
        "type": "text",
        "content": texts["content"],
        "reasoning": texts["reasoning"],
        "citations": [o for o in objects if o["type"] == "citation"],
        "toolCalls": [{"id": id, "name": o["name"], **o["call"]} for id, o in tools.items()],
    }
    pieces: dict[str, str] = {}
    for o in objects:
        match o["type"]:
            case "tool" if "arguments" in o:
                pieces[o["id"]] = pieces.get(o["id"], "") + o["arguments"]
            case "content" if o["done"]:
                whole["finishReason"] = o["finishReason"]
            case "usage":
                whole["usage"] = o["usage"]
            case "error":
                whole["error"] = o
    for call in whole["toolCalls"]:
        call["arguments"] = pieces.get(call["id"], "")
    return whole


def _read_native(whole: Wire) -> Answer:
    usage = whole["usage"]
    return Answer(
        text=whole["content"],
        reasoning=whole.get("reasoning", ""),
        calls=tuple(Call(c["name"], c["params"], c["id"], text=c.get("arguments")) for c in whole["toolCalls"]),
        finish=whole["finishReason"],
        tokens=None
        if usage.get("estimated")
        else _tokens(
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            usage["completion_tokens_details"]["reasoning_tokens"],
        ),
        sources=frozenset(c["url"] for c in whole.get("citations") or () if c.get("url")),
    )


# --- Chat Completions ---


def _ask_chat(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    body: Wire = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if tools:
        parameters = {"type": "object", "properties": {}}
        body["tools"] = [{"type": "function", "function": {"name": t, "parameters": parameters}} for t in tools]
    return body


def _assemble_chat(raw: bytes) -> Wire:
    """Joins the pieces with OpenAI's own client."""
    whole: Wire = {}
    message: dict[object, object] = {}
    finish = None
    for _, data in _events(raw):
        if data == "[DONE]":
            break
        value = json.loads(data)
        if "error" in value:
            return dict(value)
        whole = {**value, "usage": value.get("usage")}
        for choice in value["choices"]:
            message = accumulate_delta(message, choice["delta"])
            finish = choice["finish_reason"] or finish
    return {**whole, "choices": [{"index": 0, "message": message, "finish_reason": finish}]}


def _read_chat(whole: Wire) -> Answer:
    [choice] = whole["choices"]
    message, usage = choice["message"], whole["usage"]
    return Answer(
        text=message.get("content") or "",
        reasoning=message.get("reasoning_content") or "",
        calls=tuple(
            Call(
                c["function"]["name"],
                arguments_of(c["function"]["arguments"]),
                c["id"],
                text=c["function"]["arguments"],
            )
            for c in message.get("tool_calls") or ()
        ),
        finish=choice["finish_reason"],
        tokens=_tokens(
            usage["prompt_tokens"],
            usage["completion_tokens"],
            usage["prompt_tokens_details"]["cached_tokens"],
            usage["completion_tokens_details"]["reasoning_tokens"],
        ),
        sources=frozenset(
            note["url_citation"]["url"] for note in message.get("annotations") or () if note["url_citation"].get("url")
        ),
    )


# --- Responses ---


def _ask_responses(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    body: Wire = {"model": model, "input": [{"role": "user", "content": "x"}], "store": False}
    body["include"] = ["reasoning.encrypted_content"]
    if stream:
        body["stream"] = True
    if tools:
        parameters = {"type": "object", "properties": {}}
        body["tools"] = [{"type": "function", "name": t, "parameters": parameters, "strict": False} for t in tools]
    return body


def _assemble_response(raw: bytes) -> Wire:
    last = json.loads([data for _, data in _events(raw) if data != "[DONE]"][-1])
    response: Wire = last["response"]
    return response if response["status"] != "failed" else {"error": response["error"]}


def _read_response(whole: Wire) -> Answer:
    output, usage = whole["output"], whole["usage"]
    texts = [part for item in output if item["type"] == "message" for part in item["content"]]
    calls = [item for item in output if item["type"] == "function_call"]
    why = (whole["incomplete_details"] or {}).get("reason")
    finish = {"max_output_tokens": "length", "content_filter": "content_filter", None: "stop"}[why]
    if finish == "stop" and calls:
        finish = "tool_calls"  # this wire has no such finish reason: clients look at the items
    return Answer(
        text="".join(part["text"] for part in texts),
        reasoning="".join(p["text"] for item in output if item["type"] == "reasoning" for p in item["summary"]),
        calls=tuple(Call(c["name"], arguments_of(c["arguments"]), c["call_id"], text=c["arguments"]) for c in calls),
        finish=finish,
        tokens=_tokens(
            usage["input_tokens"],
            usage["output_tokens"],
            usage["input_tokens_details"]["cached_tokens"],
            usage["output_tokens_details"]["reasoning_tokens"],
        ),
        sources=frozenset(note["url"] for part in texts for note in part["annotations"] if note.get("url")),
    )


# --- Anthropic ---


def _ask_anthropic(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    body: Wire = {"model": model, "max_tokens": 4000, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    body["thinking"] = {"type": "adaptive"}  # else the answer has no thinking
    if tools:
        body["tools"] = [{"name": t, "input_schema": {"type": "object", "properties": {}}} for t in tools]
    return body


def _assemble_message(raw: bytes) -> Wire:
    whole: Wire = {}
    pieces: dict[int, str] = {}
    for _, data in _events(raw):
        value = json.loads(data)
        match value["type"]:
            case "message_start":
                whole = value["message"]
            case "content_block_start":
                whole["content"].append(dict(value["content_block"]))
            case "content_block_delta":
                block, delta = whole["content"][value["index"]], value["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] = delta["signature"]
                    case "citations_delta":
                        block["citations"] = [*(block.get("citations") or ()), delta["citation"]]
                    case "input_json_delta":
                        pieces[value["index"]] = pieces.get(value["index"], "") + delta["partial_json"]
            case "message_delta":
                whole |= value["delta"]
                whole["usage"] = {**whole["usage"], **value["usage"]}
            case "error":
                return {"error": value["error"]}
    for index, text in pieces.items():
        whole["content"][index] |= {"input": arguments_of(text), "_text": text}
    return whole


def _wrap_invalid_input(text: str, call: Call) -> Any:
    """Returns invalid arguments as the wire writes them: unchanged in a stream, else inside an object."""
    return {"INVALID_JSON": text} if call.text is None else arguments_of(text)


def _read_message(whole: Wire) -> Answer:
    content, usage = whole["content"], whole["usage"]
    texts = [block for block in content if block["type"] == "text"]
    cached = usage["cache_read_input_tokens"]
    words = {"end_turn": "stop", "stop_sequence": "stop", "max_tokens": "length", "tool_use": "tool_calls"}
    text, listed = _split_sources("".join(block["text"] for block in texts))
    words |= {"model_context_window_exceeded": "length", "refusal": "content_filter", "pause_turn": "paused"}
    return Answer(
        text=text,
        reasoning="".join(block["thinking"] for block in content if block["type"] == "thinking"),
        calls=tuple(
            Call(b["name"], b["input"], b["id"], hosted=b["type"] != "tool_use", text=b.get("_text"))
            for b in content
            if b["type"].endswith("tool_use")
        ),
        finish=words[whole["stop_reason"]],
        tokens=None
        if usage.get("estimated")
        else _tokens(
            usage["input_tokens"] + cached + usage["cache_creation_input_tokens"],
            usage["output_tokens"],
            cached,
            (usage.get("output_tokens_details") or {}).get("thinking_tokens", 0),
        ),
        sources=listed | frozenset(c["url"] for block in texts for c in block.get("citations") or () if c.get("url")),
    )


def _split_sources(text: str) -> tuple[str, frozenset[str]]:
    """Splits what this server has put into a text for lack of a field: the sources and the place of a picture."""
    text = re.sub(r"\[A picture [^]]*\]|\[image/png: [^]]*\]", "", text)
    text, _, listed = text.partition("\n\nSources given by the engine:\n")
    urls = (re.search(r"(?:\]\(|^- )(https?://.*?)\)?$", line) for line in listed.splitlines())
    return text, frozenset(found[1] for found in urls if found)


# --- Ollama ---


def _ask_ollama(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    body: Wire = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": stream}
    if tools:
        parameters = {"type": "object", "properties": {}}
        body["tools"] = [
            {"type": "function", "function": {"name": t, "description": "", "parameters": parameters}} for t in tools
        ]
    return body


def _ask_generate(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    return {"model": model, "prompt": "x", "stream": stream}


def _assemble_lines(raw: bytes) -> Wire:
    lines = [json.loads(line) for line in raw.splitlines() if line]
    if "error" in lines[-1]:
        return {"error": lines[-1]}
    chat = "message" in lines[-1]
    parts = [line["message"] if chat else line for line in lines]
    field = "content" if chat else "response"
    message: Wire = {field: "".join(one[field] for one in parts), "thinking": "".join(_values_of(parts, "thinking"))}
    message["tool_calls"] = [call for calls in _values_of(parts, "tool_calls") for call in calls]
    message = {name: value for name, value in message.items() if value or name == field}
    if not chat:
        return {**lines[-1], **message}
    return {**lines[-1], "message": {"role": "assistant", **message}}


def _values_of(parts: Iterable[Wire], name: str) -> Iterable[Any]:
    return (part[name] for part in parts if name in part)


def _read_lines(whole: Wire) -> Answer:
    message = whole.get("message", whole)
    calls = message.get("tool_calls") or ()
    text, listed = _split_sources(message.get("content", message.get("response")))
    return Answer(
        text=text,
        reasoning=message.get("thinking", ""),
        calls=tuple(Call(c["function"]["name"], c["function"]["arguments"], c["id"]) for c in calls),
        finish=whole["done_reason"] if whole["done_reason"] != "stop" or not calls else "tool_calls",
        tokens=_tokens(whole["prompt_eval_count"], whole["eval_count"], 0, 0),
        sources=listed,
    )


_STOPS = {"paused": "length", "other": "stop"}
_WORDS = {"filtered": "content_filter"}
_FRAMINGS = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "chunks": "*/*"}

CLIENTS: Mapping[str, CrossingClient] = {
    client.name: client
    for client in (
        *(
            CrossingClient(
                f"native, {framing}",
                "/llm/chat",
                {**CLIENT, "Accept": accept},
                _ask_native,
                lambda raw: check_native(_native_objects(raw)),
                check_native_reply,
                _assemble_native,
                _read_native,
                _WORDS | {"error": "error"},
                empty_arguments="",
                shows_hosted=True,
            )
            for framing, accept in _FRAMINGS.items()
        ),
        CrossingClient(
            "chat completions",
            "/v1/chat/completions",
            BEARER,
            _ask_chat,
            check_openai_chat,
            check_chat_reply,
            _assemble_chat,
            _read_chat,
            _WORDS | _STOPS,
        ),
        CrossingClient(
            "responses",
            "/v1/responses",
            BEARER,
            _ask_responses,
            check_responses,
            check_response,
            _assemble_response,
            _read_response,
            _WORDS | _STOPS,
        ),
        CrossingClient(
            "anthropic",
            "/v1/messages",
            {"x-api-key": CLIENT_ID, "anthropic-version": "2023-06-01"},
            _ask_anthropic,
            check_anthropic,
            check_message,
            _assemble_message,
            _read_message,
            _WORDS | {"other": "stop"},
            invalid_arguments=_wrap_invalid_input,
            empty_arguments="",
        ),
        CrossingClient(
            "gemini",
            "/v1beta",
            {"x-goog-api-key": CLIENT_ID},
            ask_gemini,
            check_gemini,
            check_gemini_reply,
            assemble_gemini,
            read_gemini,
            _WORDS | {"paused": "other"},
            invalid_arguments=lambda text, call: {"value": arguments_of(text)},
            find_error=find_error,
            find_url=find_url,
        ),
        CrossingClient(
            "ollama chat",
            "/api/chat",
            BEARER,
            _ask_ollama,
            lambda raw: check_ollama(raw, "message"),
            lambda whole: check_ollama_reply(whole, "message"),
            _assemble_lines,
            _read_lines,
            _WORDS | _STOPS,
            invalid_arguments=lambda text, call: {"value": arguments_of(text)},
            counts_parts=False,
        ),
        CrossingClient(
            "ollama generate",
            "/api/generate",
            BEARER,
            _ask_generate,
            lambda raw: check_ollama(raw, "response"),
            lambda whole: check_ollama_reply(whole, "response"),
            _assemble_lines,
            _read_lines,
            _WORDS | _STOPS,
            invalid_arguments=lambda text, call: {"value": arguments_of(text)},
            counts_parts=False,
        ),
    )
}
