"""A simple client of Gemini's wire, as strict as Google's SDKs, and the grammar of what it is sent (S7)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from tests.support.grammars import _Place
from tests.support.oracle import Answer, Call, Tokens

Wire = dict[str, Any]
ERRORS = frozenset({"MALFORMED_FUNCTION_CALL", "MALFORMED_RESPONSE", "UNEXPECTED_TOOL_CALL", "TOO_MANY_TOOL_CALLS"})
_ENDS = {"STOP": "stop", "MAX_TOKENS": "length", "CONTINUATION": "length", "OTHER": "other"}
_STATUSES = ("INVALID_ARGUMENT", "UNAUTHENTICATED", "NOT_FOUND", "INTERNAL", "UNAVAILABLE", "RESOURCE_EXHAUSTED")


def ask_gemini(model: str, stream: bool, tools: Sequence[str]) -> Wire:
    """Returns a request with ``model`` and ``stream``, which :func:`find_url` reads, beside the body's own fields."""
    body: Wire = {"model": model, "stream": stream, "contents": [{"role": "user", "parts": [{"text": "x"}]}]}
    body["generationConfig"] = {"thinkingConfig": {"includeThoughts": True}}
    if tools:
        parameters = {"type": "OBJECT", "properties": {}}
        body["tools"] = [{"functionDeclarations": [{"name": name, "parameters": parameters} for name in tools]}]
    return body


def find_url(body: Wire) -> str:
    """Returns the path for a request of :func:`ask_gemini`."""
    method = "streamGenerateContent?alt=sse" if body["stream"] else "generateContent"
    return f"/v1beta/models/{body['model']}:{method}"


def read_chunks(raw: bytes) -> list[Wire]:
    """Reads a stream as google-genai does: each line is data or blank."""
    chunks = []
    for line in raw.decode().split("\n"):
        assert not line or line.startswith("data: "), f"not data: {line!r}"
        if line:
            chunks.append(json.loads(line.removeprefix("data: ")))
    return chunks


def check_gemini(raw: bytes) -> None:
    """Checks a stream."""
    place = _Place()
    place.need(raw.endswith(b"\n\n"), "the last event has no end")
    ended = False
    common: tuple[Any, Any] | None = None
    for place.at, chunk in enumerate(read_chunks(raw)):
        place.what = chunk
        place.need(not ended, "something follows the end")
        if "error" in chunk or "promptFeedback" in chunk:
            _check_error(chunk, place)
            ended = True
            continue
        place.need(common in (None, (chunk["modelVersion"], chunk["responseId"])), "model or id changed")
        common = chunk["modelVersion"], chunk["responseId"]
        ended = _check_response(chunk, place)
    place.need(ended, "the stream has no end")


def check_gemini_reply(wire: Any) -> None:
    """Checks a whole answer."""
    place = _Place()
    place.what = wire
    place.need(_check_response(wire, place), "a whole answer without its end")


def _check_error(chunk: Wire, place: _Place) -> None:
    if "error" in chunk:
        error = chunk["error"]
        place.need(isinstance(error["code"], int) and error["message"], "an error without code or sentence")
        place.need(error["status"].isupper(), f"no such status: {error['status']}")
    else:
        place.need(chunk["promptFeedback"]["blockReason"].isupper(), "no reason")


def _check_response(wire: Wire, place: _Place) -> bool:
    """Returns True if it has the end."""
    place.need(wire["modelVersion"] and wire["responseId"], "no model or no id")
    [candidate] = wire["candidates"]
    place.need(candidate["index"] == 0, "not the first candidate")
    end = candidate.get("finishReason")
    if end is None or "content" in candidate:
        content = candidate["content"]
        place.need(content["role"] == "model" and content["parts"], "no parts, or of another role")
        for part in content["parts"]:
            _check_part(part, place)
    if end is None:
        return False
    place.need(end.isupper(), f"no such end: {end}")
    usage = wire["usageMetadata"]
    for name in ("promptTokenCount", "candidatesTokenCount", "totalTokenCount"):
        place.need(type(usage[name]) is int and usage[name] >= 0, f"{name} is no count")
    return True


def _check_part(part: Wire, place: _Place) -> None:
    kinds = [name for name in part if name not in ("thought", "thoughtSignature", "videoMetadata", "partMetadata")]
    place.need(len(kinds) == 1, f"a part of {kinds}")
    if call := part.get("functionCall"):
        place.need(call["name"] and call["id"] and isinstance(call["args"], dict), "not a whole call")
    place.need(isinstance(part.get("text", ""), str), "a text that is none")
    place.need(part.get("thought", True) is True, "a thought that is none")


def assemble_gemini(raw: bytes) -> Wire:
    """Joins the chunks: the parts of all of them, and the fields of the last one."""
    chunks = read_chunks(raw)
    if "candidates" not in chunks[-1]:
        return chunks[-1]
    parts = [part for chunk in chunks for part in chunk["candidates"][0].get("content", {}).get("parts", ())]
    candidate = {**chunks[-1]["candidates"][0], "content": {"role": "model", "parts": parts}}
    return {**chunks[-1], "candidates": [candidate]}


def find_error(whole: Wire) -> Any:
    """Returns what is no answer: an error, a refused prompt, or an end of an answer that failed."""
    if "candidates" in whole and (end := whole["candidates"][0]["finishReason"]) in ERRORS:
        return end
    return whole.get("error") or whole.get("promptFeedback")


def read_gemini(whole: Wire) -> Answer:
    """Reads a whole answer."""
    [candidate] = whole["candidates"]
    parts, usage = candidate.get("content", {}).get("parts", ()), whole["usageMetadata"]
    calls = tuple(
        Call(c["name"], c["args"], c["id"], hosted=False) for part in parts if (c := part.get("functionCall"))
    )
    texts = [part for part in parts if "text" in part]
    end = _ENDS.get(candidate["finishReason"], "content_filter")
    sources = candidate.get("groundingMetadata", {}).get("groundingChunks", ())
    thoughts = usage.get("thoughtsTokenCount", 0)
    tokens = Tokens(
        usage["promptTokenCount"] + usage.get("toolUsePromptTokenCount", 0),
        usage["candidatesTokenCount"] + thoughts,
        usage.get("cachedContentTokenCount", 0),
        thoughts,
    )
    return Answer(
        text="".join(part["text"] for part in texts if not part.get("thought")),
        reasoning="".join(part["text"] for part in texts if part.get("thought")),
        calls=calls,
        finish="tool_calls" if calls and end == "stop" else end,
        tokens=None if usage.get("estimated") else tokens,
        sources=frozenset(one["web"]["uri"] for one in sources if one["web"].get("uri")),
    )
