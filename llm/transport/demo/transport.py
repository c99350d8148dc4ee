"""The transport of the demo engine: answers requests for Chat Completions with what a script generates."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Final

from llm.errors import IdleTimeout
from llm.transport.demo.script import CREATED, MODELS, Script
from llm.transport.interface import HttpRequest, HttpResponse
from llm.wire.json_codec import Json, dump_bytes, loads
from llm.wire.sse import encode_sse_event

_MAX_REFUSED: Final = 1_000  # requests to demo-flaky whose first attempt was refused and whose second is awaited


class DemoTransport:
    """Implements ``Transport`` for the demo engine. ``pace``: seconds between two words, ``idle_timeout``: seconds."""

    def __init__(self, *, idle_timeout: float, pace: float = 0.02) -> None:
        self._idle_timeout = idle_timeout
        self._pace = pace
        self._refused: dict[bytes, None] = {}

    async def send(self, request: HttpRequest) -> HttpResponse:
        """Returns the model list for GET, else the response of the model in the body."""
        if request.method == "GET":
            models: list[Json] = [
                {"id": name, "object": "model", "created": CREATED, "owned_by": "demo", "description": text}
                for name, text in MODELS.items()
            ]
            return DemoResponse(200, _json({"object": "list", "data": models}))
        body = loads(request.body or b"{}")
        return self._refusal(request.body or b"", str(body.get("model"))) or self._answer(body)

    async def close(self) -> None:
        """Clears the state of demo-flaky."""
        self._refused.clear()

    def _refusal(self, raw: bytes, model: str) -> DemoResponse | None:
        if model == "demo-error":
            return _error(500, "The model demo-error always fails.", "server_error", None)
        if model == "demo-limit":
            return _error(429, "The demo engine is at its limit.", "rate_limit_error", "rate_limit_exceeded", 7)
        if model == "demo-flaky":
            mark = hashlib.sha256(raw).digest()
            if mark in self._refused:
                del self._refused[mark]
                return None
            self._refused[mark] = None
            if len(self._refused) > _MAX_REFUSED:
                del self._refused[next(iter(self._refused))]
            return _error(
                429,
                "The demo engine refuses the first attempt; try again.",
                "rate_limit_error",
                "rate_limit_exceeded",
                1,
            )
        if model not in MODELS:
            return _error(404, f"The demo engine has no model {model!r}.", "invalid_request_error", "model_not_found")
        return None

    def _answer(self, body: Mapping[str, Any]) -> DemoResponse:
        script = Script(body, self._pace)
        if body.get("stream"):
            return DemoResponse(200, self._stream(script), "text/event-stream")
        return DemoResponse(200, self._assemble(script))

    async def _stream(self, script: Script) -> AsyncIterator[bytes]:
        for step in script.steps():
            if isinstance(step, float):
                await self._wait(step)
            else:
                yield encode_sse_event(step)
        if script.model != "demo-cut":
            yield b"data: [DONE]\n\n"

    async def _assemble(self, script: Script) -> AsyncIterator[bytes]:
        message: dict[str, Json] = {"role": "assistant", "content": None, "refusal": None, "annotations": []}
        calls: dict[Any, dict[str, Any]] = {}
        reply: dict[str, Json] = {"object": "chat.completion"}
        for step in script.steps():
            if isinstance(step, float):
                await self._wait(step)
                continue
            if "error" in step or script.model == "demo-cut":
                yield dump_bytes(step)[: None if "error" in step else -20]
                return
            reply = {**reply, **{n: step[n] for n in ("id", "model", "created", "usage") if n in step}}
            for choice in step["choices"]:
                _fold(choice["delta"], message, calls)
                rest = {name: value for name, value in choice.items() if name != "delta"}
                reply["choices"] = [{**rest, "message": message}]
        if calls:
            message["tool_calls"] = [*calls.values()]
        yield dump_bytes(reply)

    async def _wait(self, seconds: float) -> None:
        if seconds > self._idle_timeout:
            await asyncio.sleep(self._idle_timeout)
            raise IdleTimeout(f"The demo engine sent nothing for {self._idle_timeout:g} seconds.")
        if seconds:
            await asyncio.sleep(seconds)


def _fold(delta: Mapping[str, Any], message: dict[str, Json], calls: dict[Any, dict[str, Any]]) -> None:
    for name in ("content", "reasoning_content"):
        if name in delta:
            message[name] = f"{message.get(name) or ''}{delta[name] or ''}"
    for piece in delta.get("tool_calls", ()):
        kind = "custom" if "custom" in piece else "function"
        call = calls.setdefault(piece["index"], {"id": piece.get("id"), "type": kind, kind: {}})
        for name, text in piece[kind].items():
            call[kind][name] = call[kind].get(name, "") + text


class DemoResponse:
    """An ``HttpResponse`` with a generated body."""

    def __init__(self, status: int, body: AsyncIterator[bytes], content_type: str = "application/json") -> None:
        self.status = status
        self.headers: Mapping[str, str] = {"content-type": content_type}
        self.on_data: Callable[[bytes], bool | None] | None = None  # never called
        self._body = body

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._body

    async def read(self, limit: int = 0) -> bytes:
        """Returns the whole body; ``limit`` is ignored."""
        return b"".join([piece async for piece in self._body])

    def reset_idle_timer(self) -> None:
        """Does nothing: ``DemoTransport`` applies the idle timeout itself."""

    def allow_drain(self) -> None:
        """Does nothing: there is no connection to reuse."""

    async def __aenter__(self) -> DemoResponse:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._body.aclose()  # type: ignore[attr-defined]


async def _json(value: Json) -> AsyncIterator[bytes]:
    yield dump_bytes(value)


def _error(status: int, message: str, type: str, code: str | None, retry_after: int | None = None) -> DemoResponse:
    reply = DemoResponse(status, _json({"error": {"message": message, "type": type, "param": None, "code": code}}))
    if retry_after is not None:
        reply.headers = {**reply.headers, "retry-after": str(retry_after)}
    return reply
