"""Responses in the background, as OpenAI's own client follows them, over engines that do not keep their answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI

from tests.handlers.test_responses import ENGINES, OTHER, TRANSLATED, judged
from tests.support.harness import CLIENT_ID, Connection, Request, Script
from tests.support.scripted import ANSWER_TEXT, make_text_script
from tests.support.wires import WIRES, Wire

ENDED: Final = ("completed", "failed", "cancelled", "incomplete")


async def wait_for_end(client: AsyncOpenAI, id: str) -> Any:
    """Asks for a response until it has ended."""
    async with asyncio.timeout(20):
        while (found := await client.responses.retrieve(id)).status not in ENDED:
            assert found.status in ("queued", "in_progress")
            await asyncio.sleep(0.02)
    return found


class Gate:
    """A provider that sends the start of an answer, and the rest when the test says so."""

    def __init__(self, wire: Wire) -> None:
        self.wire = wire
        self.began, self.goes_on, self.closed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def script(self, request: Request, connection: Connection) -> None:
        await connection.stream(self.wire.content_type)
        await connection.chunk(self.wire.head + self.wire.delta("one "))
        self.began.set()
        waits = asyncio.ensure_future(self.goes_on.wait())
        closed = asyncio.ensure_future(connection.wait_closed())
        await asyncio.wait((waits, closed), return_when=asyncio.FIRST_COMPLETED)
        if closed.done():
            self.closed.set()
            return
        closed.cancel()
        await asyncio.wait([closed])
        await connection.chunk(self.wire.delta("two") + self.wire.end)
        await connection.end()


@ENGINES
async def test_an_answer_in_the_background_is_fetched_by_its_id(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, upstream, _):
        first = await client.responses.create(model=f"{engine}/m", input="x", background=True)
        assert (first.status, first.background, first.output) == ("queued", True, [])
        found = await wait_for_end(client, first.id)
        assert (found.id, found.status, found.background, found.output_text) == (
            first.id,
            "completed",
            True,
            ANSWER_TEXT,
        )
        second = await client.responses.create(model=f"{engine}/m", input="y", previous_response_id=first.id)
        assert second.output_text == ANSWER_TEXT
        items: Any = await client.responses.input_items.list(first.id)
        assert [item.content[0].text for item in items.data] == ["x"]
    assert not {"background", "store"} & upstream.requests[0].json.keys() or upstream.requests[0].json["store"] is False


@ENGINES
async def test_a_stream_in_the_background_is_followed_again_from_any_event(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    gate = Gate(wire)
    async with judged(wire, gate.script, tmp_path) as (client, _, _):
        stream = await client.responses.create(model=f"{engine}/m", input="x", background=True, stream=True)
        seen: list[Any] = []
        async for event in stream:
            seen.append(event)
            if event.type == "response.output_text.delta":
                break
        await stream.close()  # the client is gone, and the answer goes on
        id, last = seen[0].response.id, seen[-1].sequence_number
        assert (await client.responses.retrieve(id)).status == "in_progress"
        gate.goes_on.set()
        rest = [e async for e in await client.responses.retrieve(id, stream=True, starting_after=last)]
        assert [event.sequence_number for event in [*seen, *rest]] == [*range(len(seen) + len(rest))]
        assert rest[-1].type == "response.completed" and rest[-1].response.output_text == "one two"
        assert "".join(e.delta for e in [*seen, *rest] if e.type == "response.output_text.delta") == "one two"
        again = [e async for e in await client.responses.retrieve(id, stream=True)]
        assert [event.to_dict() for event in again] == [event.to_dict() for event in [*seen, *rest]]
        nothing = [
            e async for e in await client.responses.retrieve(id, stream=True, starting_after=again[-1].sequence_number)
        ]
        assert nothing == []


@ENGINES
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_a_cancelled_answer_ends_at_its_engine(engine: str, stream: bool, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    gate = Gate(wire)
    async with judged(wire, gate.script, tmp_path) as (client, _, _):
        if stream:
            events = await client.responses.create(model=f"{engine}/m", input="x", background=True, stream=True)
            async for event in events:
                if event.type == "response.created":
                    id = event.response.id
                    break
        else:
            id = (await client.responses.create(model=f"{engine}/m", input="x", background=True)).id
        await gate.began.wait()
        cancelled = await client.responses.cancel(id)
        assert (cancelled.id, cancelled.status) == (id, "cancelled")
        await asyncio.wait_for(gate.closed.wait(), 10)
        assert (await client.responses.cancel(id)).status == "cancelled"
        assert (await client.responses.retrieve(id)).status == "cancelled"
        if stream:
            assert [event.type async for event in events][-1] != "response.completed"


async def test_cancelling_what_has_ended_returns_it(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, _):
        first = await client.responses.create(model="anthropic/m", input="x", background=True)
        await wait_for_end(client, first.id)
        assert (await client.responses.cancel(first.id)).output_text == ANSWER_TEXT


async def test_a_deleted_answer_ends_at_its_engine(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    gate = Gate(wire)
    async with judged(wire, gate.script, tmp_path) as (client, _, _):
        first = await client.responses.create(model="anthropic/m", input="x", background=True)
        await gate.began.wait()
        await client.responses.delete(first.id)
        await asyncio.wait_for(gate.closed.wait(), 10)
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve(first.id)


def refuse(wire: Wire) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({"error": {"message": "No.", "type": "invalid_request_error", "code": "bad"}}, 400)

    return script


def break_off(wire: Wire) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.delta("Half"))
        connection.cut()

    return script


@ENGINES
@pytest.mark.parametrize("fault", [refuse, break_off])
async def test_an_answer_that_fails_is_a_failed_response(
    engine: str, fault: Callable[[Wire], Script], tmp_path: Path
) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, fault(wire), tmp_path) as (client, _, _):
        first = await client.responses.create(model=f"{engine}/m", input="x", background=True)
        found = await wait_for_end(client, first.id)
        assert found.status == "failed" and found.error is not None and found.error.message
        events = [e async for e in await client.responses.retrieve(first.id, stream=True)]
        assert events[-1].type == "response.failed"


async def test_a_request_that_cannot_be_read_is_refused_at_once(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path) as (_, upstream, server):
        for wrong in ({"input": 5}, {"input": [{"type": "message", "role": "nobody"}]}, {"temperature": "hot"}):
            asked = {"model": "anthropic/m", "input": "x", "background": True, **wrong}
            assert (await server.post("/v1/responses", asked)).status == 400
    assert not upstream.requests


async def test_answers_in_the_background_are_limited_for_each_caller(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    gate = Gate(wire)
    more = {"MAX_BACKGROUND_ANSWERS": "2", "AUTHORIZED_CLIENT_ID": f"{CLIENT_ID},{OTHER}"}
    async with judged(wire, gate.script, tmp_path, **more) as (client, _, _):
        ask: Any = {"model": "anthropic/m", "input": "x", "background": True}
        ids = [(await client.responses.create(**ask)).id for _ in range(2)]
        with pytest.raises(openai.RateLimitError, match="MAX_BACKGROUND_ANSWERS"):
            await client.responses.create(**ask)
        other = await client.with_options(api_key=OTHER).responses.create(**ask)
        assert other.status == "queued"
        gate.goes_on.set()
        for id in ids:
            await wait_for_end(client, id)
        assert (await client.responses.create(**ask)).status == "queued"


async def test_an_answer_in_the_background_has_a_time_limit(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    gate = Gate(wire)
    async with judged(wire, gate.script, tmp_path, MAX_BACKGROUND_TIME="1") as (client, _, _):
        first = await client.responses.create(model="anthropic/m", input="x", background=True)
        found = await wait_for_end(client, first.id)
        assert found.status == "failed" and "MAX_BACKGROUND_TIME" in found.error.message
        await asyncio.wait_for(gate.closed.wait(), 10)


async def test_only_its_client_follows_or_cancels_an_answer(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    gate = Gate(wire)
    ids = {"AUTHORIZED_CLIENT_ID": f"{CLIENT_ID},{OTHER}"}
    async with judged(wire, gate.script, tmp_path, **ids) as (client, _, server):
        id = (await client.responses.create(model="anthropic/m", input="x", background=True)).id
        for method, path in (("GET", "?stream=true"), ("POST", "/cancel"), ("DELETE", ""), ("GET", "")):
            answer = await server.request(method, f"/v1/responses/{id}{path}", None, {"X-ClientId": OTHER})
            assert answer.status == 404
        gate.goes_on.set()
        assert (await wait_for_end(client, id)).output_text == "one two"


@pytest.mark.parametrize("query", ["starting_after=x", "starting_after=-2", "starting_after=99999999999999999999"])
async def test_a_wrong_number_of_an_event_is_refused(query: str, tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, server):
        id = (await client.responses.create(model="anthropic/m", input="x", background=True)).id
        answer = await server.get(f"/v1/responses/{id}?stream=true&{query}")
        assert (answer.status, (await answer.json())["error"]["param"]) == (400, "starting_after")


async def test_an_answer_that_was_awaited_has_no_stream_to_follow(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, _):
        first = await client.responses.create(model="anthropic/m", input="x")
        with pytest.raises(openai.BadRequestError, match="background=true"):
            await client.responses.retrieve(first.id, stream=True)


async def test_an_answer_whose_process_is_gone_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its row is not renewed any more."""
    wire = WIRES["anthropic"]
    gate = Gate(wire)
    async with judged(wire, gate.script, tmp_path) as (client, _, server):
        id = (await client.responses.create(model="anthropic/m", input="x", background=True)).id
        await gate.began.wait()
        store: Any = server.server.context.responses.store
        async with asyncio.timeout(10):
            while (await client.responses.retrieve(id)).status != "in_progress":
                await asyncio.sleep(0.02)
            await store._writer.run(lambda c: c.execute("UPDATE response SET updated = updated - 61").rowcount)
            assert (await client.responses.retrieve(id)).status == "failed"
            events = [e async for e in await client.responses.retrieve(id, stream=True)]
            assert events[-1].type == "response.failed"
            assert [e.sequence_number for e in events] == [*range(len(events))]
        assert (await client.responses.cancel(id)).status == "cancelled"


async def test_the_server_waits_for_answers_in_the_background(tmp_path: Path) -> None:
    """After SIGTERM it gives them DRAIN_TIMEOUT, and then ends them as failed."""
    wire = WIRES["anthropic"]
    gate = Gate(wire)
    async with judged(wire, gate.script, tmp_path, DRAIN_TIMEOUT="1") as (client, _, server):
        id = (await client.responses.create(model="anthropic/m", input="x", background=True)).id
        await gate.began.wait()
        context = server.server.context
        owner = context.make_caller(CLIENT_ID, {}).make_thread_owner()
        await context.active.drain(0.1)
        found = await context.responses.store.get(id, owner)
        assert found is not None and (found.status, found.value["error"]["code"]) == ("failed", "draining")
        context.active.draining = False
