"""Scripted tools, and streams with tool calls for every wire."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from llm.chat.request import ToolSpec
from llm.tools.base import ToolFailed, ToolState
from llm.wire.json_codec import Json
from tests.support.harness import Connection, Request, Upstream
from tests.support.wires import WIRES, _chunk, _line, _named, _response, _sse

SIGNED = "c2lnbmVk"


class ScriptedTool:
    """A tool that runs a function of the test."""

    def __init__(self, name: str, does: Callable[[Mapping[str, Json]], Awaitable[Json]], paid: bool = False) -> None:
        properties: Json = {"n": {"type": "integer"}}
        self.spec = ToolSpec(name, f"Does {name}", {"type": "object", "properties": properties}, executor="server")
        self.paid = paid
        self._does = does

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        return f"{self.spec.name} is {state}"

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        return await self._does(arguments)


async def double(arguments: Mapping[str, Json]) -> Json:
    n = arguments["n"]
    assert isinstance(n, int)
    return {"double": 2 * n}


async def fail(arguments: Mapping[str, Json]) -> Json:
    raise ToolFailed("The shop is closed.")


TOOLS = {"double": ScriptedTool("double", double), "shop": ScriptedTool("shop", fail)}
Calls = list[tuple[str, str]]  # name, arguments as JSON text


def make_round(wire: str, text: str, calls: Calls) -> bytes:
    """Returns a streamed answer with a text and tool calls, with signatures where the wire has them."""
    match wire:
        case "openai":
            pieces = [_chunk({"role": "assistant", "content": text})]
            heads = [
                {"index": n, "id": f"c{text[:2]}{n}", "type": "function", "function": {"name": name, "arguments": ""}}
                for n, (name, _) in enumerate(calls)
            ]
            pieces += [_chunk({"tool_calls": [head]}) for head in heads]
            for half in (0, 1):  # their pieces interleaved
                for n, (_, arguments) in enumerate(calls):
                    cut = len(arguments) // 2
                    piece = arguments[cut:] if half else arguments[:cut]
                    pieces.append(_chunk({"tool_calls": [{"index": n, "function": {"arguments": piece}}]}))
            usage = {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
            pieces += [_chunk({}, "tool_calls" if calls else "stop"), _sse({"choices": [], "usage": usage})]
            return b"".join(pieces) + b"data: [DONE]\n\n"
        case "responses":
            message = {
                "type": "message",
                "id": "m1",
                "role": "assistant",
                "content": [{"type": "output_text", "text": text}],
            }
            thought = {"type": "reasoning", "id": "rs1", "summary": [], "encrypted_content": SIGNED}
            made = [
                {
                    "type": "function_call",
                    "id": f"fc{n}",
                    "call_id": f"c{text[:2]}{n}",
                    "name": name,
                    "arguments": arguments,
                }
                for n, (name, arguments) in enumerate(calls)
            ]
            usage = {"input_tokens": 5, "output_tokens": 2, "total_tokens": 7}
            output: list[Any] = [thought, message, *made]
            return _named("response.created", response=_response("in_progress")) + _named(
                "response.completed", response=_response("completed", output=output, usage=usage)
            )
        case "anthropic":
            start = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": []}
            events: list[dict[str, Any]] = [
                {"type": "message_start", "message": {**start, "usage": {"input_tokens": 5, "output_tokens": 1}}},
                {
                    "type": "content_block_start",
                    "index": 0,
                    "content_block": {"type": "thinking", "thinking": "", "signature": ""},
                },
                {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": "Hm."}},
                {"type": "content_block_delta", "index": 0, "delta": {"type": "signature_delta", "signature": SIGNED}},
                {"type": "content_block_stop", "index": 0},
                {"type": "content_block_start", "index": 1, "content_block": {"type": "text", "text": ""}},
                {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": text}},
                {"type": "content_block_stop", "index": 1},
            ]
            for n, (name, arguments) in enumerate(calls, 2):
                block = {"type": "tool_use", "id": f"toolu_{text[:2]}{n}", "name": name, "input": {}}
                events.append({"type": "content_block_start", "index": n, "content_block": block})
                delta = {"type": "input_json_delta", "partial_json": arguments}
                events.append({"type": "content_block_delta", "index": n, "delta": delta})
                events.append({"type": "content_block_stop", "index": n})
            reason = "tool_use" if calls else "end_turn"
            events.append({"type": "message_delta", "delta": {"stop_reason": reason}, "usage": {"output_tokens": 2}})
            return b"".join(_sse(event, str(event["type"])) for event in [*events, {"type": "message_stop"}])
        case "google":  # without ids; the signature stands on the first call
            parts: list[dict[str, Any]] = [{"text": text}]
            for n, (name, arguments) in enumerate(calls):
                part: dict[str, Any] = {"functionCall": {"name": name, "args": _object(arguments)}}
                parts.append(part | ({"thoughtSignature": SIGNED} if n == 0 else {}))
            candidate = {"content": {"role": "model", "parts": parts}, "finishReason": "STOP", "index": 0}
            counts = {"promptTokenCount": 5, "candidatesTokenCount": 2, "totalTokenCount": 7}
            return _sse({"candidates": [candidate], "usageMetadata": counts, "modelVersion": "m"})
    given: Any = [{"function": {"name": name, "arguments": _object(arguments)}} for name, arguments in calls]
    spoken: dict[str, Any] = {"role": "assistant", "content": text}
    said = _line({**spoken, "tool_calls": given} if given else spoken)
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 5, "eval_count": 2}
    return said + _line({"role": "assistant", "content": ""}, **end)


def _object(arguments: str) -> Any:
    """Returns the arguments as an object. This wire cannot have invalid JSON: a value of a wrong type replaces it."""
    try:
        return json.loads(arguments)
    except ValueError:
        return {"n": arguments}


def make_upstream(wire: str, rounds: list[bytes]) -> Upstream:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(WIRES[wire].content_type)
        await connection.chunk(rounds[min(len(upstream.requests), len(rounds)) - 1])
        await connection.end()

    upstream = Upstream(script)
    return upstream
