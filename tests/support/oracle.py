"""What is in a recorded answer, read a second time by code that has nothing in common with the server's.

It is plain on purpose: the whole body at once, no state machines. Where it and a dialect disagree, the recording is
looked at and one of them is wrong. It imports nothing from ``llm``.

The words for the end are those of ``llm.chat.events``; the arithmetic of tokens is that of spec.md §2: input is all input,
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
    arguments: Json  # parsed; the text itself where a model wrote broken JSON
    id: str | None  # None where the provider gives none
    hosted: bool = False  # run by the provider
    shown: bool = False  # to native clients; for everyone else it is a block without a word for it, or a picture
    text: str | None = field(default=None, compare=False)  # of the arguments, where the wire has them as text


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
    tokens: Tokens | None  # None: not told
    order: tuple[str, ...] = ()  # "text", "reasoning", "call", "other" as they came, neighbours of one kind as one
    sources: frozenset[str] = frozenset()  # the addresses that are cited


@dataclass(frozen=True)
class Failure:
    """The provider told an error, or (``cut``) what it said is no answer, or not the whole of one."""

    kind: Literal["error", "cut"]
    status: int = 0  # of the HTTP answer; what the error itself says where it came inside a 200
    message: str | None = None  # in the provider's words, where it has some
    code: str | None = None
    text: str = ""  # what had been said before
    reasoning: str = ""


def read(wire: str, status: int, body: bytes) -> Answer | Failure:
    if status >= 400:
        return _refusal(status, body)
    return _WIRES[wire](body.decode().replace("\r\n", "\n"))


def without_think_tags(answer: Answer) -> Answer:
    """Thoughts at the beginning of the text, in tags, are reasoning; without a closing tag all of it is (S13)."""
    tags = r"think|thinking|thought"
    found = re.match(rf"\s*<(?:{tags})>\n*(.*?)(?:\n*</(?:{tags})>\s*|\Z)(.*)", answer.text, re.DOTALL)
    if not found:
        return answer
    thought, text = found.groups()
    instead = [kind for kind, said in (("reasoning", thought), ("text", text)) if said]
    at = answer.order.index("text")
    order = (*answer.order[:at], *instead, *answer.order[at + 1 :])
    return replace(answer, reasoning=answer.reasoning + thought, text=text, order=order)


def arguments_of(text: str) -> Json:
    """The value; the text itself where a model wrote broken JSON, nothing for no text at all."""
    try:
        return json.loads(text or "{}")
    except ValueError:
        return text


@dataclass
class _Heard:
    """What an answer says, piece by piece."""

    said: list[tuple[str, str]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    sources: set[str] = field(default_factory=set)

    def say(self, kind: str, text: str | None) -> None:
        if text:
            self.said.append((kind, text))

    def call(self, name: str, arguments: str, id: str | None, hosted: bool = False, *, exact: bool = False) -> None:
        """``exact``: the arguments are in the provider's own bytes."""
        text = arguments if exact else None
        self.calls.append(Call(name, arguments_of(arguments), id or None, hosted, text=text))

    def show(self, name: str, arguments: str, id: str | None) -> None:
        self.calls.append(Call(name, arguments_of(arguments), id or None, hosted=True, shown=True))

    def cite(self, url: str | None) -> None:
        if url:
            self.sources.add(url)

    def all(self, kind: str) -> str:
        return "".join(text for each, text in self.said if each == kind)

    def answer(self, finish: str, tokens: Tokens | None) -> Answer:
        return Answer(
            text=self.all("text"),
            reasoning=self.all("reasoning"),
            calls=tuple(self.calls),
            finish=self._settled(finish),
            tokens=tokens,
            order=tuple(kind for kind, _ in groupby(kind for kind, _ in self.said)),
            sources=frozenset(self.sources),
        )

    def failure(self, failure: Failure) -> Failure:
        return replace(failure, text=self.all("text"), reasoning=self.all("reasoning"))

    def _settled(self, finish: str) -> str:
        """``tool_calls`` exactly when the client has something to call, but for answers that were broken off (S6)."""
        called = any(not call.hosted for call in self.calls)
        if finish in ("stop", "tool_calls", "other") and called:
            return "tool_calls"
        return "stop" if finish == "tool_calls" else finish


def _sse_data(body: str) -> list[str]:
    """The data of each event."""
    blocks = (re.findall(r"^data: ?(.*)$", block, re.MULTILINE) for block in body.split("\n\n"))
    return ["\n".join(data).strip() for data in blocks if data]


def _values(body: str) -> tuple[list[Any], bool, bool]:
    """The JSON values of a body; whether it was a stream, and whether ``[DONE]`` ended it."""
    if body.lstrip()[:1] in ("{", "["):
        value = json.loads(body)
        return (value if isinstance(value, list) else [value]), False, False
    data = _sse_data(body)
    return [json.loads(each) for each in data if each != "[DONE]"], True, "[DONE]" in data


def _json_values(body: str) -> Iterable[Any]:
    """JSON values one after another, whatever blank space is between them."""
    decoder = json.JSONDecoder()
    while body := body.lstrip():
        value, end = decoder.raw_decode(body)
        yield value
        body = body[end:]


def _present(wire: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in wire.items() if value is not None}


def _refusal(status: int, body: bytes) -> Failure:
    try:
        wire = json.loads(body)
    except ValueError:
        return Failure("error", status, body.decode().strip())
    return _told(status, wire[0] if isinstance(wire, list) else wire)


def _told(status: int, wire: Mapping[str, Any]) -> Failure:
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
    heard = _Heard()
    finish = None
    usage: dict[str, Any] | None = None
    calls: dict[object, dict[str, str]] = {}
    for value in values:
        if value.get("error"):
            return heard.failure(_told(0, value))
        usage = value.get("usage") or (value.get("x_groq") or {}).get("usage") or usage
        for url in value.get("citations") or ():
            heard.cite(url)
        for choice in value.get("choices") or ():
            if choice.get("index", 0) != 0:  # further choices were asked for with n
                continue
            finish = choice.get("finish_reason") or finish
            said = choice.get("delta" if streamed else "message") or {}
            details = said.get("reasoning_details") or ()
            shown = "".join(detail.get("text") or detail.get("summary") or "" for detail in details)
            # One thought under up to three names.
            heard.say("reasoning", said.get("reasoning_content") or said.get("reasoning") or shown)
            _openai_content(said.get("content"), heard)
            heard.say("text", said.get("refusal"))
            for note in said.get("annotations") or ():
                heard.cite(note.get("url_citation", {}).get("url"))
            for number, wire in enumerate(said.get("tool_calls") or ()):
                # In a stream a call's pieces have its index; whole calls stand in a list.
                key = wire.get("index", number) if streamed else number
                _openai_call(calls, key, wire.get("function") or wire["custom"], wire.get("id"), heard)
            given = said.get("function_call")  # the form before tools
            if given and given["name"]:
                _openai_call(calls, "function", given, None, heard)
    whole = done or finish is not None if streamed else "choices" in values[0]
    if not whole:
        return heard.failure(Failure("cut"))
    for call in calls.values():
        heard.call(call["name"], call["arguments"], call["id"], exact=True)
    return heard.answer(_OPENAI_FINISH.get(finish or "", "other"), _openai_tokens(usage) if usage else None)


def _openai_content(content: Json, heard: _Heard) -> None:
    """Text, or a list of texts and thoughts (Mistral)."""
    if not isinstance(content, list):
        heard.say("text", content)
        return
    for part in content:
        if part["type"] == "thinking":
            for inner in part["thinking"]:
                heard.say("reasoning", inner["text"])
        else:
            heard.say("text", part["text"])


def _openai_call(
    calls: dict[object, dict[str, str]], key: object, given: Mapping[str, Any], id: str | None, heard: _Heard
) -> None:
    if key not in calls:
        calls[key] = {"name": "", "arguments": "", "id": ""}
        heard.say("call", "+")
    call = calls[key]
    call["name"] = call["name"] or given.get("name") or ""
    call["id"] = call["id"] or id or ""
    call["arguments"] += given.get("arguments") or given.get("input") or ""


def _openai_tokens(usage: Mapping[str, Any]) -> Tokens:
    input_, output = usage.get("prompt_tokens"), usage.get("completion_tokens")
    reasoning = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens") or 0
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens") or 0
    if input_ is not None and output is not None and usage.get("total_tokens") == input_ + output + reasoning:
        output += reasoning  # the total says that it was left out (xAI)
    # Some hosts tell of more parts than of the whole. The whole is what they bill.
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
                return _anthropic_heard(blocks).failure(_told(0, value))
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
    heard = _anthropic_heard(blocks)
    if not ended:
        return heard.failure(Failure("cut"))
    return heard.answer(_ANTHROPIC_FINISH.get(message["stop_reason"], "other"), _anthropic_tokens(usage))


def _anthropic_heard(blocks: Iterable[Mapping[str, Any]]) -> _Heard:
    heard = _Heard()
    for block in blocks:
        match block["type"]:
            case "text":
                heard.say("text", block["text"])
                for citation in block.get("citations") or ():
                    heard.cite(citation.get("url"))
            case "thinking":
                heard.say("reasoning", block["thinking"])
            case "redacted_thinking":
                pass
            case kind if kind.endswith("tool_use"):
                heard.say("call", "+")
                arguments = block.get("json") or json.dumps(block["input"])
                exact = bool(block.get("json"))  # of a stream
                heard.call(block["name"], arguments, block["id"], hosted=kind != "tool_use", exact=exact)
            case _:
                heard.say("other", "+")
    return heard


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
    1: "stop",  # the number of the enumeration, from some proxies
    "MAX_TOKENS": "length",
    "SAFETY": "filtered",
    "UNEXPECTED_TOOL_CALL": "error",
    "MALFORMED_FUNCTION_CALL": "error",
}


def _gemini(body: str) -> Answer | Failure:
    values, _, _ = _values(body)
    heard = _Heard()
    finish = None
    usage: dict[str, Any] | None = None
    for value in values:
        if "error" in value:
            return heard.failure(_told(0, value))
        usage = value.get("usageMetadata") or usage
        for candidate in value.get("candidates") or ():
            finish = candidate.get("finishReason") or finish
            for part in (candidate.get("content") or {}).get("parts") or ():
                if "text" in part:
                    heard.say("reasoning" if part.get("thought") else "text", part["text"])
                elif call := part.get("functionCall"):
                    heard.say("call", "+")
                    heard.call(call["name"], json.dumps(call.get("args") or {}), call.get("id"))
                else:
                    heard.say("other", "+")
                    if code := part.get("executableCode"):
                        given = {name: value for name, value in code.items() if name != "id"}
                        heard.show("code_execution", json.dumps(given), code.get("id"))
            grounding = candidate.get("groundingMetadata") or {}
            for support in grounding.get("groundingSupports") or ():
                for number in support.get("groundingChunkIndices") or ():
                    for source in grounding["groundingChunks"][number].values():
                        heard.cite(source.get("uri"))
    if finish is None:
        return heard.failure(Failure("cut"))
    return heard.answer(_GEMINI_FINISH.get(finish, "other"), _gemini_tokens(usage) if usage else None)


def _gemini_tokens(usage: Mapping[str, Any]) -> Tokens:
    """The total is the sum of these four in every recording, so tool prompts are input and thoughts are output."""
    thoughts = usage.get("thoughtsTokenCount") or 0
    return Tokens(
        input=usage["promptTokenCount"] + (usage.get("toolUsePromptTokenCount") or 0),
        output=(usage.get("candidatesTokenCount") or 0) + thoughts,
        cached=usage.get("cachedContentTokenCount") or 0,
        reasoning=thoughts,
    )


_OLLAMA_FINISH = {"stop": "stop", "length": "length"}


def _ollama(body: str) -> Answer | Failure:
    heard = _Heard()
    end: dict[str, Any] | None = None
    for value in _json_values(body):
        if "error" in value:
            return heard.failure(_told(0, value))
        message = value["message"]
        heard.say("reasoning", message.get("thinking"))
        heard.say("text", message.get("content"))
        for call in message.get("tool_calls") or ():
            given = call["function"]
            heard.say("call", "+")
            heard.call(given["name"], json.dumps(given.get("arguments") or {}), call.get("id"))
        if value["done"]:
            end = value
    if end is None:
        return heard.failure(Failure("cut"))
    tokens = Tokens(end.get("prompt_eval_count"), end.get("eval_count")) if "eval_count" in end else None
    return heard.answer(_OLLAMA_FINISH.get(end.get("done_reason", "stop"), "other"), tokens)


_WIRES: Mapping[str, Callable[[str], Answer | Failure]] = {
    "openai-chat": _openai,
    "anthropic": _anthropic,
    "gemini": _gemini,
    "ollama": _ollama,
}
