"""The ``demo`` engine: a transport without a network that generates Chat Completions responses.

It is for a first ``curl``, for clients under development and for tests; everything above the transport works as with a
real provider. The model id selects the behaviour: see ``MODELS``.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Any, Final

from llm.errors import IdleTimeout
from llm.transport.interface import HttpRequest, HttpResponse
from llm.wire.json_codec import Json, dump_bytes, loads
from llm.wire.sse import encode_sse_event

MODELS: Final[Mapping[str, str]] = {
    "demo-chat": "answers with what you said",
    "demo-reasoning": "thinks, then answers",
    "demo-tools": "calls two tools at once, their arguments interleaved; answers once it has the results",
    "demo-long": "10,000 deltas as fast as they are read",
    "demo-slow": "one delta a second",
    "demo-stall": "starts to answer, then sends nothing more",
    "demo-cut": "closes the stream in the middle of the answer",
    "demo-error": "500 at once",
    "demo-error-midstream": "an error after a few words",
    "demo-limit": "429 with retry-after: 7",
    "demo-flaky": "429 with retry-after: 1, then an answer",
}

LONG_DELTAS: Final = 10_000  # deltas of demo-long
_CREATED: Final = 1_760_000_000  # seconds since 1970
_MAX_REFUSED: Final = 1_000  # requests to demo-flaky whose first attempt was refused and whose second is awaited

# One step of a script: a chunk to send, or a pause in seconds.
_Step = dict[str, Any] | float


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
                {"id": name, "object": "model", "created": _CREATED, "owned_by": "demo", "description": text}
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
        script = _Script(body, self._pace)
        if body.get("stream"):
            return DemoResponse(200, self._stream(script), "text/event-stream")
        return DemoResponse(200, self._assemble(script))

    async def _stream(self, script: _Script) -> AsyncIterator[bytes]:
        for step in script.steps():
            if isinstance(step, float):
                await self._wait(step)
            else:
                yield encode_sse_event(step)
        if script.model != "demo-cut":
            yield b"data: [DONE]\n\n"

    async def _assemble(self, script: _Script) -> AsyncIterator[bytes]:
        message: dict[str, Json] = {"role": "assistant", "content": None}
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
                reply["choices"] = [{"index": 0, "message": message, "finish_reason": choice["finish_reason"]}]
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
        call = calls.setdefault(
            piece["index"], {"id": "", "type": "function", "function": {"name": "", "arguments": ""}}
        )
        call["id"] = piece.get("id") or call["id"]
        for name, text in piece["function"].items():
            call["function"][name] += text


class _Script:
    """Generates the chunks of one response."""

    def __init__(self, body: Mapping[str, Any], pace: float) -> None:
        self.model = str(body["model"])
        self._messages: list[Any] = body.get("messages") or []
        self._pace = pace
        self._include_usage = not body.get("stream") or bool((body.get("stream_options") or {}).get("include_usage"))
        self._words = 0

    def steps(self) -> Iterator[_Step]:
        yield self._chunk({"role": "assistant", "content": ""})
        finish = "stop"
        match self.model:
            case "demo-reasoning":
                yield from self._send_words("The user said something. I shall repeat it.", "reasoning_content")
                yield from self._send_words(self._echo())
            case "demo-tools" if not self._has_results():
                yield from self._calls()
                finish = "tool_calls"
            case "demo-long":
                self._words = LONG_DELTAS
                yield from (self._chunk({"content": f"{n} "}) for n in range(LONG_DELTAS))
            case "demo-slow":
                for word in _words(self._echo()):
                    yield from self._word(word)
                    yield 1.0
            case "demo-stall":
                yield from self._send_words("One moment, please")
                yield float("inf")
            case "demo-cut":
                yield from self._send_words("This answer ends in the middle of")
                return
            case "demo-error-midstream":
                yield from self._send_words("This answer will not")
                yield {
                    "error": {"message": "The demo engine broke down.", "type": "server_error", "code": "demo_broken"}
                }
                return
            case _:
                yield from self._send_words(self._echo())
        yield self._chunk({}, finish)
        if self._include_usage:
            prompt = sum(len(str(m.get("content") or "").split()) for m in self._messages if isinstance(m, dict))
            usage: dict[str, Json] = {"prompt_tokens": prompt, "completion_tokens": self._words}
            yield {**self._chunk({}), "choices": [], "usage": {**usage, "total_tokens": prompt + self._words}}

    def _send_words(self, text: str, name: str = "content") -> Iterator[_Step]:
        for word in _words(text):
            yield from self._word(word, name)
            yield self._pace

    def _word(self, word: str, name: str = "content") -> Iterator[_Step]:
        self._words += 1
        yield self._chunk({name: word})

    def _calls(self) -> Iterator[_Step]:
        arguments = ('{"city": "Paris"}', '{"zone": "Europe/Paris"}')
        for index, name in enumerate(("get_weather", "get_time")):
            start: dict[str, Json] = {"index": index, "id": f"call_demo_{index}", "type": "function"}
            yield self._chunk({"tool_calls": [{**start, "function": {"name": name, "arguments": ""}}]})
        for at in range(0, max(map(len, arguments)), 6):
            for index, text in enumerate(arguments):
                if piece := text[at : at + 6]:
                    self._words += 1
                    yield self._chunk({"tool_calls": [{"index": index, "function": {"arguments": piece}}]})
            yield self._pace

    def _echo(self) -> str:
        texts = [_text(m) for m in self._messages if isinstance(m, dict) and m.get("role") in ("user", "tool")]
        last = texts[-1] if texts else ""
        return f"This is the demo engine of llm-server. You said: {last[:2000]}"

    def _has_results(self) -> bool:
        return any(isinstance(m, dict) and m.get("role") == "tool" for m in self._messages)

    def _chunk(self, delta: dict[str, Json], finish: str | None = None) -> dict[str, Json]:
        choice: dict[str, Json] = {"index": 0, "delta": delta, "finish_reason": finish}
        base: dict[str, Json] = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": _CREATED}
        return {**base, "model": self.model, "choices": [choice]}


def _text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in content if isinstance(part, dict)).strip()
    return str(content or "")


def _words(text: str) -> list[str]:
    return re.findall(r"\s*\S+|\s+$", text)


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
