"""A provider that answers as its model's name says, as fast as Python can: ``python -m bench.upstream``.

``e100-r50``: a stream of 100 deltas, 50 a second, each in a write of its own. ``e800-r400-b8``: 400 a second, eight in
a write. ``e100``: as fast as they are read, many in a write. ``idle``: one delta, then silence until the client leaves.

Speaks Chat Completions at ``/v1/chat/completions`` and Anthropic's Messages at ``/v1/messages``; a request that is not
streamed gets a whole answer. Every delta has one ``~`` in its text, and nothing else has one, so that whoever counts
those knows what arrived.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import resource
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

WORDS: Final = (" the", " quick", " brown", " fox", " jumps", " over", " lazy", " dogs")
BLOCK: Final = 64  # deltas in a write of a stream that pours
_HEAD: Final = b"HTTP/1.1 200 OK\r\nContent-Type: %b\r\n%b\r\n\r\n"
STREAM: Final = _HEAD % (b"text/event-stream", b"Transfer-Encoding: chunked")
_GOLDEN: Final = 0.6180339887
_turns: Final = itertools.count()
_MODEL: Final = re.compile(r"e(\d+)(?:-r(\d+))?(?:-b(\d+))?")


def _sse(value: object, event: str = "") -> bytes:
    name = f"event: {event}\n" if event else ""
    return f"{name}data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


@dataclass(frozen=True)
class Wire:
    first: bytes
    deltas: tuple[bytes, ...]
    last: bytes
    whole: bytes

    def blocks(self, count: int) -> Iterator[bytes]:
        """So many deltas, ``BLOCK`` in a write."""
        many = chunk(self.some(BLOCK))
        for _ in range(count // BLOCK):
            yield many
        if rest := count % BLOCK:
            yield chunk(self.some(rest))

    def some(self, count: int, start: int = 0) -> bytes:
        return b"".join(self.deltas[n % len(self.deltas)] for n in range(start, start + count))


def _openai() -> Wire:
    common = {"id": "chatcmpl-Bench0123456789", "object": "chat.completion.chunk", "created": 1760000000}
    common |= {"model": "gpt-bench-2026-01-01", "service_tier": "default", "system_fingerprint": "fp_0123456789"}

    def event(delta: dict[str, str], reason: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": reason}
        return _sse({**common, "choices": [choice], "usage": None})

    usage = {"prompt_tokens": 12, "completion_tokens": 34, "total_tokens": 46}
    message = {"role": "assistant", "content": "A whole answer.~", "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return Wire(
        first=event({"role": "assistant", "content": ""}),
        deltas=tuple(event({"content": f"{word}~"}) for word in WORDS),
        last=event({}, "stop") + _sse({**common, "choices": [], "usage": usage}) + b"data: [DONE]\n\n",
        whole=json.dumps({**common, "object": "chat.completion", "choices": [choice], "usage": usage}).encode(),
    )


def _anthropic() -> Wire:
    message = {"id": "msg_Bench0123456789", "type": "message", "role": "assistant", "model": "claude-bench"}
    usage = {"input_tokens": 12, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 0, "output_tokens": 34}
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    start: dict[str, object] = {**message, "content": [], "stop_reason": None, "stop_sequence": None, "usage": usage}

    def event(type: str, **fields: object) -> bytes:
        return _sse({"type": type, **fields}, type)

    return Wire(
        first=event("message_start", message=start)
        + event("content_block_start", index=0, content_block={"type": "text", "text": ""}),
        deltas=tuple(
            event("content_block_delta", index=0, delta={"type": "text_delta", "text": f"{word}~"}) for word in WORDS
        ),
        last=event("content_block_stop", index=0)
        + event("message_delta", delta=ends, usage={"output_tokens": 34})
        + event("message_stop"),
        whole=json.dumps(
            {**message, "content": [{"type": "text", "text": "A whole answer.~"}], **ends, "usage": usage}
        ).encode(),
    )


WIRES: Final = {b"/v1/chat/completions": _openai(), b"/v1/messages": _anthropic()}


class Provider(asyncio.Protocol):
    """One connection: a request at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._blocks: Iterator[bytes] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self._blocks = None
        if self._timer is not None:
            self._timer.cancel()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, separator, body = self._received.partition(b"\r\n\r\n")
        if not separator:
            return
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        size = int(length[1]) if length else 0
        if len(body) >= size:
            self._received = body[size:]
            self._answer(WIRES[bytes(head.split(b" ", 2)[1])], json.loads(body[:size]))

    def _answer(self, wire: Wire, body: dict[str, object]) -> None:
        if not body.get("stream"):
            length = b"Content-Length: %d" % len(wire.whole)
            self._transport.write(_HEAD % (b"application/json", length) + wire.whole)
            return
        self._transport.write(STREAM + chunk(wire.first))
        model = str(body["model"])
        if model == "idle":
            self._transport.write(chunk(wire.deltas[0]))
            return
        match = _MODEL.fullmatch(model)
        assert match is not None, model
        count, rate, block = int(match[1]), int(match[2] or 0), int(match[3] or 1)
        if rate:
            period = block / rate
            blocks = [chunk(wire.some(block, at)) for at in range(len(wire.deltas))]
            # Streams that began together do not speak together: each event comes alone.
            phase = next(_turns) * _GOLDEN % 1
            self._trickle(wire, blocks, count // block, period, asyncio.get_running_loop().time() + phase * period)
        else:
            self._blocks = iter([*wire.blocks(count), chunk(wire.last) + b"0\r\n\r\n"])
            self._pour()

    def _trickle(self, wire: Wire, blocks: list[bytes], left: int, period: float, at: float) -> None:
        loop = asyncio.get_running_loop()
        if left:
            self._timer = loop.call_at(at, self._tick, wire, blocks, left, period, at)
        else:
            self._transport.write(chunk(wire.last) + b"0\r\n\r\n")

    def _tick(self, wire: Wire, blocks: list[bytes], left: int, period: float, at: float) -> None:
        self._transport.write(blocks[left % len(blocks)])
        self._trickle(wire, blocks, left - 1, period, at + period)

    def _pour(self) -> None:
        while self._blocks is not None and not self._paused:
            block = next(self._blocks, None)
            if block is None:
                self._blocks = None
                return
            self._transport.write(block)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        self._pour()


async def main() -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    server = await asyncio.get_running_loop().create_server(Provider, "127.0.0.1", 0, backlog=4096)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)  # until whoever started us is gone
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
