"""A stream of the Responses API that breaks off goes on with its error: one start, and numbers without a gap."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

_ITEM: Final = {"type": "message", "id": "msg_1", "status": "in_progress", "role": "assistant", "content": []}
_RESPONSE: Final = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "output": []}
_PLACE: Final = {"item_id": "msg_1", "output_index": 0, "content_index": 0}


def make_events(count: int) -> list[bytes]:
    """Returns the start of a stream of ``count`` events, as OpenAI numbers them."""
    response = {**_RESPONSE, "status": "in_progress"}
    events: list[tuple[str, dict[str, Any]]] = [
        ("response.created", {"response": response}),
        ("response.in_progress", {"response": response}),
        ("response.output_item.added", {"output_index": 0, "item": _ITEM}),
        ("response.content_part.added", {**_PLACE, "part": {"type": "output_text", "text": "", "annotations": []}}),
    ]
    for number in range(len(events), count):
        noise = {"obfuscation": "xY7"[: number % 4]}
        events.append(("response.output_text.delta", {**_PLACE, "delta": f'"n": {number}, ', "logprobs": [], **noise}))
    return [
        f"event: {kind}\ndata: {json.dumps({'type': kind, **more, 'sequence_number': number})}\n\n".encode()
        for number, (kind, more) in enumerate(events[:count])
    ]


@pytest.mark.parametrize("engine", ["openai", "responses"])
@pytest.mark.parametrize("together", [1, 2, 100])
@pytest.mark.parametrize("count", [1, 2, 3, 5, 6, 12])
async def test_an_error_after_a_cut_stream_continues_its_numbers(count: int, together: int, engine: str) -> None:
    pieces = make_events(count)

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        for n in range(0, count, together):
            await connection.chunk(b"".join(pieces[n : n + together]))
        if count % 2:
            await connection.chunk(b'event: response.output_text.delta\ndata: {"type": "resp')  # half an event
        await connection.end()

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES[engine].environ(upstream))) as server:
            body = {"model": f"{engine}/m", "input": "Hello", "stream": True}
            raw = await (await server.post("/v1/responses", body, CLIENT)).body()
    assert raw.startswith(b"".join(pieces))
    events = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]
    assert [event["type"] for event in events[count:]] == ["error", "response.failed"]
    assert [event["sequence_number"] for event in events] == [*range(count + 2)]
    assert events[-1]["response"]["id"] == "resp_1"


@pytest.mark.parametrize("number", [False, True])
async def test_an_engine_that_does_not_number_its_events(number: bool) -> None:
    """Then the numbers are those of the events that this server would have sent."""
    pieces = [piece.replace(b"sequence_number", b"sequence_number" if number else b"other") for piece in make_events(3)]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        await connection.chunk(b"".join(pieces))
        await connection.end()

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["responses"].environ(upstream))) as server:
            body = {"model": "responses/m", "input": "Hello", "stream": True}
            raw = await (await server.post("/v1/responses", body, CLIENT)).body()
    events = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]
    assert [event["sequence_number"] for event in events[3:]] == ([3, 4] if number else [2, 3])
