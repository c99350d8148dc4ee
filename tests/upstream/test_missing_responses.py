"""An engine without the Responses API is asked by Chat Completions, once that is known without a second question."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from llm.config.parsers import ConfigError
from llm.engines.records import ENGINES
from llm.gateway.callers import Caller
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import CLIENTS, WIRES

CHAT, RESPONSES = "/v1/chat/completions", "/v1/responses"
KEY: Final = "sk-canary-1234567"
NO_PATH: Final[dict[str, tuple[int, Any, str]]] = {
    "fastapi": (404, {"detail": "Not Found"}, "application/json"),
    "openai": (404, {"error": {"message": "Invalid URL (POST /v1/responses)", "type": "invalid_request_error", "param": None, "code": None}}, "application/json"),
    "vllm": (404, {"error": {"message": "Not Found", "type": "NotFoundError", "param": None, "code": 404}}, "application/json"),
    "llama.cpp": (404, {"error": {"code": 404, "message": "File Not Found", "type": "not_found_error"}}, "application/json"),
    "bare code": (404, {"error": {"message": "Not found", "code": "not_found"}}, "application/json"),
    "html": (404, "<html><h1>404 Not Found</h1></html>", "text/html"),
    "go": (404, "404 page not found", "text/plain"),
    "empty": (404, "", "text/plain"),
    "method": (405, {"detail": "Method Not Allowed"}, "application/json"),
    "empty method": (405, "", "text/plain"),
    "not implemented": (501, {"error": {"message": "Not implemented", "type": "server_error"}}, "application/json"),
    "lm studio": (200, {"error": "Unexpected endpoint or method. (POST /v1/responses)"}, "application/json"),
    "page for every path": (200, "<!doctype html><title>App</title>", "text/html"),
    "chat for every path": (200, WIRES["openai"].whole("wrong"), "application/json"),
}  # fmt: skip
TOOLS: Final = {  # refusals of tools that are no functions
    "llama.cpp": (400, {"error": {"code": 400, "message": "'type' of tool must be 'function'", "type": "invalid_request_error"}}),
    "lm studio": (400, {"error": {"message": "Invalid", "type": "invalid_request_error", "param": "tools.1.type", "code": "invalid_string"}}),
    "words": (400, {"error": {"message": "Unsupported Responses tool type: 'custom'", "type": "invalid_request_error", "param": None}}),
    "only": (400, {"error": {"message": "Only `type:\"function\"` tools are supported on this endpoint.", "param": "tools.8.type"}}),
    "fastapi": (422, {"detail": [{"loc": ["body", "tools", 1, "type"], "msg": "Input should be 'function'"}]}),
    "xai": (422, {"code": "invalid", "error": "Failed to deserialize the JSON body: tools[1]: unknown variant `custom`, expected `function`"}),
    "openrouter": (400, {"error": {"code": "invalid_prompt", "message": "Invalid Responses API request"}, "metadata": {"raw": json.dumps([{"code": "invalid_union", "errors": [[{"code": "invalid_union", "errors": [], "note": "No matching discriminator", "discriminator": "type", "path": ["type"], "message": "Invalid input"}]], "path": ["tools", 1], "message": "Invalid input"}], indent=2)}}),
    "openrouter's list": (400, {"error": {"code": "invalid_prompt", "message": "Invalid Responses API request"}, "metadata": {"raw": [{"code": "invalid_union", "errors": [[{"discriminator": "type", "path": ["type"]}]], "path": ["tools", 1]}]}}),
    "custom": (400, {"error": {"message": "Custom tools are not supported on this route.", "param": "tools"}}),
}  # fmt: skip
FUNCTION: Final = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
CODEX: Final = [FUNCTION, {"type": "custom", "name": "apply_patch", "description": "Edits files."}]


class Server:
    """Has Chat Completions; ``refusal`` is its answer to a request of the Responses API, which it may know too."""

    def __init__(
        self, refusal: tuple[int, Any, str] | None, *, only_tools: bool = False, chat_status: int = 200
    ) -> None:
        self.refusal = refusal
        self.only_tools = only_tools
        self.chat_status = chat_status

    async def __call__(self, request: Request, connection: Connection) -> None:
        path = request.path
        if path == RESPONSES and self.refusal is not None:
            special = any(tool["type"] != "function" for tool in request.json.get("tools", ()))
            if special or not self.only_tools:
                status, body, kind = self.refusal
                await connection.respond(body, status, kind)
                return
        if path == CHAT and self.chat_status != 200:
            await connection.respond({"error": {"message": "The model `m` does not exist."}}, self.chat_status)
            return
        await answer(WIRES["responses" if path == RESPONSES else "openai"], request, connection)


async def answer(wire: Any, request: Request, connection: Connection) -> None:
    if not request.json.get("stream"):
        await connection.respond(wire.whole("All done"))
        return
    await connection.stream(wire.content_type)
    await connection.chunk(wire.head + wire.delta("All done") + wire.end)
    await connection.end()


def custom(upstream: Upstream, **more: str) -> Any:
    return make_config(CUSTOM_ENGINES="vllm", VLLM_BASE_URL=f"{upstream.url}/v1", VLLM_API_KEY=KEY, **more)


def paths_of(upstream: Upstream) -> list[str]:
    paths = [request.path for request in upstream.requests]
    upstream.requests.clear()
    return paths


async def ask(server: Client, body: dict[str, Any], stream: bool, status: int = 200) -> dict[str, Any]:
    """Asks by the Responses API. Returns the response object, or the error."""
    got = await server.post("/v1/responses", {"stream": stream, "input": "hi", **body}, CLIENT)
    raw = await got.body()
    assert got.status == status, raw
    if not stream or status != 200:
        return dict(json.loads(raw))
    events = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]
    assert [e["type"] for e in events].count("response.created") == 1
    assert events[-1]["type"] == "response.completed", raw
    return dict(events[-1]["response"])


def text_of(response: dict[str, Any]) -> str:
    return "".join(part["text"] for item in response["output"] if item["type"] == "message" for part in item["content"])


streamed = pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])


@pytest.mark.parametrize("name", ["cl-01", "gw-06"])
async def test_cl_01_gw_06_the_reported_requests(name: str) -> None:
    case = field_case(name)
    given = case["request"] if name == "cl-01" else {"body": case["request"]}
    told = case["provider_response"]["by_path"]["/v1/responses"] if name == "cl-01" else case["provider_response"]
    refusal = (told["status"], told["body"], "application/json")
    async with Upstream(Server(refusal)).run() as upstream, run_server(custom(upstream)) as server:
        for expected in ([RESPONSES, CHAT], [CHAT]):
            response = await ask(server, given["body"], False)
            assert (text_of(response), response["status"]) == ("All done", "completed")
            assert paths_of(upstream) == expected


@streamed
@pytest.mark.parametrize("refusal", NO_PATH.values(), ids=NO_PATH)
async def test_cl_01_an_engine_without_the_path_is_asked_by_chat_completions(refusal: Any, stream: bool) -> None:
    async with Upstream(Server(refusal)).run() as upstream, run_server(custom(upstream)) as server:
        for expected in ([RESPONSES, CHAT], [CHAT]):
            assert text_of(await ask(server, {"model": "vllm/m"}, stream)) == "All done"
            assert paths_of(upstream) == expected


@pytest.mark.parametrize("name", ["openai", "azure", "xai", "openrouter", "groq"])
@streamed
async def test_cl_01_an_engine_whose_record_has_the_api_too(name: str, stream: bool) -> None:
    async with Upstream(Server(NO_PATH["go"])).run() as upstream:
        base = {"azure": upstream.url, "openrouter": f"{upstream.url}/v1"}.get(name, f"{upstream.url}/v1")
        config = make_config(**{f"{name.upper()}_API_KEY": KEY, f"{name.upper()}_BASE_URL": base})
        async with run_server(config) as server:
            for count in (2, 1):
                response = await server.post("/v1/responses", {"model": f"{name}/m", "input": "hi", "stream": stream})
                raw = await response.body()
                paths = paths_of(upstream)
                if name == "azure":  # the script knows no other paths
                    assert [path.rpartition("/")[2] for path in paths] == ["responses", "completions"][-count:]
                    continue
                assert response.status == 200, raw
                assert len(paths) == count


@pytest.mark.parametrize("name", ["deepseek", "huggingface", "lmstudio", "together", "cerebras"])
async def test_cl_01_other_engines_are_not_asked_for_it(name: str) -> None:
    on = {"LMSTUDIO_ENABLED": "true"} if name == "lmstudio" else {f"{name.upper()}_API_KEY": KEY}
    async with Upstream(Server(None)).run() as upstream:
        config = make_config(**on, **{f"{name.upper()}_BASE_URL": f"{upstream.url}/v1"})
        async with run_server(config) as server:
            assert text_of(await ask(server, {"model": f"{name}/m"}, False)) == "All done"
    assert paths_of(upstream) == [CHAT]


def test_records_have_the_api_only_where_the_specification_lists_it() -> None:
    have = {name for name, engine in ENGINES.items() if engine.responses is not None}
    assert have == {"openai", "azure", "xai", "openrouter", "groq"}


@streamed
async def test_an_engine_with_the_api_is_asked_as_before(stream: bool) -> None:
    async with Upstream(Server(None)).run() as upstream, run_server(custom(upstream)) as server:
        for _ in range(2):
            assert text_of(await ask(server, {"model": "vllm/m", "tools": CODEX}, stream)) in ("All done", "")
    assert paths_of(upstream) == [RESPONSES] * 2


@streamed
async def test_a_stream_of_chat_completions_is_no_answer_of_the_other_api(stream: bool) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if "messages" in request.json:
            await answer(WIRES["openai"], request, connection)
            return
        await connection.stream()
        await connection.chunk(WIRES["openai"].head + WIRES["openai"].delta("wrong") + WIRES["openai"].end)
        await connection.end()

    async with Upstream(script).run() as upstream, run_server(custom(upstream)) as server:
        for expected in ([RESPONSES, CHAT], [CHAT]):
            assert text_of(await ask(server, {"model": "vllm/m"}, stream)) == "All done"
            assert paths_of(upstream) == expected
    async with Upstream(script).run() as upstream:
        async with run_server(custom(upstream, VLLM_DIALECT="openai-responses")) as server:
            got = await server.post("/v1/responses", {"model": "vllm/m", "input": "hi", "stream": stream})
            assert b"answered a Responses request by Chat Completions" in await got.body()


@streamed
@pytest.mark.parametrize("refusal", TOOLS.values(), ids=TOOLS)
async def test_cl_02_a_refusal_of_tools_that_are_no_functions(refusal: tuple[int, Any], stream: bool) -> None:
    script = Server((*refusal, "application/json"), only_tools=True)
    async with Upstream(script).run() as upstream, run_server(custom(upstream)) as server:
        for expected in ([RESPONSES, CHAT], [CHAT]):
            assert text_of(await ask(server, {"model": "vllm/m", "tools": CODEX}, stream)) == "All done"
            sent = upstream.requests[-1].json["tools"]
            assert [(tool["type"], tool["function"]["name"]) for tool in sent] == [
                ("function", "f"),
                ("function", "apply_patch"),
            ]
            assert paths_of(upstream) == expected
        await ask(server, {"model": "vllm/m", "tools": [FUNCTION]}, stream)
        assert paths_of(upstream) == [RESPONSES]


async def test_cl_02_a_group_of_functions_counts_as_one_of_these_tools() -> None:
    script = Server((*TOOLS["lm studio"], "application/json"), only_tools=True)
    async with Upstream(script).run() as upstream, run_server(custom(upstream)) as server:
        group = {"type": "namespace", "name": "mcp__a", "description": "", "tools": [FUNCTION]}
        for expected in ([RESPONSES, CHAT], [CHAT]):
            assert text_of(await ask(server, {"model": "vllm/m", "tools": [group]}, False)) == "All done"
            assert paths_of(upstream) == expected


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (404, {"message": "The model `m` does not exist.", "code": "model_not_found"}),
        (404, {"message": "The model `m` does not exist.", "type": "NotFoundError", "param": "model", "code": 404}),
        (404, {"message": "No endpoints found for m.", "code": 404}),
        (404, {"message": "Response with id 'resp_1' not found.", "param": "previous_response_id"}),
        (400, {"message": "Hosted tool 'custom' is not supported with m.", "param": "tools"}),
        (400, {"message": "Invalid schema for function 'f'.", "param": "tools[0].parameters"}),
        (400, {"message": "Invalid Responses API request", "code": "invalid_prompt"}),
        (
            400,
            {
                "message": "Unsupported parameter: 'temperature' is not supported with this model.",
                "param": "temperature",
            },
        ),
        (400, {"message": "Tool choice 'f' not found in 'tools' parameter.", "param": "tool_choice"}),
        (400, {"message": "No tool call found for function call output with call_id call_1.", "param": "input"}),
    ],
)
@streamed
async def test_other_refusals_are_the_client_s(status: int, error: dict[str, Any], stream: bool) -> None:
    script = Server((status, {"error": error}, "application/json"))
    async with Upstream(script).run() as upstream, run_server(custom(upstream)) as server:
        for _ in range(2):
            told = await ask(server, {"model": "vllm/m", "tools": CODEX}, stream, status)
            assert told["error"]["message"] == error["message"]
            assert paths_of(upstream) == [RESPONSES]


async def test_nothing_is_learned_where_chat_completions_fails_too() -> None:
    script = Server(NO_PATH["fastapi"], chat_status=404)
    async with Upstream(script).run() as upstream, run_server(custom(upstream)) as server:
        for _ in range(2):
            told = await ask(server, {"model": "vllm/m"}, False, 404)
            assert "does not exist" in told["error"]["message"]
            assert paths_of(upstream) == [RESPONSES, CHAT]


async def test_a_model_that_chat_completions_alone_serves_is_asked_there_and_others_are_not() -> None:
    told = {
        "error": {"message": "The requested model cannot be used with the Responses API.", "code": "unsupported_value"}
    }

    async def script(request: Request, connection: Connection) -> None:
        if request.path == RESPONSES and request.json["model"] == "search":
            await connection.respond(told, 400)
        else:
            await answer(WIRES["responses" if request.path == RESPONSES else "openai"], request, connection)

    async with Upstream(script).run() as upstream, run_server(custom(upstream)) as server:
        for model, expected in (("search", [RESPONSES, CHAT]), ("m", [RESPONSES])):
            await ask(server, {"model": f"vllm/{model}"}, False)
            assert paths_of(upstream) == expected


async def test_the_setting_forces_either() -> None:
    async with Upstream(Server(None)).run() as upstream:
        async with run_server(custom(upstream, VLLM_RESPONSES="false")) as server:
            assert text_of(await ask(server, {"model": "vllm/m"}, False)) == "All done"
            assert paths_of(upstream) == [CHAT]
    async with Upstream(Server(NO_PATH["fastapi"])).run() as upstream:
        async with run_server(custom(upstream, VLLM_RESPONSES="true")) as server:
            await ask(server, {"model": "vllm/m"}, False, 404)
            assert paths_of(upstream) == [RESPONSES]
    async with Upstream(Server(None)).run() as upstream:
        on = {"DEEPSEEK_API_KEY": KEY, "DEEPSEEK_BASE_URL": f"{upstream.url}/v1", "DEEPSEEK_RESPONSES": "true"}
        async with run_server(make_config(**on)) as server:
            await ask(server, {"model": "deepseek/m"}, False)
            assert paths_of(upstream) == [RESPONSES]
    with pytest.raises(ConfigError, match="ANTHROPIC_RESPONSES"):
        make_config(ANTHROPIC_RESPONSES="true")


@streamed
@pytest.mark.parametrize("name", CLIENTS)
async def test_a_model_that_needs_the_api_is_asked_by_chat_completions_where_it_is_missing(
    name: str, stream: bool
) -> None:
    client = CLIENTS[name]
    async with Upstream(Server(NO_PATH["fastapi"])).run() as upstream:
        async with run_server(make_config(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{upstream.url}/v1")) as server:
            for expected in ([RESPONSES, CHAT], [CHAT]):
                body = {**client.request("openai", "o3-pro"), "stream": stream}
                got = await server.post(client.path, body, {**CLIENT, **client.headers})
                raw = await got.body()
                assert (got.status, b"All done" in raw) == (200, True), raw
                assert paths_of(upstream) == expected


SEARCHES: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "messages": (
        "/v1/messages",
        {
            "messages": [{"role": "user", "content": "News?"}],
            "max_tokens": 9,
            "tools": [{"type": "web_search_20250305", "name": "web_search"}, {"name": "f", "input_schema": {"type": "object"}}],
        },
    ),
    "responses": ("/v1/responses", {"input": "News?", "tools": [{"type": "web_search"}, FUNCTION]}),
}  # fmt: skip


@streamed
@pytest.mark.parametrize("refusal", [NO_PATH["fastapi"], (*TOOLS["words"], "application/json")], ids=["path", "tools"])
@pytest.mark.parametrize("client", SEARCHES)
async def test_a_search_of_the_provider_is_named_where_the_engine_cannot_run_it(
    client: str, refusal: Any, stream: bool
) -> None:
    path, body = SEARCHES[client]
    async with Upstream(Server(refusal)).run() as upstream:
        async with run_server(make_config(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{upstream.url}/v1")) as server:
            for expected in ([RESPONSES, CHAT], [CHAT]):
                got = await server.post(path, {**body, "model": "openai/gpt-5.4", "stream": stream}, CLIENT)
                raw = await got.body()
                assert (got.status, b"All done" in raw) == (200, True), raw
                assert "web_search" in got.headers.get("X-Dropped-Fields", "")
                assert paths_of(upstream) == expected


@streamed
async def test_an_answer_by_chat_completions_can_be_named_again(stream: bool) -> None:
    async with Upstream(Server(NO_PATH["fastapi"])).run() as upstream:
        config = make_config(OPENAI_API_KEY=KEY, OPENAI_BASE_URL=f"{upstream.url}/v1")
        async with run_server(config) as server:
            first = await ask(server, {"model": "openai/m", "input": "first"}, stream)
            second = {"model": "openai/m", "input": "second", "previous_response_id": first["id"]}
            assert text_of(await ask(server, second, stream)) == "All done"
    contents = [message["content"] for message in upstream.requests[-1].json["messages"]]
    assert contents == ["first", "All done", "second"]


async def test_the_option_that_forces_the_api_is_refused_where_it_is_missing() -> None:
    async with Upstream(Server(NO_PATH["fastapi"])).run() as upstream, run_server(custom(upstream)) as server:
        body = {"engine": "vllm", "model": "m", "prompt": "Hello", "options": {"useResponsesApi": True}}
        got = await server.post("/llm/chat", body, CLIENT)
        told = await got.json()
    assert (got.status, told["code"], told["param"]) == (400, "unsupported", "useResponsesApi")
    assert "vllm has no Responses API" in told["error"]
    assert paths_of(upstream) == [RESPONSES]


@pytest.mark.parametrize("refusal", [*NO_PATH.values(), (400, {"error": {"message": "input: required"}}, "")])
async def test_the_check_says_where_the_api_is_missing(refusal: Any) -> None:
    async def script(request: Request, connection: Connection) -> None:
        if request.method == "POST":
            await Server(refusal)(request, connection)
        else:
            await connection.respond({"object": "list", "data": [{"id": "m", "object": "model"}]})

    async with Upstream(script).run() as upstream:
        for more, asked in (({}, 1), ({"VLLM_RESPONSES": "false"}, 0), ({"VLLM_RESPONSES": "true"}, 0)):
            async with run_server(custom(upstream, **more)) as server:
                told = await server.server.context.catalog.check_engine("vllm", Caller(trusted=True))
            missing = "; no Responses API, asked by Chat Completions" if asked and refusal[0] != 400 else ""
            assert told == f"ok, 1 models{missing}"
            assert len([path for path in paths_of(upstream) if path == RESPONSES]) == asked


async def test_a_large_request_is_translated_whole() -> None:
    async with Upstream(Server(NO_PATH["fastapi"])).run() as upstream, run_server(custom(upstream)) as server:
        items = [{"role": "user", "content": f"line {n}"} for n in range(2000)]
        response = await ask(server, {"model": "vllm/m", "input": items}, False)
        assert (text_of(response), response["model"]) == ("All done", "vllm/m")
        assert [request.path for request in upstream.requests] == [RESPONSES, CHAT]
        assert [m["content"] for m in upstream.requests[-1].json["messages"]] == [f"line {n}" for n in range(2000)]


async def test_the_client_s_id_is_not_sent_and_the_header_of_the_engine_is_kept() -> None:
    async with Upstream(Server(NO_PATH["fastapi"])).run() as upstream, run_server(custom(upstream)) as server:
        await ask(server, {"model": "vllm/m"}, True)
    assert all(request.headers["Authorization"] == f"Bearer {KEY}" for request in upstream.requests)
    assert CLIENT_ID not in str([request.body for request in upstream.requests])
