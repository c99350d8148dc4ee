"""Cache marks reach every engine that has them, at the same places of the prompt."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest

from llm.config.parsers import ConfigError
from llm.config.settings import Config
from llm.dialects import anthropic, openai_chat, openai_responses
from llm.dialects.base import ClientDialect, EngineRequest
from llm.engines.api_choice import choose_api
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.upstream.translate import write_engine_request
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.wires import WIRES

MARK = {"type": "ephemeral"}
HOUR = {"type": "ephemeral", "ttl": "1h"}
BREAK = {"mode": "explicit"}
LONG_BREAK = {"mode": "explicit", "ttl": "12h"}
SCHEMA = {"type": "object", "properties": {}}
PNG = "iVBORw0KGgo="


def cross(client: ClientDialect, body: Mapping[str, Any], engine: str, model: str) -> EngineRequest:
    """Returns the request that the engine gets for a client's body."""
    request = client.read_request({**body, "model": model})
    target = Target(engine=ENGINES[engine], model=model, key="k")
    return write_engine_request(request, choose_api(request, target))


def find_marks(value: Any, path: str = "") -> dict[str, Any]:
    """Returns the marks of a body by the path of the object that has them."""
    found: dict[str, Any] = {}
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("cache_control", "prompt_cache_breakpoint"):
                found[path.removeprefix(".")] = inner
            else:
                found |= find_marks(inner, f"{path}.{name}")
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            found |= find_marks(inner, f"{path}[{n}]")
    return found


def text(words: str, **fields: Any) -> dict[str, Any]:
    return {"type": "text", "text": words, **fields}


# --- what clients send: marks on a tool, the system prompt, a picture, a call, a result, the last text ---


def chat_body(**marks: Any) -> dict[str, Any]:
    """A conversation of a Chat client; ``marks``: by place, the fields that hold a mark."""
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}, **marks.get("picture", {})}
    call = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}, **marks.get("call", {})}
    return {
        "tools": [{"type": "function", "function": {"name": "f", "parameters": SCHEMA}, **marks.get("tool", {})}],
        "messages": [
            {"role": "system", "content": [text("Rules", **marks.get("system", {}))]},
            {"role": "user", "content": [picture, text("What is it?")]},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c1", "content": [text("Sunny", **marks.get("result", {}))]},
            {"role": "user", "content": [text("And now?", **marks.get("last", {}))]},
        ],
        **marks.get("request", {}),
    }


def messages_body(**marks: Any) -> dict[str, Any]:
    """The same of a Messages client."""
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}}
    call = {"type": "tool_use", "id": "c1", "name": "f", "input": {}, **marks.get("call", {})}
    result = {"type": "tool_result", "tool_use_id": "c1", "content": "Sunny", **marks.get("result", {})}
    return {
        "max_tokens": 100,
        "tools": [{"name": "f", "input_schema": SCHEMA, **marks.get("tool", {})}],
        "system": [text("Rules", **marks.get("system", {}))],
        "messages": [
            {"role": "user", "content": [{**picture, **marks.get("picture", {})}, text("What is it?")]},
            {"role": "assistant", "content": [call]},
            {"role": "user", "content": [result, text("And now?", **marks.get("last", {}))]},
        ],
        **marks.get("request", {}),
    }


CONTROL = {"cache_control": MARK}
IN_ANTHROPIC = {
    "tool": "tools[0]",
    "system": "system[0]",
    "picture": "messages[0].content[0]",
    "call": "messages[1].content[0]",
    "result": "messages[2].content[0]",
    "last": "messages[2].content[1]",
    "request": "",
}
IN_CHAT = {
    "tool": "tools[0]",
    "system": "messages[0].content[0]",
    "picture": "messages[1].content[0]",
    "call": "messages[2]",
    "result": "messages[3]",
    "last": "messages[4].content[0]",
    "request": "",
}
IN_OPENAI = {
    "system": "messages[0].content[0]",
    "picture": "messages[1].content[0]",
    "result": "messages[3].content[0]",
    "last": "messages[4].content[0]",
}
IN_RESPONSES = {  # without a mark the system prompt is no item
    "system": "input[0].content[0]",
    "picture": "input[0].content[0]",
    "result": "input[2].output[0]",
    "last": "input[3].content[0]",
}


@pytest.mark.parametrize("place", IN_ANTHROPIC)
def test_gw_29_marks_of_a_chat_client_reach_anthropic(place: str) -> None:
    outgoing = cross(openai_chat, chat_body(**{place: CONTROL}), "anthropic", "claude-sonnet-4-5")
    assert find_marks(outgoing.body) == {IN_ANTHROPIC[place]: MARK} and outgoing.dropped == ()


@pytest.mark.parametrize("place", IN_CHAT)
def test_gw_29_marks_of_a_messages_client_reach_openrouter(place: str) -> None:
    body = messages_body(**{place: {"cache_control": HOUR}})
    outgoing = cross(anthropic, body, "openrouter", "anthropic/claude-sonnet-4.5")
    assert find_marks(outgoing.body) == {IN_CHAT[place]: HOUR} and outgoing.dropped == ()


@pytest.mark.parametrize("place", IN_ANTHROPIC)
@pytest.mark.parametrize(
    ("model", "places"), [("gpt-5.7", IN_RESPONSES), ("gpt-5.7-no-tools", IN_OPENAI), ("gpt-5.4", {})]
)
def test_gw_29_marks_of_a_messages_client_reach_openai_s_models_that_have_them(
    model: str, places: Mapping[str, str], place: str
) -> None:
    body = messages_body(**{place: {"cache_control": HOUR}})
    if "no-tools" in model:
        body.pop("tools")
        if place == "tool":
            return
    outgoing = cross(anthropic, body, "openai", model)
    if place in places:
        assert find_marks(outgoing.body) == {places[place]: LONG_BREAK} and "cache_control" not in outgoing.dropped
    else:
        assert find_marks(outgoing.body) == {} and "cache_control" in outgoing.dropped


@pytest.mark.parametrize(
    ("sent", "written"), [(BREAK, MARK), ({**BREAK, "ttl": "12h"}, HOUR), ({**BREAK, "ttl": "30m"}, HOUR)]
)
def test_gw_29_breakpoints_of_openai_s_clients_reach_anthropic(sent: Any, written: Any) -> None:
    marks = {"prompt_cache_breakpoint": sent}
    for place in ("system", "picture", "result", "last"):
        outgoing = cross(openai_chat, chat_body(**{place: marks}), "anthropic", "claude-sonnet-4-5")
        assert find_marks(outgoing.body) == {IN_ANTHROPIC[place]: written} and outgoing.dropped == ()
    items = [
        {"role": "system", "content": [{"type": "input_text", "text": "Rules", **marks}]},
        {"role": "user", "content": [{"type": "input_text", "text": "Hello", **marks}]},
    ]
    outgoing = cross(openai_responses, {"input": items}, "anthropic", "claude-sonnet-4-5")
    assert find_marks(outgoing.body) == {"system[0]": written, "messages[0].content[0]": written}


def test_gw_29_a_breakpoint_has_the_lifetime_of_its_request() -> None:
    body = chat_body(system={"prompt_cache_breakpoint": BREAK}, last={"prompt_cache_breakpoint": BREAK})
    for options, written in (({"ttl": "30m"}, HOUR), ({"mode": "explicit"}, MARK)):
        outgoing = cross(openai_chat, {**body, "prompt_cache_options": options}, "anthropic", "claude-sonnet-4-5")
        assert [*find_marks(outgoing.body).values()] == [written, written]
        assert outgoing.dropped == ("prompt_cache_options",)


def test_gw_29_other_places_of_a_chat_client() -> None:
    """Some clients mark a whole message, or the function inside a tool."""
    function = {"name": "f", "parameters": SCHEMA, **CONTROL}
    body = {
        "tools": [{"type": "function", "function": function}],
        "messages": [
            {"role": "system", "content": "Rules", **CONTROL},
            {"role": "user", "content": "What is it?", **CONTROL},
            {"role": "assistant", "content": "Let me see.", "tool_calls": [
                {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}},
            ]},
            {"role": "tool", "tool_call_id": "c1", "content": "Sunny", **CONTROL},
        ],
    }  # fmt: skip
    outgoing = cross(openai_chat, body, "anthropic", "claude-sonnet-4-5")
    assert find_marks(outgoing.body) == dict.fromkeys(
        ("tools[0]", "system[0]", "messages[0].content[0]", "messages[2].content[0]"), MARK
    )
    assert outgoing.dropped == ()


def test_gw_29_at_most_four_marks_reach_anthropic_and_the_others_are_named() -> None:
    places = ("tool", "system", "picture", "call", "result", "last")
    outgoing = cross(openai_chat, chat_body(**dict.fromkeys(places, CONTROL)), "anthropic", "claude-sonnet-4-5")
    kept = [IN_ANTHROPIC[place] for place in ("tool", "call", "result", "last")]
    assert sorted(find_marks(outgoing.body)) == sorted(kept) and outgoing.dropped == ("cache_control",)
    again = cross(openai_chat, chat_body(**dict.fromkeys(places[:4], CONTROL)), "anthropic", "claude-sonnet-4-5")
    assert len(find_marks(again.body)) == 4 and again.dropped == ()


@pytest.mark.parametrize(
    ("engine", "model"), [("google", "gemini-3.5-flash"), ("ollama", "qwen3:8b"), ("groq", "openai/gpt-oss-20b")]
)
@pytest.mark.parametrize("place", ["tool", "system", "last", "request"])
def test_gw_29_engines_without_marks_drop_them_by_name(engine: str, model: str, place: str) -> None:
    body = messages_body(**{place: CONTROL})
    body["messages"][0]["content"] = "What is it?"
    outgoing = cross(anthropic, body, engine, model)
    assert find_marks(outgoing.body) == {} and outgoing.dropped == ("cache_control",)
    chat = chat_body(**{place: CONTROL})
    chat["messages"][1]["content"] = "What is it?"
    if engine != "groq":  # passed on as it is
        assert cross(openai_chat, chat, engine, model).dropped == ("cache_control",)


def test_gw_29_a_mark_of_null_is_none() -> None:
    marks = {place: {"cache_control": None} for place in IN_ANTHROPIC}
    for outgoing in (
        cross(openai_chat, chat_body(**marks), "anthropic", "claude-sonnet-4-5"),
        cross(anthropic, messages_body(**marks), "openrouter", "anthropic/claude-sonnet-4.5"),
    ):
        assert find_marks(outgoing.body) == {} and outgoing.dropped == ()


def test_gw_29_a_property_of_that_name_in_a_schema_stays() -> None:
    schema = {"type": "object", "properties": {"cache_control": {"type": "string"}}}
    body = chat_body(system=CONTROL)
    body["tools"][0]["function"]["parameters"] = schema
    sent: Any = cross(openai_chat, body, "anthropic", "claude-sonnet-4-5").body
    assert sent["tools"][0]["input_schema"] == schema


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
async def test_gw_29_the_case_as_reported(stream: bool) -> None:
    wire = WIRES["anthropic"]

    async def script(request: Request, connection: Connection) -> None:
        if not request.json.get("stream"):
            await connection.respond(wire.whole("Hi"))
            return
        await connection.stream()
        await connection.chunk(wire.head + wire.delta("Hi") + wire.end)
        await connection.end()

    upstream = Upstream(script)
    body = {**field_case("gw-29")["request"], "stream": stream}
    async with upstream.run(), run_server(make_config(**wire.environ(upstream))) as server:
        for more in ({}, CONTROL):
            answer = await server.post("/v1/chat/completions", {**body, **more}, CLIENT)
            assert answer.status == 200, await answer.body()
            assert "X-Dropped-Fields" not in answer.headers
            await answer.body()
    first, second = (request.json for request in upstream.requests)
    assert find_marks(first) == {"system[0]": MARK, "messages[0].content[0]": MARK}
    assert find_marks(second) == {**find_marks(first), "": MARK}


async def test_gw_29_a_setting_names_the_marks_of_a_custom_engine() -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES["openai"].whole("Hi"))

    upstream = Upstream(script)
    for value, written in (("cache_control", MARK), ("prompt_cache_breakpoint", BREAK), (None, None)):
        async with upstream.run():
            environ = {"CUSTOM_ENGINES": "proxy", "PROXY_BASE_URL": f"{upstream.url}/v1"}
            async with run_server(make_config(**environ, **({"PROXY_CACHE_MARKS": value} if value else {}))) as server:
                answer = await server.post(
                    "/v1/messages", {**messages_body(system=CONTROL), "model": "proxy/m"}, CLIENT
                )
                assert answer.status == 200, await answer.body()
                assert ("cache_control" in answer.headers.get("X-Dropped-Fields", "")) == (value is None)
        sent = find_marks(upstream.requests[-1].json)
        assert sent == ({"messages[0].content[0]": written} if written else {}), json.dumps(sent)
    with pytest.raises(ConfigError, match="PROXY_CACHE_MARKS"):
        Config.from_env(
            {"CUSTOM_ENGINES": "proxy", "PROXY_BASE_URL": "http://127.0.0.1:1/v1", "PROXY_CACHE_MARKS": "x"}
        )


@pytest.mark.parametrize("tags", ["false", "true"], ids=["passed through", "translated"])
async def test_a_cache_key_is_sent_in_the_header_that_the_engine_reads(tags: str) -> None:
    """xAI's Chat Completions read no ``prompt_cache_key``: requests with one key shall reach one of its servers."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES["openai"].whole("Hi"))

    upstream = Upstream(script)
    async with upstream.run():
        environ = {"XAI_BASE_URL": f"{upstream.url}/v1", "XAI_API_KEY": "sk-canary-xai", "XAI_THINK_TAGS": tags}
        async with run_server(make_config(**environ)) as server:
            for key in ("conversation-1", "no header\r\nx-other: 1", None):
                body = {
                    "model": "xai/grok-4.5",
                    "messages": [{"role": "user", "content": "x"}],
                    "prompt_cache_key": key,
                }
                answer = await server.post("/v1/chat/completions", body, CLIENT)
                assert answer.status == 200, await answer.body()
    assert [request.headers.get("x-grok-conv-id") for request in upstream.requests] == ["conversation-1", None, None]
    assert not any("x-other" in request.headers for request in upstream.requests)
