"""A passed-through answer in the other form than the client asked for is converted; all others pass unchanged."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

import anthropic
import ollama
import openai
import pytest

from tests.support.field_cases import field_case
from tests.support.harness import CLIENT_ID, Client, Connection, Request, Script, Upstream, make_config, run_server
from tests.support.wires import WIRES, Wire

BEARER: Final = {"Authorization": f"Bearer {CLIENT_ID}"}
WIRE_OF: Final = {
    "openai-chat": "openai",
    "openai-responses": "responses",
    "anthropic": "anthropic",
    "ollama": "ollama",
}
PATHS: Final = {
    "openai-chat": "/v1/chat/completions",
    "openai-responses": "/v1/responses",
    "anthropic": "/v1/messages",
    "ollama": "/api/chat",
}
QUESTION: Final = [{"role": "user", "content": "Hello"}]


def wire_of(dialect: str) -> Wire:
    return WIRES[WIRE_OF[dialect]]


def ask(dialect: str, stream: bool, **more: Any) -> dict[str, Any]:
    """A small request whose model is of an engine of the same dialect."""
    words: dict[str, Any] = {"input": "Hello"} if dialect == "openai-responses" else {"messages": QUESTION}
    limit = {"max_tokens": 100} if dialect == "anthropic" else {}
    return {"model": f"{wire_of(dialect).engine}/m", "stream": stream, **words, **limit, **more}


def sends(body: bytes, content_type: str = "application/json") -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(body, 200, content_type)

    return script


def streams(*pieces: bytes, content_type: str = "text/event-stream", stays_open: bool = False) -> Script:
    async def script(request: Request, connection: Connection) -> None:
        await connection.stream(content_type)
        for piece in filter(None, pieces):
            await connection.chunk(piece)
        if stays_open:
            await connection.wait_closed()
        await connection.end()

    return script


async def answered(dialect: str, script: Script, body: dict[str, Any]) -> tuple[int, str, bytes]:
    """Returns status, content type and body of the answer to a client of the engine's own dialect."""
    async with Upstream(script).run() as upstream:
        environ = wire_of(dialect).environ(upstream, MAX_RETRIES="0")
        async with run_server(make_config(**environ)) as server:
            answer = await server.post(PATHS[dialect], body, BEARER)
            return answer.status, answer.headers["Content-Type"], await answer.body()


def text_of(dialect: str, whole: Any) -> str:
    """Returns the text of a whole answer."""
    match dialect:
        case "openai-chat":
            return str(whole["choices"][0]["message"]["content"])
        case "openai-responses":
            return str(whole["output"][0]["content"][0]["text"])
        case "anthropic":
            return str(whole["content"][0]["text"])
    return str(whole["message"]["content"])


def stream_of(dialect: str, texts: Iterable[str]) -> list[bytes]:
    wire = wire_of(dialect)
    return [wire.head, *map(wire.delta, texts), wire.end]


# --- events for a whole answer (gw-20) ---


@pytest.mark.parametrize("label", [None, "text/plain", "application/json"], ids=["right", "plain", "json"])
@pytest.mark.parametrize("dialect", PATHS)
async def test_gw_20_events_for_a_whole_answer_become_one_answer(dialect: str, label: str | None) -> None:
    wire = wire_of(dialect)
    script = streams(*stream_of(dialect, ["Hi", " there"]), content_type=label or wire.content_type)
    status, kind, body = await answered(dialect, script, ask(dialect, False))
    assert (status, kind.partition(";")[0]) == (200, "application/json"), body
    assert text_of(dialect, json.loads(body)) == "Hi there"


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic"])
async def test_gw_20_the_end_event_ends_a_whole_answer_though_the_connection_stays_open(dialect: str) -> None:
    script = streams(*stream_of(dialect, ["Hi"]), stays_open=True)
    status, _, body = await answered(dialect, script, ask(dialect, False))
    assert status == 200
    assert text_of(dialect, json.loads(body)) == "Hi"


@pytest.mark.parametrize("dialect", PATHS)
async def test_gw_20_an_error_inside_unasked_events_is_an_error_response(dialect: str) -> None:
    wire = wire_of(dialect)
    script = streams(wire.head, wire.delta("Hi"), wire.error, content_type=wire.content_type)
    status, _, body = await answered(dialect, script, ask(dialect, False))
    assert status >= 500
    assert b"It broke." in body


@pytest.mark.parametrize("dialect", PATHS)
async def test_gw_20_unasked_events_without_an_end_are_an_error_response(dialect: str) -> None:
    wire = wire_of(dialect)
    script = streams(wire.head, wire.delta("Hi"), content_type=wire.content_type)
    status, _, body = await answered(dialect, script, ask(dialect, False))
    assert status == 502, body


async def test_gw_20_unasked_events_without_usage_get_an_estimate() -> None:
    """smolagents-needs-usage: a whole answer without ``usage`` is an AttributeError there."""
    chunk = WIRES["openai"].delta("Hi")
    end = chunk.replace(b'"finish_reason": null', b'"finish_reason": "stop"')
    status, _, body = await answered("openai-chat", streams(chunk, end, b"data: [DONE]\n\n"), ask("openai-chat", False))
    assert status == 200
    assert json.loads(body)["usage"]["prompt_tokens"] > 0


async def test_gw_20_a_tool_call_and_unknown_fields_survive_the_conversion() -> None:
    call = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"a"'}}
    deltas = [
        {"role": "assistant", "reasoning_details": [{"type": "reasoning.encrypted", "data": "xyz", "index": 0}]},
        {"tool_calls": [{**call, "extra_content": {"google": {"thought_signature": "sig"}}}]},
        {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
    ]
    chunks = [{"choices": [{"index": 0, "delta": one, "finish_reason": None}]} for one in deltas]
    chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]})
    pieces = [f"data: {json.dumps({'id': 'c1', 'model': 'm', **chunk})}\n\n".encode() for chunk in chunks]
    _, _, body = await answered("openai-chat", streams(*pieces, b"data: [DONE]\n\n"), ask("openai-chat", False))
    choice = json.loads(body)["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    [got] = choice["message"]["tool_calls"]
    assert got["function"] == {"name": "f", "arguments": '{"a": 1}'}
    assert got["extra_content"] == {"google": {"thought_signature": "sig"}}
    assert choice["message"]["reasoning_details"][0]["data"] == "xyz"


# --- a document for a stream (gw-20) ---


@pytest.mark.parametrize("dialect", PATHS)
async def test_gw_20_a_document_for_a_stream_becomes_events(dialect: str) -> None:
    wire = wire_of(dialect)
    document = json.dumps(wire.whole("Hi there"), indent=1).encode()
    status, kind, body = await answered(dialect, sends(document), ask(dialect, True))
    assert (status, kind.partition(";")[0]) == (200, wire.content_type), body
    assert b"Hi there" in body
    assert not body.startswith(document[:20])
    if dialect == "ollama":
        assert all(json.loads(line) for line in body.splitlines())


@pytest.mark.parametrize("dialect", ["openai-chat", "openai-responses", "anthropic"])
async def test_gw_20_a_document_with_the_content_type_of_a_stream_becomes_events(dialect: str) -> None:
    wire = wire_of(dialect)
    for document in (json.dumps(wire.whole("Hi there")), json.dumps(wire.whole("Hi there"), indent=1) + "\n"):
        status, kind, body = await answered(dialect, sends(document.encode(), wire.content_type), ask(dialect, True))
        assert (status, kind.partition(";")[0]) == (200, wire.content_type), body
        assert b"Hi there" in body and b"data: {" in body and b"upstream" not in body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_gw_20_nw_33_an_error_with_status_200_has_all_its_fields(stream: bool) -> None:
    """As OpenRouter sends it."""
    error = {"message": "It broke.", "code": 502, "metadata": {"provider_name": "Acme", "raw": "x"}}
    document = json.dumps({"error": error, "user_id": "u1"}).encode()
    status, _, body = await answered("openai-chat", sends(document), ask("openai-chat", stream))
    got = json.loads(body)
    assert status == 502
    assert got["error"]["metadata"] == error["metadata"] and got["user_id"] == "u1"


@pytest.mark.parametrize("dialect", PATHS)
async def test_gw_20_an_error_document_for_a_stream_is_an_error_response(dialect: str) -> None:
    document = json.dumps({"error": {"message": "It broke.", "type": "server_error"}}).encode()
    status, _, body = await answered(dialect, sends(document), ask(dialect, True))
    assert status >= 500
    assert b"It broke." in body


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_gw_20_an_answer_of_generate_is_converted_in_its_own_form(stream: bool) -> None:
    end = {"done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 2}
    lines = [{"model": "m", "response": text, "done": False} for text in ("Hi", " there")]
    sent = (
        [*lines, {"model": "m", "response": "", **end}]
        if not stream
        else [{"model": "m", "response": "Hi there", **end}]
    )
    raw = b"".join(json.dumps(one).encode() + b"\n" for one in sent)
    script = sends(raw, "application/json" if stream else "application/x-ndjson")
    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**WIRES["ollama"].environ(upstream))) as server:
            asked = {"model": "ollama/m", "prompt": "Hello", "stream": stream}
            answer = await server.post("/api/generate", asked, BEARER)
            got = [json.loads(line) for line in (await answer.body()).splitlines()]
    assert answer.status == 200
    assert len(got) == 1 if not stream else len(got) > 1
    assert "".join(one["response"] for one in got) == "Hi there" and got[-1]["done"] is True


async def test_gw_20_a_document_with_several_choices_is_an_error_that_names_the_field() -> None:
    whole = WIRES["openai"].whole("Hi")
    whole["choices"] = [{**whole["choices"][0], "index": n} for n in range(2)]
    script = sends(json.dumps(whole).encode())
    status, _, body = await answered("openai-chat", script, ask("openai-chat", True, n=2))
    assert status == 502
    assert json.loads(body)["error"]["param"] == "n"
    status, _, body = await answered("openai-chat", script, ask("openai-chat", False, n=2))
    assert status == 200  # as it was asked, every choice passes
    assert len(json.loads(body)["choices"]) == 2


# --- by the official clients ---


def served(dialect: str, stream: bool) -> Script:
    """Answers in the other form than ``stream``."""
    wire = wire_of(dialect)
    if stream:
        return sends(json.dumps(wire.whole("Hi there")).encode())
    return streams(*stream_of(dialect, ["Hi", " there"]), content_type=wire.content_type)


async def read_by_sdk(dialect: str, server: Client, stream: bool) -> str:
    """Asks with the vendor's newest client; returns the text that it reads."""
    body = {name: value for name, value in ask(dialect, stream).items() if name != "stream"}
    if dialect == "ollama":
        local = ollama.AsyncClient(server.url, headers=BEARER)
        try:
            if not stream:
                return str((await local.chat(**body)).message.content)
            return "".join([str(part.message.content) async for part in await local.chat(**body, stream=True)])
        finally:
            await local._client.aclose()
    if dialect == "anthropic":
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key=CLIENT_ID) as claude:
            if not stream:
                [block] = (await claude.messages.create(**body)).content
                assert isinstance(block, anthropic.types.TextBlock)
                return block.text
            async with claude.messages.stream(**body) as events:
                return "".join([text async for text in events.text_stream])
    async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=CLIENT_ID) as client:
        if dialect == "openai-responses":
            if not stream:
                return str((await client.responses.create(**body)).output_text)
            async with client.responses.stream(**body) as parts:
                return str((await parts.get_final_response()).output_text)
        if not stream:
            return str((await client.chat.completions.create(**body)).choices[0].message.content)
        async with client.chat.completions.stream(**body) as chunks:
            return str((await chunks.get_final_completion()).choices[0].message.content)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("dialect", PATHS)
async def test_gw_20_the_official_client_reads_an_answer_in_the_wrong_form(dialect: str, stream: bool) -> None:
    async with Upstream(served(dialect, stream)).run() as upstream:
        async with run_server(make_config(**wire_of(dialect).environ(upstream))) as server:
            assert await read_by_sdk(dialect, server, stream) == "Hi there"


async def test_gw_20_as_recorded() -> None:
    case = field_case("gw-20")
    sse = case["provider_response"]["sse"]
    pieces = [f"data: {one if isinstance(one, str) else json.dumps(one)}\n\n".encode() for one in sse]
    async with Upstream(streams(*pieces)).run() as upstream:
        environ = {"CUSTOM_ENGINES": "vllm", "VLLM_BASE_URL": upstream.url}
        async with run_server(make_config(**environ)) as server:
            answer = await server.post(case["endpoint"], case["request"], BEARER)
            whole = await answer.json()
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["content"] == "Hi"
    assert whole["choices"][0]["finish_reason"] == "stop"


# --- an error that the dialect's clients do not see (cl-11) ---


def read_responses(raw: bytes) -> list[dict[str, Any]]:
    lines = [line.removeprefix(b"data: ") for line in raw.splitlines() if line.startswith(b"data: {")]
    return [json.loads(line) for line in lines]


async def test_cl_11_an_untyped_error_ends_a_response_with_response_failed() -> None:
    """codex-prints-nothing: without its last event a response is asked for five more times."""
    case = field_case("cl-11")
    sent = [f"data: {json.dumps(one)}\n\n".encode() for one in case["provider_response"]["events"]]
    for pieces in (sent, [b"".join(sent)], [*sent, b"data: [DONE]\n\n"], [b"".join(sent) + b"data: [DONE]\n\n"]):
        async with Upstream(streams(*pieces)).run() as upstream:
            environ = {"CUSTOM_ENGINES": "vllm", "VLLM_BASE_URL": upstream.url, "VLLM_DIALECT": "openai-responses"}
            async with run_server(make_config(**environ)) as server:
                answer = await server.post(case["request"]["path"], case["request"]["body"], BEARER)
                raw = await answer.body()
        assert raw.startswith(b"".join(sent))
        last = read_responses(raw)[-1]
        assert last["type"] == "response.failed"
        assert last["response"]["error"]["message"] == "The server had an error"


async def test_cl_11_a_failure_belongs_to_the_response_that_was_begun() -> None:
    """openai 3.57.0 raises "Lifecycle response identity changed." where a stream begins a second response."""
    response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m", "status": "in_progress"}
    begun = {"type": "response.created", "sequence_number": 0, "response": {**response, "output": []}}
    for end in (b"", b'data: {"error": {"message": "It broke."}}\n\n'):
        start = f"event: response.created\ndata: {json.dumps(begun)}\n\n".encode()
        async with Upstream(streams(start, end)).run() as upstream:
            async with run_server(make_config(**WIRES["responses"].environ(upstream))) as server:
                answer = await server.post("/v1/responses", ask("openai-responses", True), BEARER)
                got = read_responses(await answer.body())
        assert [one["type"] for one in got if "type" in one].count("response.created") == 1
        assert got[-1]["type"] == "response.failed"
        assert got[-1]["response"]["id"] == "resp_1"


UNTYPED: Final = {
    "openai-responses": b'data: {"error": {"message": "It broke.", "type": null, "code": "500"}}\n\n',
    "anthropic": b'data: {"error": {"message": "It broke.", "type": "api_error"}}\n\n',
    "openai-chat": b'event: error\ndata: {"message": "It broke.", "code": 500}\n\n',
}


@pytest.mark.parametrize("dialect", UNTYPED)
async def test_cl_11_the_official_client_sees_an_error_in_another_form(dialect: str) -> None:
    """openai-py-error-event-is-a-chunk: for its chunks only an ``error`` key counts."""
    wire = wire_of(dialect)
    async with Upstream(streams(wire.head, wire.delta("Hi"), UNTYPED[dialect])).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream))) as server:
            with pytest.raises((openai.APIError, anthropic.APIError)) as failed:
                if dialect != "openai-responses":
                    await read_by_sdk(dialect, server, True)
                async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key=CLIENT_ID) as client:
                    async for _ in await client.responses.create(**ask(dialect, True)):
                        pass
    assert "It broke." in str(failed.value)


@pytest.mark.parametrize("dialect", ["openai-responses", "anthropic", "openai-chat"])
@pytest.mark.parametrize("engine", ["anthropic", "google"])
async def test_cl_11_an_error_of_another_engine_ends_the_answer_in_the_clients_form(engine: str, dialect: str) -> None:
    wire = WIRES[engine]
    if wire_of(dialect) is wire:
        pytest.skip("passed through")
    async with Upstream(streams(wire.head, wire.delta("Hi"), wire.error)).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream))) as server:
            body = {**ask(dialect, True), "model": f"{wire.engine}/m"}
            raw = await (await server.post(PATHS[dialect], body, BEARER)).body()
    end = {"openai-responses": b"event: response.failed", "anthropic": b"event: error"}.get(dialect, b'data: {"error":')
    assert b"It broke." in raw[raw.rindex(end) :]


# --- the same over translation ---


@pytest.mark.parametrize("engine", ["openai", "responses", "anthropic", "ollama", "google"])
@pytest.mark.parametrize("client", ["openai-chat", "anthropic"])
async def test_gw_20_events_for_a_whole_answer_are_put_together_when_translated(client: str, engine: str) -> None:
    wire = WIRES[engine]
    if wire_of(client).engine == engine:
        pytest.skip("passed through")
    pieces = (wire.head, wire.delta("Hi"), wire.delta(" there"), wire.end)
    async with Upstream(streams(*pieces, content_type=wire.content_type)).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream))) as server:
            body = {**ask(client, False), "model": f"{wire.engine}/m"}
            answer = await server.post(PATHS[client], body, BEARER)
            assert answer.status == 200, await answer.body()
            assert text_of(client, await answer.json()) == "Hi there"


@pytest.mark.parametrize("engine", ["responses", "anthropic", "ollama", "google"])
async def test_a_translated_answer_without_usage_gets_an_estimate(engine: str) -> None:
    """smolagents-needs-usage: a whole answer without ``usage`` is an AttributeError there."""
    wire = WIRES[engine]
    whole = {
        name: value
        for name, value in wire.whole("Hi").items()
        if name not in ("usage", "usageMetadata", "eval_count", "prompt_eval_count")
    }
    async with Upstream(sends(json.dumps(whole).encode())).run() as upstream:
        async with run_server(make_config(**wire.environ(upstream))) as server:
            body = {**ask("openai-chat", False), "model": f"{wire.engine}/m"}
            answer = await (await server.post(PATHS["openai-chat"], body, BEARER)).json()
    assert answer["usage"]["prompt_tokens"] > 0 and answer["usage"]["completion_tokens"] > 0
