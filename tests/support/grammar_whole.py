"""Checks answers that are not streamed, in each client wire (S7); Ollama's is in ``grammar_ollama``."""

from __future__ import annotations

from typing import Any

from tests.support.grammars import (
    _FINISH_REASONS,
    _OPENAI_REASONS,
    _STOP_REASONS,
    _count,
    _native_usage,
    _openai_usage,
    _Place,
)


def _place(wire: Any) -> _Place:
    place = _Place()
    place.what = wire
    place.need(isinstance(wire, dict), "no object")
    return place


def _text(wire: Any, names: str, place: _Place) -> None:
    for name in names.split():
        place.need(isinstance(wire.get(name), str) and wire[name], f"{name} is missing")


def check_native_reply(wire: Any) -> None:
    place = _place(wire)
    place.need(wire.get("type") == "text" and isinstance(wire.get("content"), str), "no text")
    place.need(wire.get("finishReason") in _FINISH_REASONS, "no such finishReason")
    _native_usage(wire.get("usage"), place)
    place.need(isinstance(wire.get("toolCalls"), list), "toolCalls is missing")
    for call in wire["toolCalls"]:
        _text(call, "id name", place)
        place.need("params" in call and "result" in call, "a call without params or result")


def check_chat_reply(wire: Any) -> None:
    place = _place(wire)
    _text(wire, "id model", place)
    place.need(wire.get("object") == "chat.completion" and type(wire.get("created")) is int, "no completion")
    place.need(isinstance(wire.get("choices"), list) and len(wire["choices"]) == 1, "not one choice")
    [choice] = wire["choices"]
    message, finish = choice.get("message"), choice.get("finish_reason")
    place.need(choice.get("index") == 0 and isinstance(message, dict), "no message")
    place.need(message.get("role") == "assistant" and "content" in message and "refusal" in message, "not a message")
    place.need(isinstance(message["content"], str | None), "content is no text")
    calls = message.get("tool_calls")
    place.need(calls is None or (isinstance(calls, list) and calls), "an empty list of calls")
    place.need(message["content"] is not None or calls, "neither text nor calls")
    for call in calls or ():
        _text(call, "id", place)
        _text(call.get("function") or {}, "name arguments", place)
        place.need(call.get("type") == "function", "a call without a type")
    place.need(len({call["id"] for call in calls or ()}) == len(calls or ()), "two calls have one id")
    place.need(finish in _OPENAI_REASONS, "no such finish_reason")
    place.need(finish != "tool_calls" or calls, "finish_reason tool_calls without a call")
    place.need(finish != "stop" or not calls, "finish_reason stop beside a call")
    _openai_usage(wire.get("usage"), place)


def check_response(wire: Any) -> None:
    place = _place(wire)
    _text(wire, "id model", place)
    place.need(wire.get("object") == "response" and type(wire.get("created_at")) is int, "no response")
    place.need(wire.get("status") in ("completed", "incomplete"), "neither completed nor incomplete")
    place.need(wire.get("error") is None, "an error in an answer")
    place.need((wire["status"] == "incomplete") == (wire.get("incomplete_details") is not None), "no reason given")
    place.need(isinstance(wire.get("output"), list), "no items")
    ids = [item.get("id") for item in wire["output"]]
    place.need(all(ids) and len({*ids}) == len(ids), "an item without an id of its own")
    for item in wire["output"]:
        match item.get("type"):
            case "message":
                place.need(item.get("role") == "assistant" and isinstance(item.get("content"), list), "no message")
                for part in item["content"]:
                    place.need(part.get("type") == "output_text" and isinstance(part.get("text"), str), "no text")
                    place.need(isinstance(part.get("annotations"), list), "no list of annotations")
            case "reasoning":
                place.need(isinstance(item.get("summary"), list), "a thought without its summary")
            case "function_call":
                _text(item, "call_id name arguments", place)
            case kind:
                place.need(isinstance(kind, str) and kind, "an item without a type")
    usage = wire.get("usage") or {}
    total = _count(usage, "input_tokens", place) + _count(usage, "output_tokens", place)
    place.need(_count(usage, "total_tokens", place) == total, "the total is not the sum")


def check_message(wire: Any) -> None:
    place = _place(wire)
    _text(wire, "id model", place)
    place.need((wire.get("type"), wire.get("role")) == ("message", "assistant"), "no message of the assistant")
    place.need(isinstance(wire.get("content"), list), "no blocks")
    place.need(wire.get("stop_reason") in _STOP_REASONS and "stop_sequence" in wire, "no such stop_reason")
    ids = []
    for block in wire["content"]:
        match block.get("type"):
            case "text":
                _text(block, "text", place)
            case "thinking":
                place.need(isinstance(block.get("thinking"), str), "a thought without text")
                place.need(isinstance(block.get("signature"), str), "a thought without signature")
            case "tool_use":
                _text(block, "id name", place)
                place.need(isinstance(block.get("input"), dict), "input is no object")
                ids.append(block["id"])
            case kind:
                place.need(isinstance(kind, str) and kind, "a block without a type")
    place.need(len({*ids}) == len(ids), "two calls have one id")
    place.need(wire["stop_reason"] != "tool_use" or ids, "stop_reason tool_use without a call")
    place.need(wire["stop_reason"] != "end_turn" or not ids, "stop_reason end_turn beside a call")
    for name in ("input_tokens", "output_tokens"):
        _count(wire.get("usage") or {}, name, place)
