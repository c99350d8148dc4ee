"""``/v1/responses``: answers that are kept, as OpenAI's own client names them again, over engines of every wire."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import openai
import pytest
from openai import AsyncOpenAI

from tests.support.field_cases import field_case
from tests.support.harness import (
    CLIENT,
    CLIENT_ID,
    Client,
    Connection,
    Request,
    Script,
    Upstream,
    make_config,
    run_server,
)
from tests.support.scripted import ANSWER_TEXT, CHAT, make_call_script, make_text_script
from tests.support.wires import WIRES, Wire

# Engines that do not keep their answers: those of another dialect, and one that gets a Responses client's own request.
TRANSLATED: Final = {**{name: wire for name, wire in WIRES.items() if name != "openai"}, "cerebras": CHAT}
ENGINES: Final = pytest.mark.parametrize("engine", TRANSLATED)
STREAMED: Final = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
WEATHER: Final[Any] = {
    "type": "function",
    "name": "get_weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": False,
}


@asynccontextmanager
async def judged(
    wire: Wire, script: Script, folder: Path, **more: str
) -> AsyncIterator[tuple[AsyncOpenAI, Upstream, Client]]:
    async with (
        Upstream(script).run() as upstream,
        run_server(make_config(**wire.environ(upstream, MAX_RETRIES="0", DATA_DIR=str(folder), **more))) as server,
        AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client,
    ):
        yield client, upstream, server


async def respond(client: AsyncOpenAI, stream: bool, **asked: Any) -> Any:
    """Asks for a response and returns it, of a stream the one in its last event."""
    if not stream:
        return await client.responses.create(**asked)
    events = [event async for event in await client.responses.create(stream=True, **asked)]
    assert events[-1].type == "response.completed"
    return events[-1].response


def sent(upstream: Upstream, number: int = -1) -> str:
    return json.dumps(upstream.requests[number].json, ensure_ascii=False)


@ENGINES
@STREAMED
async def test_cl_04_a_conversation_goes_on_by_the_id_of_its_last_answer(
    engine: str, stream: bool, tmp_path: Path
) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, upstream, _):
        first = await respond(client, stream, model=f"{engine}/m", input="first question")
        asked: dict[str, Any] = {"model": f"{engine}/m", "input": "second question", "previous_response_id": first.id}
        second = await respond(client, stream, **asked)
        third = await respond(
            client, stream, model=f"{engine}/m", input="third question", previous_response_id=second.id
        )
    if engine != "responses":  # whose own response objects pass, each with the same id
        assert first.id != second.id != third.id
        assert (first.store, first.previous_response_id) == (True, None)
        assert (third.store, third.previous_response_id) == (True, second.id)
    said = sent(upstream)
    places = [said.index(text) for text in ("first question", "second question", "third question")]
    assert places == sorted(places) and said.count(ANSWER_TEXT) == 2
    assert "previous_response_id" not in said and first.id not in said


@ENGINES
@STREAMED
async def test_cl_04_a_tool_loop_sends_only_its_results(engine: str, stream: bool, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_call_script(wire), tmp_path) as (client, upstream, _):
        first = await respond(client, stream, model=f"{engine}/m", input="Weather?", tools=[WEATHER])
        [call] = [item for item in first.output if item.type == "function_call"]
        second = await respond(
            client,
            stream,
            model=f"{engine}/m",
            previous_response_id=first.id,
            input=[{"type": "function_call_output", "call_id": call.call_id, "output": "Sunny"}],
            tools=[WEATHER],
        )
    assert second.output_text == ANSWER_TEXT
    said = sent(upstream)
    assert said.index("Weather?") < said.index("Paris") < said.index("Sunny")


@ENGINES
@STREAMED
async def test_cl_03_an_item_reference_is_the_item_that_was_handed_out(
    engine: str, stream: bool, tmp_path: Path
) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, upstream, _):
        first = await respond(client, stream, model=f"{engine}/m", input="run")
        [message] = [item for item in first.output if item.type == "message"]
        conversation: Any = [
            {"role": "user", "content": [{"type": "input_text", "text": "run"}]},
            {"type": "item_reference", "id": message.id},
            {"role": "user", "content": [{"type": "input_text", "text": "and?"}]},
        ]
        second = await respond(client, stream, model=f"{engine}/m", input=conversation)
    assert second.output_text == ANSWER_TEXT
    said = sent(upstream)
    assert said.index('run"') < said.index(ANSWER_TEXT) < said.index("and?")
    assert "item_reference" not in said


@pytest.mark.parametrize("case", ["cl-03", "cl-04"])
async def test_cl_03_cl_04_the_field_cases_go_on_from_the_first_answer(case: str, tmp_path: Path) -> None:
    wire = WIRES["google"]
    body = field_case(case)["request"]["body"]
    async with judged(wire, make_call_script(wire), tmp_path) as (client, upstream, server):
        offered: Any = {"tools": [WEATHER]} if case == "cl-04" else {}
        first = await client.responses.create(model=body["model"], input="run", **offered)
        text = json.dumps({**body, **offered}).replace("resp_OF_THE_FIRST_ANSWER", first.id)
        text = text.replace("msg_OF_THE_FIRST_ANSWER", first.output[0].id or "")
        text = text.replace("call_OF_THE_FIRST_ANSWER", getattr(first.output[0], "call_id", ""))
        answer = await server.post("/v1/responses", json.loads(text))
        assert (answer.status, (await answer.json())["status"]) == (200, "completed")
    assert ("sunny" if case == "cl-04" else ANSWER_TEXT) in sent(upstream)


@ENGINES
async def test_cl_03_an_unknown_item_is_404_in_openai_s_words(engine: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, upstream, server):
        first = await client.responses.create(model=f"{engine}/m", input="run", store=False)
        for id in (first.output[0].id, "msg_unknown", "half \ud800"):
            asked = [{"type": "item_reference", "id": id}, {"role": "user", "content": "x"}]
            answer = await server.post("/v1/responses", {"model": f"{engine}/m", "input": asked})
            error = (await answer.json())["error"]
            assert (answer.status, error["type"], error["param"]) == (404, "invalid_request_error", "input")
            assert (
                f"Item with id '{id}' not found. Items are not persisted when `store` is set to false"
                in error["message"]
            )
    assert len(upstream.requests) == 1


@ENGINES
@pytest.mark.parametrize("id", ["resp_unknown", "half \ud800", ""])
async def test_an_unknown_response_before_is_refused_in_openai_s_words(engine: str, id: str, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (_, upstream, server):
        body = {"model": f"{engine}/m", "input": "x", "previous_response_id": id}
        answer = await server.post("/v1/responses", body)
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["param"], error["type"]) == (
        400, "previous_response_not_found", "previous_response_id", "invalid_request_error",
    )  # fmt: skip
    assert error["message"].startswith("Previous response with id '") and error["message"].endswith("' not found.")
    assert not upstream.requests


@ENGINES
@STREAMED
async def test_an_answer_that_is_not_to_be_stored_is_not_kept(engine: str, stream: bool, tmp_path: Path) -> None:
    wire = TRANSLATED[engine]
    async with judged(wire, make_text_script(wire), tmp_path) as (client, _, _):
        first = await respond(client, stream, model=f"{engine}/m", input="x", store=False)
        with pytest.raises(openai.BadRequestError) as e:
            await client.responses.create(model=f"{engine}/m", input="y", previous_response_id=first.id)
    assert e.value.code == "previous_response_not_found"
    assert not [path for path in tmp_path.iterdir() if b"Gr\xc3\xbc" in path.read_bytes()]


# --- owners, time and size ---

OTHER: Final = "another-client-id"


async def test_another_client_s_answer_does_not_exist(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    ids = {"AUTHORIZED_CLIENT_ID": f"{CLIENT_ID},{OTHER}"}
    async with judged(wire, make_text_script(wire), tmp_path, **ids) as (client, upstream, _):
        first = await client.responses.create(model="anthropic/m", input="mine")
        other = client.with_options(api_key=OTHER)
        with pytest.raises(openai.BadRequestError) as refused:
            await other.responses.create(model="anthropic/m", input="x", previous_response_id=first.id)
        assert refused.value.code == "previous_response_not_found"
        with pytest.raises(openai.NotFoundError):
            reference: Any = [{"type": "item_reference", "id": first.output[0].id}]
            await other.responses.create(model="anthropic/m", input=reference)
    assert len(upstream.requests) == 1


async def test_an_answer_is_gone_after_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path, RESPONSES_MAX_AGE="1h") as (client, _, server):
        first = await client.responses.create(model="anthropic/m", input="x")
        for age, found in ((3599, True), (3605, False)):
            monkeypatch.setattr(server.server.context.responses.store, "_clock", lambda age=age: time.time() + age)
            if found:
                await client.responses.create(
                    model="anthropic/m", input="y", previous_response_id=first.id, store=False
                )
                continue
            with pytest.raises(openai.BadRequestError) as gone:
                await client.responses.create(model="anthropic/m", input="y", previous_response_id=first.id)
            assert gone.value.code == "previous_response_not_found"


async def test_nothing_is_kept_with_a_size_of_zero(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    async with judged(wire, make_text_script(wire), tmp_path, RESPONSES_MAX_SIZE="0") as (client, _, _):
        first = await client.responses.create(model="anthropic/m", input="x", store=True)
        assert first.to_dict()["store"] is False
        with pytest.raises(openai.BadRequestError) as refused:
            await client.responses.create(model="anthropic/m", input="y", previous_response_id=first.id)
        assert refused.value.code == "previous_response_not_found"
    assert not [*tmp_path.iterdir()]


async def test_an_answer_that_cannot_be_stored_is_given_all_the_same(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    folder = tmp_path / "no folder"
    folder.write_text("")
    async with judged(wire, make_text_script(wire), folder) as (client, _, server):
        first = await client.responses.create(model="anthropic/m", input="x")
        assert first.output_text == ANSWER_TEXT
        health = await (await server.get("/health")).json()
        assert health["lost"]["responses"] == 1
        with pytest.raises(openai.InternalServerError) as failed:
            await client.responses.create(model="anthropic/m", input="y", previous_response_id=first.id)
        assert failed.value.status_code == 503
        folder.unlink()


async def test_a_failed_answer_is_not_kept(tmp_path: Path) -> None:
    wire = WIRES["anthropic"]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(wire.content_type)
        await connection.chunk(wire.head + wire.delta("Half of it"))
        connection.cut()

    async with judged(wire, script, tmp_path) as (client, _, server):
        events = [e async for e in await client.responses.create(model="anthropic/m", input="x", stream=True)]
        assert events[-1].type == "response.failed"
        owner = server.server.context.make_caller(CLIENT_ID, {}).make_thread_owner()
        assert await server.server.context.responses.store.get(events[-1].response.id, owner) is None


# --- engines that keep their answers themselves ---

OPENAI: Final = WIRES["openai"]
FROM_OPENAI: Final = WIRES["responses"]


@STREAMED
async def test_an_engine_that_keeps_its_answers_is_asked_by_their_ids(stream: bool, tmp_path: Path) -> None:
    async with judged(OPENAI, make_text_script(FROM_OPENAI), tmp_path) as (client, upstream, _):
        first = await respond(client, stream, model="openai/m", input="first question")
        reference: Any = [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "second"}]
        await respond(client, stream, model="openai/m", input=reference, previous_response_id=first.id)
    assert upstream.requests[-1].json == {
        "model": "m", "input": reference, "previous_response_id": first.id, **({"stream": True} if stream else {}),
    }  # fmt: skip


@STREAMED
async def test_an_answer_of_one_engine_is_continued_by_another(stream: bool, tmp_path: Path) -> None:
    wire = WIRES["anthropic"]
    more = {"OPENAI_API_KEY": "sk-canary-OPENAI"}
    async with Upstream(make_text_script(FROM_OPENAI)).run() as other:
        more["OPENAI_BASE_URL"] = f"{other.url}/v1"
        async with judged(wire, make_text_script(wire), tmp_path, **more) as (client, upstream, _):
            first = await respond(client, stream, model="openai/m", input="first question")
            second = await respond(
                client, stream, model="anthropic/m", input="second question", previous_response_id=first.id
            )
            await respond(client, stream, model="openai/m", input="third question", previous_response_id=second.id)
    for said, count in ((sent(upstream), 1), (sent(other), 2)):
        assert said.index("first question") < said.index("second question")
        assert said.count(ANSWER_TEXT) == count and "previous_response_id" not in said
    assert "msg_in" not in sent(other)


async def test_reasoning_of_another_engine_does_not_go_to_a_responses_api(tmp_path: Path) -> None:
    """It would refuse an id and a signature that it does not know."""
    wire = WIRES["anthropic"]
    thought = {"type": "thinking", "thinking": "hm", "signature": "signed"}
    whole: Any = {**wire.whole("Yes"), "content": [thought, {"type": "text", "text": "Yes"}]}
    async with Upstream(make_text_script(FROM_OPENAI)).run() as other:
        more = {"OPENAI_API_KEY": "sk-canary-OPENAI", "OPENAI_BASE_URL": f"{other.url}/v1"}
        async with judged(wire, make_text_script(wire, whole=whole), tmp_path, **more) as (client, upstream, server):
            first = await client.responses.create(model="anthropic/m", input="first")
            assert [item.type for item in first.output] == ["reasoning", "message"]
            asked = {"input": "second", "previous_response_id": first.id}
            answer = await server.post("/v1/responses", {**asked, "model": "openai/m"})
            assert (answer.status, answer.headers["X-Dropped-Fields"]) == (200, "reasoning")
            await answer.body()
            assert [item["type"] for item in other.requests[-1].json["input"]] == ["message", "message", "message"]
            await (await server.post("/v1/responses", {**asked, "model": "anthropic/m"})).body()
            assert "signed" in sent(upstream)  # where it came from


@pytest.mark.parametrize("own_key", [False, True], ids=["the server's key", "the caller's key"])
async def test_with_the_server_s_key_only_ids_of_the_caller_reach_the_engine(own_key: bool, tmp_path: Path) -> None:
    """The account of the key has the answers of all clients."""
    async with judged(OPENAI, make_text_script(FROM_OPENAI), tmp_path) as (_, upstream, server):
        headers = {**CLIENT, **({"X-OpenAI-Key": "sk-canary-own"} if own_key else {})}
        asked = {"model": "openai/m", "previous_response_id": "resp_of_another", "input": "x"}
        answer = await server.post("/v1/responses", asked, headers)
        refers = {"model": "openai/m", "input": [{"type": "item_reference", "id": "msg_of_another"}]}
        referring = await server.post("/v1/responses", refers, headers)
        await answer.body()
        await referring.body()
    assert (answer.status, referring.status) == ((200, 200) if own_key else (400, 404))
    assert len(upstream.requests) == (2 if own_key else 0)
