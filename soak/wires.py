"""The four provider wires in their smallest form. Every delta has one ``~``, and nothing else has one."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Final

WORD: Final = " word~"
BIG: Final = 4000  # characters more in a big delta


def _json(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _sse(value: Any, event: str = "") -> bytes:
    return (f"event: {event}\n" if event else "").encode() + b"data: " + _json(value) + b"\n\n"


@dataclass(frozen=True)
class Wire:
    content_type: str
    head: bytes
    delta: bytes
    big: bytes
    end: bytes
    error: bytes  # inside a stream
    whole: bytes


def _openai() -> Wire:
    common = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m"}

    def event(delta: dict[str, str], reason: str | None = None) -> bytes:
        return _sse({**common, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], "usage": None})

    usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    message = {"role": "assistant", "content": WORD}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return Wire(
        content_type="text/event-stream",
        head=event({"role": "assistant", "content": ""}),
        delta=event({"content": WORD}),
        big=event({"content": WORD + "x" * BIG}),
        end=event({}, "stop") + _sse({**common, "choices": [], "usage": usage}) + b"data: [DONE]\n\n",
        error=_sse({"error": {"message": "It broke.", "type": "server_error", "code": "broken"}}),
        whole=_json({**common, "object": "chat.completion", "choices": [choice], "usage": usage}),
    )


def _anthropic() -> Wire:
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m"}
    usage = {"input_tokens": 5, "output_tokens": 2}
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    start: dict[str, Any] = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}

    def event(type: str, **fields: Any) -> bytes:
        return _sse({"type": type, **fields}, type)

    def delta(text: str) -> bytes:
        return event("content_block_delta", index=0, delta={"type": "text_delta", "text": text})

    return Wire(
        content_type="text/event-stream",
        head=event("message_start", message=start)
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        delta=delta(WORD),
        big=delta(WORD + "x" * BIG),
        end=event("content_block_stop", index=0)
        + event("message_delta", delta=ends, usage={"output_tokens": 2})
        + event("message_stop"),
        error=event("error", error={"type": "overloaded_error", "message": "It broke."}),
        whole=_json({**message, "content": [{"type": "text", "text": WORD}], **ends, "usage": usage}),
    )


def _gemini() -> Wire:
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}

    def value(text: str, **more: Any) -> dict[str, Any]:
        candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "index": 0, **more}
        return {"candidates": [candidate], "modelVersion": "m", "responseId": "r1"}

    return Wire(
        content_type="text/event-stream",
        head=b"",
        delta=_sse(value(WORD)),
        big=_sse(value(WORD + "x" * BIG)),
        end=_sse({**value("", finishReason="STOP"), "usageMetadata": usage}),
        error=_sse({"error": {"code": 503, "message": "It broke.", "status": "UNAVAILABLE"}}),
        whole=_json({**value(WORD, finishReason="STOP"), "usageMetadata": usage}),
    )


def _ollama() -> Wire:
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}

    def line(text: str, **more: Any) -> bytes:
        value = {"model": "m", "created_at": "2026-01-01T00:00:00Z", "message": {"role": "assistant", "content": text}}
        return _json({**value, "done": False, **more}) + b"\n"

    return Wire(
        content_type="application/x-ndjson",
        head=b"",
        delta=line(WORD),
        big=line(WORD + "x" * BIG),
        end=line("", **end),
        error=b'{"error":"It broke."}\n',
        whole=line(WORD, **end),
    )


WIRES: Final = {"openai": _openai(), "anthropic": _anthropic(), "google": _gemini(), "ollama": _ollama()}
