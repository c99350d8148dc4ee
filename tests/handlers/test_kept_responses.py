"""``/v1/responses/<id>``, as OpenAI's own client asks for it, over engines that keep their answers and that do not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import openai
import pytest

from tests.handlers.test_responses import ENGINES, OTHER, STREAMED, TRANSLATED, judged, respond
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Connection, Request
from tests.support.scripted import ANSWER_TEXT, make_text_script
from tests.support.wires import WIRES

OPENAI = WIRES["openai"]


@ENGINES
@STREAMED
async def test_an_answer_is_returned_as_it_was_given(engine: str, stream: bool, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, _):
        first = await respond(client, stream, model=f"{engine}/m", input="x")
        found = await client.responses.retrieve(first.id)
    assert found.to_dict() == first.to_dict()
    assert found.output_text == ANSWER_TEXT


@ENGINES
async def test_a_deleted_answer_is_gone(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, server):
        first = await client.responses.create(model=f"{engine}/m", input="x")
        deleted = await (await server.request("DELETE", f"/v1/responses/{first.id}")).json()
        assert deleted == {"id": first.id, "object": "response", "deleted": True}
        for gone in (client.responses.retrieve(first.id), client.responses.delete(first.id)):
            with pytest.raises(openai.NotFoundError, match=f"Response with id '{first.id}' not found."):
                await gone
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model=f"{engine}/m", input="x", previous_response_id=first.id)
        assert refused.value.code == "previous_response_not_found"


@pytest.mark.parametrize("path", ["", "/input_items", "/cancel"])
@pytest.mark.parametrize("whose", ["another client's", "nobody's"])
async def test_another_client_s_answer_is_404_on_every_path(path: str, whose: str, tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    ids = {"AUTHORIZED_CLIENT_ID": f"{CLIENT_ID},{OTHER}"}
    async with judged(wire, make_text_script(wire), tmp_path, **ids) as (client, _, server):
        first = await client.responses.create(model="anthropic/m", input="mine")
        id = first.id if whose == "another client's" else "resp_unknown"
        headers = {"X-ClientId": OTHER}
        for method in ("POST",) if path == "/cancel" else ("GET",) if path else ("GET", "DELETE"):
            answer = await server.request(method, f"/v1/responses/{id}{path}", None, headers)
            error = (await answer.json())["error"]
            assert (answer.status, error["type"], error["message"]) == (
                404, "invalid_request_error", f"Response with id '{id}' not found.",
            )  # fmt: skip
        assert (await client.responses.retrieve(first.id)).id == first.id


@ENGINES
async def test_the_input_is_listed_page_by_page(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    texts = [f"question {number}" for number in range(5)]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, server):
        asked: Any = [{"role": "user", "content": text} for text in texts]
        first = await client.responses.create(model=f"{engine}/m", input=asked)
        second = await client.responses.create(model=f"{engine}/m", input="last", previous_response_id=first.id)
        ascending: list[Any] = [
            item async for item in client.responses.input_items.list(second.id, order="asc", limit=2)
        ]
        page: Any = await client.responses.input_items.list(second.id)
        wanted = [*texts, ANSWER_TEXT, "last"]
        assert [item.content[0].text for item in ascending] == wanted
        assert [item.content[0].text for item in page.data] == wanted[::-1]
        assert len({item.id for item in page.data}) == len(wanted)
        assert (page.first_id, page.last_id, page.has_more) == (page.data[0].id, page.data[-1].id, False)
        for query, param in (("limit=0", "limit"), ("limit=x", "limit"), ("order=up", "order"), ("after=x", "after")):
            answer = await server.get(f"/v1/responses/{second.id}/input_items?{query}")
            assert (answer.status, (await answer.json())["error"]["param"]) == (400, param)


async def test_an_answer_that_was_awaited_cannot_be_cancelled(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, _):
        first = await client.responses.create(model="anthropic/m", input="x")
        with pytest.raises(openai.BadRequestError, match="Cannot cancel a synchronous response"):
            await client.responses.cancel(first.id)


# --- an engine that keeps its answers itself ---

QUEUED: Any = {
    "id": "resp_1", "object": "response", "created_at": 1, "status": "queued", "model": "m", "output": [],
    "error": None, "incomplete_details": None, "usage": None, "background": True,
}  # fmt: skip
DONE: Any = {
    **QUEUED,
    "status": "completed",
    "output": [
        {
            "id": "msg_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": ANSWER_TEXT, "annotations": []}],
        }
    ],
}  # fmt: skip
PAGE: Any = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
STREAM = b'event: response.completed\ndata: {"type": "response.completed", "sequence_number": 9}\n\n'


async def keep_itself(request: Request, connection: Connection) -> None:
    """Answers as OpenAI does for a response in the background."""
    path = request.path.removeprefix("/v1/responses")
    if request.method == "POST" and not path:
        await connection.respond(QUEUED)
    elif request.method == "DELETE":
        await connection.respond({"id": "resp_1", "object": "response", "deleted": True})
    elif path.startswith("/resp_1/input_items"):
        await connection.respond(PAGE)
    elif path == "/resp_1/cancel":
        await connection.respond({**QUEUED, "status": "cancelled"})
    elif path.startswith("/resp_1?"):
        await connection.stream()
        await connection.chunk(STREAM)
        await connection.end()
    elif path == "/resp_1":
        await connection.respond(DONE)
    else:
        error = {
            "message": "Response with id 'x' not found.",
            "type": "invalid_request_error",
            "param": None,
            "code": None,
        }
        await connection.respond({"error": error}, 404)


async def test_nw_08_the_field_case(tmp_path: Path) -> None:
    case = field_case("nw-08")
    queued = case["provider_response"]["body"]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(queued)

    async with judged(OPENAI, script, tmp_path) as (_, _, server):
        answer = await server.post(case["endpoint"], case["request"])
        assert (answer.status, await answer.json()) == (200, queued)
        found = await server.get(f"/v1/responses/{queued['id']}")
        assert (found.status, await found.json()) == (200, queued)


async def test_nw_08_a_queued_response_passes_and_is_fetched_from_its_engine(tmp_path: Path) -> None:
    async with judged(OPENAI, keep_itself, tmp_path) as (client, upstream, server):
        asked = {"model": "openai/gpt-6-astra", "input": "x", "background": True}
        answer = await server.post("/v1/responses", asked)
        assert (answer.status, await answer.json()) == (200, QUEUED)
        assert upstream.requests[0].json == {**asked, "model": "gpt-6-astra"}
        assert (await client.responses.cancel("resp_1")).status == "cancelled"
        assert (await client.responses.retrieve("resp_1")).output_text == ANSWER_TEXT
        assert (await client.responses.input_items.list("resp_1", limit=3)).data == []
        events = [e async for e in await client.responses.retrieve("resp_1", stream=True, starting_after=8)]
        assert [event.type for event in events] == ["response.completed"]
        await client.responses.delete("resp_1")
        with pytest.raises(openai.NotFoundError):
            await client.responses.retrieve("resp_1")
    assert [(request.method, request.path) for request in upstream.requests[1:]] == [
        ("POST", "/v1/responses/resp_1/cancel"),
        ("GET", "/v1/responses/resp_1"),
        ("GET", "/v1/responses/resp_1/input_items?limit=3"),
        ("GET", "/v1/responses/resp_1?starting_after=8&stream=true"),
        ("DELETE", "/v1/responses/resp_1"),
    ]
    assert all(request.headers["Authorization"] == "Bearer sk-canary-OPENAI" for request in upstream.requests)


async def test_a_response_that_was_fetched_is_continued_by_another_engine(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path / "unused") as (_, other, _):
        more = {"ANTHROPIC_API_KEY": "sk-canary-ANTHROPIC", "ANTHROPIC_BASE_URL": other.url}
        async with judged(OPENAI, keep_itself, tmp_path, **more) as (client, _, _):
            await client.responses.create(model="openai/m", input="first", background=True)
            with pytest.raises(openai.BadRequestError, match="has not ended yet"):
                await client.responses.create(model="anthropic/m", input="second", previous_response_id="resp_1")
            await client.responses.retrieve("resp_1")
            await client.responses.create(model="anthropic/m", input="second", previous_response_id="resp_1")
        said = json.dumps(other.requests[-1].json, ensure_ascii=False)
    assert said.index("first") < said.index(ANSWER_TEXT) < said.index("second")


async def test_a_queued_response_is_never_taken_for_an_answer(tmp_path: Path) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond({**QUEUED, "background": False})

    async with judged(OPENAI, script, tmp_path) as (_, _, server):
        answer = await server.post("/v1/responses", {"model": "openai/m", "input": "x"})
        assert (answer.status, (await answer.json())["error"]["code"]) == (502, "upstream_truncated")


@pytest.mark.parametrize("own_key", [False, True], ids=["the server's key", "the caller's key"])
async def test_an_unknown_id_reaches_the_engine_with_the_caller_s_key_only(own_key: bool, tmp_path: Path) -> None:
    async with judged(OPENAI, keep_itself, tmp_path) as (_, upstream, server):
        headers = {**CLIENT, **({"X-OpenAI-Key": "sk-canary-own"} if own_key else {})}
        answer = await server.get("/v1/responses/resp_1", headers)
        assert answer.status == (200 if own_key else 404)
        answer = await server.get("/v1/responses/resp_2", headers)
        error = (await answer.json())["error"]
        assert (answer.status, error["type"]) == (404, "invalid_request_error")
    assert len(upstream.requests) == (2 if own_key else 0)


async def test_a_response_in_the_background_has_to_be_stored(tmp_path: Path) -> None:
    for engine, wire in {**TRANSLATED, "openai": OPENAI}.items():
        async with judged(wire, make_text_script(wire), tmp_path / engine) as (client, upstream, _):
            with pytest.raises(openai.BadRequestError) as refused:
                await client.responses.create(model=f"{engine}/m", input="x", background=True, store=False)
            assert refused.value.param == "background"
        assert not upstream.requests
