"""Reads a recorded answer a second time, by code that shares nothing with the server's.

It is simple on purpose: it reads the whole body at once, without state machines. If it and a dialect disagree, compare
with the recording: one of them is wrong. It imports nothing from ``llm``.

Finish reasons are those of ``llm.chat.events``; token counts follow spec.md §2: input is all input,
cached or not; output is all output, reasoning included; cached and reasoning are parts of them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any, Literal, TypeAlias

Json: TypeAlias = Any


@dataclass(frozen=True)
class Call:
    name: str
    arguments: Json  # parsed; the text itself if it is invalid JSON
    id: str | None  # None if the provider sends none
    hosted: bool = False  # run by the provider
    visible: bool = False  # to native clients; other clients get an unknown block or an image
    text: str | None = field(default=None, compare=False)  # the arguments as text, if the wire sends text


@dataclass(frozen=True)
class Tokens:
    input: int | None
    output: int | None
    cached: int = 0
    reasoning: int = 0


@dataclass(frozen=True)
class Answer:
    text: str
    reasoning: str
    calls: tuple[Call, ...]
    finish: str
    tokens: Tokens | None  # None: not reported
    order: tuple[
        str, ...
    ] = ()  # "text", "reasoning", "call", "other" in order of arrival; neighbours of one kind count once
    sources: frozenset[str] = frozenset()  # cited URLs
    apart: str = ""  # the text with a blank line behind each comment on the work


@dataclass(frozen=True)
class Failure:
    """The provider sent an error or, if ``kind`` is ``cut``, an incomplete or invalid answer."""

    kind: Literal["error", "cut"]
    status: int = 0  # HTTP status; of an error inside a 200, the status in the error itself
    message: str | None = None  # the provider's message, if any
    code: str | None = None
    text: str = ""  # text before the error
    reasoning: str = ""


def read_answer(wire: str, status: int, body: bytes) -> Answer | Failure:
    if status >= 400:
        return _read_http_error(status, body)
    return _WIRES[wire](body.decode().replace("\r\n", "\n"))


def without_think_tags(answer: Answer) -> Answer:
    """Moves tagged reasoning at the start of the text to ``reasoning``; all of the text if the tag is not closed (S13)."""
    tags = r"think|thinking|thought"
    found = re.match(rf"\s*<(?:{tags})>\n*(.*?)(?:\n*</(?:{tags})>\s*|\Z)(.*)", answer.text, re.DOTALL)
    if not found:
        return answer
    thought, text = found.groups()
    instead = [kind for kind, delta in (("reasoning", thought), ("text", text)) if delta]
    at = answer.order.index("text")
    order = (*answer.order[:at], *instead, *answer.order[at + 1 :])
    return replace(answer, reasoning=answer.reasoning + thought, text=text, order=order)


def arguments_of(text: str) -> Json:
    """Returns the parsed arguments; the text itself if it is invalid JSON, ``{}`` for an empty text and for ``null``."""
    try:
        value = json.loads(text or "{}")
        return {} if value is None else value
    except ValueError:
        return text


@dataclass
class _Collected:
    """Collects the pieces of an answer."""

    pieces: list[tuple[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)

    def add(self, kind: str, text: str | None) -> None:
        if text:
            self.pieces.append((kind, text))

    def call(self, name: str, arguments: str, id: str | None, hosted: bool = False, *, exact: bool = False) -> None:
        """Adds a tool call. ``exact``: the arguments are the provider's own bytes."""
        arguments = "" if arguments.strip() == "null" else arguments
        text = arguments if exact else None
        self.calls.append(Call(name, arguments_of(arguments), id or None, hosted, text=text))

    def show(self, name: str, arguments: str, id: str | None) -> None:
        self.calls.append(Call(name, arguments_of(arguments), id or None, hosted=True, visible=True))

    def cite(self, url: str | None) -> None:
        if url:
            self.sources.add(url)

    def all(self, kind: str) -> str:
        return "".join(text for each, text in self.pieces if each == kind)

    def answer(self, finish: str, tokens: Tokens | None) -> Answer:
        return Answer(
            text=self.all("text"),
            reasoning=self.all("reasoning"),
            calls=tuple(self.calls),
            finish=self._resolve_finish(finish),
            tokens=tokens,
            order=tuple(kind for kind, _ in groupby(kind for kind, _ in self.pieces if kind != "comment ends")),
            apart="".join(text for kind, text in self.pieces if kind in ("text", "comment ends")),
            sources=frozenset(self.sources),
        )

    def failure(self, failure: Failure) -> Failure:
        return replace(failure, text=self.all("text"), reasoning=self.all("reasoning"))

    def _resolve_finish(self, finish: str) -> str:
        """Returns ``tool_calls`` if and only if the client has to run a call; the reason of a truncated answer stays (S6)."""
        called = any(not call.hosted for call in self.calls)
        if finish == "other" and all(kind == "reasoning" for kind, _ in self.pieces):
            return "error"  # an unknown end without output is no normal one
        if finish in ("stop", "tool_calls", "other") and called:
            return "tool_calls"
        return "stop" if finish == "tool_calls" else finish


def _sse_data(body: str) -> list[str]:
    """Returns the data of each event."""
    blocks = (re.findall(r"^data: ?(.*)$", block, re.MULTILINE) for block in body.split("\n\n"))
    return ["\n".join(data).strip() for data in blocks if data]


def _values(body: str) -> tuple[list[Any], bool, bool]:
    """Returns the JSON values of a body, whether it was a stream, and whether ``[DONE]`` ended it."""
    if body.lstrip()[:1] in ("{", "["):
        value = json.loads(body)
        return (value if isinstance(value, list) else [value]), False, False
    data = _sse_data(body)
    return [json.loads(each) for each in data if each != "[DONE]"], True, "[DONE]" in data


def _json_values(body: str) -> Iterable[Any]:
    """Returns JSON values that follow one another, with any white space between them."""
    decoder = json.JSONDecoder()
    while body := body.lstrip():
        value, end = decoder.raw_decode(body)
        yield value
        body = body[end:]


def _present(wire: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wire.items() if value is not None}


def _read_http_error(status: int, body: bytes) -> Failure:
    try:
        wire = json.loads(body)
    except ValueError:
        return Failure("error", status, body.decode().strip())
    return _read_error(status, wire[0] if isinstance(wire, list) else wire)


def _read_error(status: int, wire: Mapping[str, Any]) -> Failure:
    error = wire.get("error", wire)
    if isinstance(error, str):
        return Failure("error", status, error, wire.get("code"))
    code = error.get("code")
    for stated in (code, error.get("status_code"), error.get("status")):
        if not status and isinstance(stated, int):
            status = stated
    message = error.get("message", error.get("detail"))
    return Failure("error", status, message if isinstance(message, str) else None, None if code is None else str(code))


_OPENAI_FINISH = {
    "stop": "stop",
    "eos": "stop",
    "end_turn": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "filtered",
}


def _openai(body: str) -> Answer | Failure:
    values, streamed, done = _values(body)
    collected = _Collected()
    finish = None
    usage: dict[str, Any] | None = None
    calls: dict[object, dict[str, str]] = {}
    for value in values:
        if value.get("error"):
            return collected.failure(_read_error(0, value))
        usage = value.get("usage") or (value.get("x_groq") or {}).get("usage") or usage
        for url in value.get("citations") or ():
            collected.cite(url)
        for choice in value.get("choices") or ():
            if choice.get("index", 0) != 0:  # further choices (``n``)
                continue
            finish = choice.get("finish_reason") or finish
            delta = choice.get("delta" if streamed else "message") or {}
            details = delta.get("reasoning_details") or ()
            shown = "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
            # The same reasoning has up to three field names.
            collected.add("reasoning", delta.get("reasoning_content") or delta.get("reasoning") or shown)
            _openai_content(delta.get("content"), collected)
            collected.add("text", delta.get("refusal"))
            collected.add("text", (delta.get("audio") or {}).get("transcript"))
            for note in delta.get("annotations") or ():
                collected.cite(note.get("url_citation", {}).get("url"))
                collected.add("other", "+" if note.get("type") == "file" else "")
            for tool in delta.get("executed_tools") or ():  # Groq
                for found in (tool.get("search_results") or {}).get("results") or ():
                    collected.cite(found.get("url"))
            for number, wire in enumerate(delta.get("tool_calls") or ()):
                # In a stream the pieces of a call have its index; otherwise calls are a list.
                key = wire.get("index", number) if streamed else number
                _openai_call(calls, key, wire.get("function") or wire["custom"], wire.get("id"), collected)
            function = delta.get("function_call")  # the predecessor of ``tool_calls``
            if function and function["name"]:
                _openai_call(calls, "function", function, None, collected)
    whole = done or finish is not None if streamed else "choices" in values[0]
    if not whole:
        return collected.failure(Failure("cut"))
    for call in calls.values():
        collected.call(call["name"], call["arguments"], call["id"], exact=True)
    return collected.answer(_OPENAI_FINISH.get(finish or "", "other"), _openai_tokens(usage) if usage else None)


def _openai_content(content: Json, collected: _Collected) -> None:
    """Adds content: a text, or a list of text and reasoning parts (Mistral)."""
    if not isinstance(content, list):
        collected.add("text", content)
        return
    for part in content:
        if part["type"] == "thinking":
            for inner in part["thinking"]:
                collected.add("reasoning", inner["text"])
        else:
            collected.add("text", part["text"])


def _openai_call(
    calls: dict[object, dict[str, str]], key: object, function: Mapping[str, Any], id: str | None, collected: _Collected
) -> None:
    if key not in calls:
        calls[key] = {"name": "", "arguments": "", "id": ""}
        collected.add("call", "+")
    call = calls[key]
    call["name"] = call["name"] or function.get("name") or ""
    call["id"] = call["id"] or id or ""
    call["arguments"] += function.get("arguments") or function.get("input") or ""


def _openai_tokens(usage: Mapping[str, Any]) -> Tokens:
    input_, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    if input_ is not None and output is not None and usage.get("total_tokens") == input_ + output + reasoning:
        output += reasoning  # the total shows that it was not included (xAI)
    # Some hosts report parts that are larger than the whole. The whole is billed.
    return Tokens(input_, output, _at_most(input_, cached), _at_most(output, reasoning))


def _at_most(whole: int | None, part: int) -> int:
    return part if whole is None else min(part, whole)


_ANTHROPIC_FINISH = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "pause_turn": "paused",
    "refusal": "filtered",
}


def _anthropic(body: str) -> Answer | Failure:
    values, _, _ = _values(body)
    message = values[0]
    blocks: list[dict[str, Any]] = []
    usage: dict[str, Any] = {}
    ended = False
    for value in values:
        match value["type"]:
            case "error":
                return _read_blocks(blocks).failure(_read_error(0, value))
            case "message":
                blocks, usage, ended = value["content"], value["usage"], True
            case "message_start":
                message = value["message"]
                usage |= _present(message["usage"])
            case "content_block_start":
                blocks.append({"json": "", "citations": [], **value["content_block"]})
            case "content_block_delta":
                block, delta = blocks[value["index"]], value["delta"]
                block["text"] = block.get("text", "") + delta.get("text", "")
                block["thinking"] = block.get("thinking", "") + delta.get("thinking", "")
                block["json"] += delta.get("partial_json", "")
                if "citation" in delta:
                    block["citations"].append(delta["citation"])
            case "message_delta":
                message["stop_reason"] = value["delta"]["stop_reason"]
                usage |= _present(value["usage"])
            case "message_stop":
                ended = True
    collected = _read_blocks(blocks)
    if not ended:
        return collected.failure(Failure("cut"))
    return collected.answer(_ANTHROPIC_FINISH.get(message["stop_reason"], "other"), _anthropic_tokens(usage))


def _read_blocks(blocks: Iterable[Mapping[str, Any]]) -> _Collected:
    collected = _Collected()
    for block in blocks:
        match block["type"]:
            case "text":
                collected.add("text", block["text"])
                for citation in block.get("citations") or ():
                    collected.cite(citation.get("url"))
            case "thinking":
                collected.add("reasoning", block["thinking"])
            case "redacted_thinking":
                pass
            case kind if kind.endswith("tool_use"):
                collected.add("call", "+")
                arguments = block.get("json") or json.dumps(block["input"])
                exact = bool(block.get("json"))  # in a stream
                collected.call(block["name"], arguments, block["id"], hosted=kind != "tool_use", exact=exact)
            case _:
                collected.add("other", "+")
    return collected


def _anthropic_tokens(usage: Mapping[str, Any]) -> Tokens:
    cached = usage.get("cache_read_input_tokens") or 0
    return Tokens(
        input=usage["input_tokens"] + cached + (usage.get("cache_creation_input_tokens") or 0),
        output=usage["output_tokens"],
        cached=cached,
        reasoning=(usage.get("output_tokens_details") or {}).get("thinking_tokens") or 0,
    )


_GEMINI_FINISH = {
    "STOP": "stop",
    1: "stop",  # some proxies send the number of the enumeration
    "MAX_TOKENS": "length",
    "SAFETY": "filtered",
    "UNEXPECTED_TOOL_CALL": "error",
    "MALFORMED_FUNCTION_CALL": "error",
}


def _gemini(body: str) -> Answer | Failure:
    values, _, _ = _values(body)
    collected = _Collected()
    finish = None
    usage: dict[str, Any] | None = None
    queries: list[str] = []
    pages: dict[str, None] = {}
    told = False  # the searches are parts of the answer
    for value in values:
        if "error" in value:
            return collected.failure(_read_error(0, value))
        usage = value.get("usageMetadata") or usage
        for candidate in value.get("candidates") or ():
            finish = candidate.get("finishReason") or finish
            for part in (candidate.get("content") or {}).get("parts") or ():
                if "text" in part:
                    collected.add("reasoning" if part.get("thought") else "text", part["text"])
                elif call := part.get("functionCall"):
                    collected.add("call", "+")
                    collected.call(call["name"], json.dumps(call.get("args") or {}), call.get("id"))
                else:
                    collected.add("other", "+")
                    if code := part.get("executableCode"):
                        function = {name: value for name, value in code.items() if name != "id"}
                        collected.show("code_execution", json.dumps(function), code.get("id"))
                    if tool := part.get("toolCall"):
                        queries = []
                        told = True
                        name = "web_fetch" if tool["toolType"].startswith("URL_") else "web_search"
                        collected.show(name, json.dumps(tool.get("args") or {}), tool.get("id"))
            grounding = candidate.get("groundingMetadata") or {}
            queries = queries if told else grounding.get("webSearchQueries") or queries
            for page in (candidate.get("urlContextMetadata") or {}).get("urlMetadata") or ():
                if "ERROR" not in page.get("urlRetrievalStatus", ""):
                    pages[page["retrievedUrl"]] = None
            for support in grounding.get("groundingSupports") or ():
                for number in support.get("groundingChunkIndices") or ():
                    for source in grounding["groundingChunks"][number].values():
                        collected.cite(source.get("uri"))
    if finish is None:
        return collected.failure(Failure("cut"))
    _add_web_runs(collected, queries, [] if told else [*pages])
    return collected.answer(_GEMINI_FINISH.get(finish, "other"), _gemini_tokens(usage) if usage else None)


def _add_web_runs(collected: _Collected, queries: list[str], pages: list[str]) -> None:
    """Adds the searches that are told beside the answer only."""
    asked: list[tuple[str, dict[str, Any]]] = [("web_fetch", {"url": url}) for url in pages]
    if queries:
        more = {"queries": queries} if len(queries) > 1 else {}
        asked.insert(0, ("web_search", {"query": queries[0], **more}))
    for name, arguments in asked:
        collected.add("call", "+")
        collected.call(name, json.dumps(arguments), None, hosted=True)


def _gemini_tokens(usage: Mapping[str, Any]) -> Tokens:
    """Returns the usage. In every recording the total is the sum of the four: tool prompts are input, thoughts output."""
    thoughts = usage.get("thoughtsTokenCount") or 0
    return Tokens(
        input=usage["promptTokenCount"] + (usage.get("toolUsePromptTokenCount") or 0),
        output=(usage.get("candidatesTokenCount") or 0) + thoughts,
        cached=usage.get("cachedContentTokenCount") or 0,
        reasoning=thoughts,
    )


_OLLAMA_FINISH = {"stop": "stop", "length": "length"}


def _ollama(body: str) -> Answer | Failure:
    collected = _Collected()
    end: dict[str, Any] | None = None
    for value in _json_values(body):
        if "error" in value:
            return collected.failure(_read_error(0, value))
        message = value["message"]
        collected.add("reasoning", message.get("thinking"))
        collected.add("text", message.get("content"))
        for call in message.get("tool_calls") or ():
            function = call["function"]
            collected.add("call", "+")
            collected.call(function["name"], json.dumps(function.get("arguments") or {}), call.get("id"))
        if value["done"]:
            end = value
    if end is None:
        return collected.failure(Failure("cut"))
    tokens = Tokens(end.get("prompt_eval_count"), end.get("eval_count")) if "eval_count" in end else None
    return collected.answer(_OLLAMA_FINISH.get(end.get("done_reason", "stop"), "other"), tokens)


_WIRES: Mapping[str, Callable[[str], Answer | Failure]] = {
    "openai-chat": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
