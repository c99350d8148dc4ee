"""The oracle of OpenAI's Responses: reads the last event of a stream, or the only value of a body."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.oracle import Answer, Failure, Tokens, _Collected, _read_error, _values

_HOSTED = {
    "web_search_call": "web_search",
    "file_search_call": "file_search",
    "code_interpreter_call": "code_interpreter",
    "mcp_call": "mcp",
}
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "filtered"}
_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "text",
    "response.reasoning_summary_text.delta": "reasoning",
    "response.reasoning_text.delta": "reasoning",
}


def read(status: int, body: bytes) -> Answer | Failure:
    if status >= 400:
        return _read_error(status, json.loads(body))
    values, streamed, _ = _values(body.decode().replace("\r\n", "\n"))
    if not streamed:
        return _collect_items(values[0], values[0]["output"])
    for value in values:
        if value["type"] == "error":
            return _collect_deltas(values).failure(_read_error(0, value))
        if value["type"] in ("response.completed", "response.incomplete"):
            ended = {v["output_index"]: v["item"] for v in values if v["type"] == "response.output_item.done"}
            response = value["response"]  # ChatGPT sends it with an empty list of items
            return _collect_items(response, response["output"] or [ended[place] for place in sorted(ended)])
    return _collect_deltas(values).failure(Failure("cut"))


def _collect_deltas(values: Iterable[Mapping[str, Any]]) -> _Collected:
    """Returns the pieces so far; reasoning summaries are joined by an empty line."""
    collected = _Collected()
    sections: set[tuple[object, ...]] = set()
    thoughts: set[object] = set()
    for value in values:
        kind = _DELTAS.get(value["type"])
        if kind is None or not value.get("delta"):
            continue
        item = value["output_index"]
        section = (value["type"], item, value.get("summary_index", value.get("content_index")))
        if kind == "reasoning" and item in thoughts and section not in sections:
            collected.add(kind, "\n\n")
        sections.add(section)
        thoughts.add(item)
        collected.add(kind, value["delta"])
    return collected


def _collect_items(response: Mapping[str, Any], items: Iterable[Mapping[str, Any]]) -> Answer:
    collected = _Collected()
    after_comment = False
    for item in items:
        match item["type"]:
            case "message":
                if after_comment:
                    collected.pieces.append(("comment ends", "\n\n"))
                after_comment = item.get("phase") == "commentary"
                for part in item["content"]:
                    collected.add("text", part.get("text", part.get("refusal")))
                    for note in part.get("annotations") or ():
                        collected.cite(note.get("url"))
            case "reasoning":
                texts = [part["text"] for part in (*item["summary"], *(item.get("content") or ()))]
                collected.add("reasoning", "\n\n".join(texts))
            case "function_call" | "custom_tool_call":
                collected.call(item["name"], item.get("arguments", item.get("input")), item["call_id"], exact=True)
                collected.pieces.append(("call", ""))
            case kind if kind in _HOSTED:
                collected.call(item.get("name") or _HOSTED[kind], _read_hosted_arguments(item), item["id"], hosted=True)
                collected.pieces.append(("call", ""))
            case kind:
                collected.pieces.append(("other", ""))
                if kind.endswith("_call"):
                    given = item.get("action") or item.get("operation") or {}
                    collected.show(item.get("name") or kind.removesuffix("_call"), json.dumps(given), item["id"])
    why = (response.get("incomplete_details") or {}).get("reason")
    finish = _INCOMPLETE.get(why or "", "length") if response.get("status") == "incomplete" else "stop"
    return collected.answer(finish, _tokens(response.get("usage") or {}))


def _read_hosted_arguments(item: Mapping[str, Any]) -> str:
    """Returns the arguments of a hosted tool call."""
    match item["type"]:
        case "web_search_call":
            action = item.get("action") or {}  # the sources are its result
            return json.dumps({name: value for name, value in action.items() if name != "sources"})
        case "file_search_call":
            return json.dumps({"queries": item["queries"]} if item.get("queries") else {})
        case "code_interpreter_call":
            return json.dumps({"code": item["code"]} if item.get("code") else {})
    return str(item.get("arguments") or "")


def _tokens(usage: Mapping[str, Any]) -> Tokens | None:
    if not usage:
        return None
    given, made = usage["input_tokens"], usage["output_tokens"]
    cached = (usage.get("input_tokens_details") or {}).get("cached_tokens") or 0
    reasoning = (usage.get("output_tokens_details") or {}).get("reasoning_tokens") or 0
    outside = usage.get("total_tokens") == given + made + reasoning and reasoning
    return Tokens(given, made + (reasoning if outside else 0), cached, reasoning)
