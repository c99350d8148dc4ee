"""Searches that an engine has run come back in the client's own form, judged by the official clients."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from anthropic import AsyncAnthropic, BadRequestError
from openai import AsyncOpenAI

from tests.support.harness import CLIENT_ID, Client, Connection, Request, Upstream, make_config, run_server
from tests.support.one_answer import stream_of
from tests.support.tool_server import run_tools

BOTH = pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
URL, TITLE, QUERY, TEXT = "https://a.example", "Downloads", "newest Ruby", "It is 4.0."
HELLO: Any = [{"role": "user", "content": "What is new?"}]
SEARCH: Any = {"type": "web_search_20250305", "name": "web_search", "max_uses": 8}
TAVILY: dict[str, Any] = {
    "query": QUERY,
    "answer": TEXT,
    "results": [{"title": TITLE, "url": URL, "content": "The newest is 4.0.", "score": 0.9}],
}
OWN: Any = {"own": ["search_tavily"]}
PAIR = {"url": URL, "title": TITLE}


def gemini(*more: dict[str, Any], queries: bool = True) -> dict[str, Any]:
    grounding = {
        "groundingChunks": [{"web": {"uri": URL, "title": TITLE}}],
        "groundingSupports": [{"segment": {"endIndex": 5, "text": "It is"}, "groundingChunkIndices": [0]}],
        **({"webSearchQueries": [QUERY]} if queries else {}),
    }
    content = {"role": "model", "parts": [*more, {"text": TEXT}]}
    candidate = {"index": 0, "content": content, "finishReason": "STOP", "groundingMetadata": grounding}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    return {"responseId": "r1", "modelVersion": "g", "candidates": [candidate], "usageMetadata": usage}


def response() -> dict[str, Any]:
    cited = {"type": "url_citation", **PAIR, "start_index": 0, "end_index": 5}
    action = {"type": "search", "query": QUERY, "queries": [QUERY], "sources": [{"type": "url", "url": URL}]}
    part = {"type": "output_text", "text": TEXT, "annotations": [cited], "logprobs": []}
    output = [
        {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": action},
        {"type": "web_search_call", "id": "ws_2", "status": "completed", "action": {"type": "open_page", "url": URL}},
        {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed", "content": [part]},
    ]
    usage = {"input_tokens": 5, "output_tokens": 3, "total_tokens": 8}
    return {"id": "resp_1", "object": "response", "model": "m", "status": "completed", "output": output, "usage": usage}


def chat() -> dict[str, Any]:
    message = {
        "role": "assistant",
        "content": TEXT,
        "annotations": [{"type": "url_citation", "url_citation": {**PAIR, "start_index": 0, "end_index": 5}}],
    }
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 5, "completion_tokens": 3, "total_tokens": 8}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def message() -> dict[str, Any]:
    found = {"type": "web_search_result", **PAIR, "encrypted_content": "c2VjcmV0", "page_age": None}
    location = {"type": "web_search_result_location", **PAIR, "cited_text": "It is", "encrypted_index": "x"}
    content = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": QUERY}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": [found]},
        {"type": "text", "text": TEXT, "citations": [location]},
    ]
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    return {**head, "stop_sequence": None, "content": content, "usage": {"input_tokens": 5, "output_tokens": 3}}


ENGINES: dict[str, tuple[str, dict[str, Any]]] = {
    "gemini": ("google/gemini-3.5-flash", gemini()),
    "responses": ("openai/gpt-5.4-mini", response()),
    "xai": ("xai/grok-4.5", response()),
    "openrouter": ("openrouter/x/y", chat()),
    "anthropic": ("anthropic/claude-sonnet-4-5", message()),
}


@asynccontextmanager
async def judged(
    model: str, *bodies: dict[str, Any], own: Sequence[str] = ()
) -> AsyncIterator[tuple[Client, Upstream]]:
    """``own``: names of the server's own tools."""
    answers = [*bodies]

    async def script(request: Request, connection: Connection) -> None:
        if request.path == "/search":
            await connection.respond(json.dumps(TAVILY), 200 if TAVILY["results"] else 500)
            return
        body = answers.pop(0) if len(answers) > 1 else answers[0]
        if "streamGenerateContent" in request.path or request.json.get("stream"):
            await connection.stream("text/event-stream")
            await connection.chunk(stream_of(body))
            await connection.end()
        else:
            await connection.respond(body)

    name = model.partition("/")[0].upper()
    suffix = "" if name in ("GOOGLE", "ANTHROPIC") else "/v1"
    upstream = Upstream(script)
    async with upstream.run():
        keys = {f"{name}_API_KEY": "sk-canary-K", f"{name}_BASE_URL": upstream.url + suffix, "MAX_RETRIES": "0"}
        async with run_tools(upstream.port) as made:
            tools = {name: made[name] for name in own}
            async with run_server(make_config(**keys), tools) as server:
                yield server, upstream


async def ask_messages(url: str, stream: bool, **asked: Any) -> Any:
    async with AsyncAnthropic(api_key=CLIENT_ID, base_url=url, max_retries=0) as client:
        if not stream:
            return await client.messages.create(max_tokens=100, **asked)
        async with client.messages.stream(max_tokens=100, **asked) as events:
            return await events.get_final_message()


async def ask_responses(url: str, stream: bool, **asked: Any) -> Any:
    async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{url}/v1", max_retries=0) as client:
        if not stream:
            return await client.responses.create(**asked)
        async with client.responses.stream(**asked) as events:
            seen: list[Any] = [event async for event in events]
        final = seen[-1].response
        done = [event.item for event in seen if event.type == "response.output_item.done"]
        assert [item.id for item in done] == [item.id for item in final.output]
        return final


def check_message(message: Any) -> None:
    """Checks the search, its result and the citation as a client of the Messages API finds them."""
    kinds = [block.type for block in message.content]
    assert sorted(kinds) == ["server_tool_use", "text", "web_search_tool_result"]
    [use] = [block for block in message.content if block.type == "server_tool_use"]
    [found] = [block for block in message.content if block.type == "web_search_tool_result"]
    [text] = [block for block in message.content if block.type == "text"]
    assert use.name == "web_search" and found.tool_use_id == use.id
    [page] = found.content
    assert page.type == "web_search_result" and page.url == URL and page.encrypted_content is not None
    [citation] = text.citations
    assert (citation.type, citation.url, citation.title) == ("web_search_result_location", URL, TITLE)
    assert text.text == TEXT and message.stop_reason == "end_turn"
    assert message.usage.server_tool_use.web_search_requests == 1


@BOTH
@pytest.mark.parametrize("engine", [name for name in ENGINES if name != "anthropic"])
async def test_gw_09_a_search_reaches_a_messages_client_with_result_and_citations(engine: str, stream: bool) -> None:
    model, body = ENGINES[engine]
    async with judged(model, body) as (server, upstream):
        message = await ask_messages(server.url, stream, model=model, messages=HELLO, tools=[SEARCH])
    check_message(message)
    assert "search" in json.dumps(upstream.requests[0].json["tools"]).lower()
    if engine != "openrouter":  # which does not tell the query
        [use] = [block for block in message.content if block.type == "server_tool_use"]
        assert use.input == {"query": QUERY}


@BOTH
@pytest.mark.parametrize("engine", ["gemini", "anthropic"])
async def test_a_search_reaches_a_responses_client_as_an_item_with_citations(engine: str, stream: bool) -> None:
    model, body = ENGINES[engine]
    async with judged(model, body) as (server, _):
        response = await ask_responses(server.url, stream, model=model, input="Hi", tools=[{"type": "web_search"}])
    assert sorted(item.type for item in response.output) == ["message", "web_search_call"]
    [call] = [item for item in response.output if item.type == "web_search_call"]
    assert call.status == "completed" and (call.action.type, call.action.query) == ("search", QUERY)
    [text] = [item for item in response.output if item.type == "message"]
    [annotation] = text.content[0].annotations
    assert response.output_text == TEXT and (annotation.type, annotation.url) == ("url_citation", URL)
    if engine == "gemini":
        assert [source.url for source in call.action.sources] == [URL]


@BOTH
@pytest.mark.parametrize("engine", ["gemini", "responses", "xai", "anthropic"])
async def test_a_search_reaches_a_chat_client_as_annotations(engine: str, stream: bool) -> None:
    model, body = ENGINES[engine]
    asked: Any = {"model": model, "messages": HELLO, "web_search_options": {}}
    async with judged(model, body) as (server, _):
        async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client:
            if stream:
                chunks = [one async for one in await client.chat.completions.create(**asked, stream=True)]
                deltas = [chunk.choices[0].delta.to_dict() for chunk in chunks if chunk.choices]
                text = "".join(delta.get("content") or "" for delta in deltas)
                annotations: Any = [one for delta in deltas for one in delta.get("annotations") or ()]
            else:
                message = (await client.chat.completions.create(**asked)).choices[0].message
                text, annotations = message.content or "", [one.to_dict() for one in message.annotations or ()]
    [annotation] = annotations
    assert text == TEXT and annotation["url_citation"]["url"] == URL


@BOTH
async def test_gemini_s_own_words_on_a_search_are_read(stream: bool) -> None:
    """With functions beside the tool it tells the call as a part, which is signed."""
    called = {"toolCall": {"toolType": "GOOGLE_SEARCH_WEB", "args": {"queries": [QUERY]}, "id": "g1"}}
    body = gemini({"thoughtSignature": "c2ln", **called}, queries=False)
    function = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    async with judged("google/gemini-3.5-flash", body) as (server, _):
        asked = {"model": "google/gemini-3.5-flash", "messages": HELLO, "tools": [SEARCH, function]}
        check_message(await ask_messages(server.url, stream, **asked))


@BOTH
async def test_a_client_that_asks_for_no_search_gets_a_list_of_sources_as_before(stream: bool) -> None:
    async with judged("google/gemini-3.5-flash", gemini()) as (server, _):
        message = await ask_messages(server.url, stream, model="google/gemini-3.5-flash", messages=HELLO)
    assert {block.type for block in message.content} == {"text"}
    assert "Sources given by the engine:" in message.content[-1].text


@pytest.mark.parametrize("next_engine", ["google", "anthropic", "openrouter"])
@BOTH
async def test_gw_10_the_search_goes_back_as_a_text_to_any_engine(stream: bool, next_engine: str) -> None:
    model, body = ENGINES["gemini"]
    async with judged(model, body) as (server, _):
        message = await ask_messages(server.url, stream, model=model, messages=HELLO, tools=[SEARCH])
    turn: Any = {"role": "assistant", "content": [block.to_dict() for block in message.content]}
    model, body = {
        "google": ENGINES["gemini"], "anthropic": ENGINES["anthropic"], "openrouter": ENGINES["openrouter"],
    }[next_engine]  # fmt: skip
    async with judged(model, body) as (server, upstream):
        await ask_messages(server.url, stream, model=model, messages=[*HELLO, turn, *HELLO], tools=[SEARCH])
    sent = upstream.requests[0].json
    text = json.dumps(sent.get("messages") or sent.get("contents"))
    assert QUERY in text and URL in text and TEXT in text and "Searched the web for" in text
    assert "server_tool_use" not in text and "encrypted" not in text


# --- the server's own tools, where the engine has none ---


def calling(*names: str, text: str = "") -> dict[str, Any]:
    """Returns a chat completion that calls tools."""
    arguments = {"web_search": {"query": QUERY}, "web_fetch": {"url": "http://127.0.0.1:1/"}}
    calls = [
        {
            "id": f"call_{n}",
            "type": "function",
            "function": {"name": name, "arguments": json.dumps(arguments.get(name, {}))},
        }
        for n, name in enumerate(names)
    ]
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text or None, "tool_calls": calls},
        "finish_reason": "tool_calls",
    }
    return {**chat(), "choices": [choice]}


def plain() -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": TEXT}, "finish_reason": "stop"}
    return {**chat(), "choices": [choice]}


MODEL = "mistralai/mistral-large-latest"


def sent_to(upstream: Upstream, path: str) -> list[Any]:
    return [request.json for request in upstream.requests if request.path.endswith(path)]


@BOTH
async def test_gw_09_the_server_searches_itself_where_the_engine_cannot(stream: bool) -> None:
    tools = [{**SEARCH, "allowed_domains": ["a.example"]}]
    async with judged(MODEL, calling("web_search", text="I search."), plain(), **OWN) as (server, upstream):
        message = await ask_messages(server.url, stream, model=MODEL, messages=HELLO, tools=tools)
    assert [block.type for block in message.content] == ["text", "server_tool_use", "web_search_tool_result", "text"]
    _, use, found, text = message.content
    assert use.input == {"query": QUERY} and found.tool_use_id == use.id and text.text == TEXT
    assert [(page.url, page.title) for page in found.content] == [(URL, TITLE)]
    assert message.stop_reason == "end_turn" and message.usage.server_tool_use.web_search_requests == 1
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 6)  # of both rounds
    [search] = sent_to(upstream, "/search")
    assert search["query"] == QUERY and search["include_domains"] == ["a.example"]
    first, second = sent_to(upstream, "/chat/completions")
    assert [tool["function"]["name"] for tool in first["tools"]] == ["web_search"]
    assert "The newest is 4.0." in json.dumps(second["messages"])
    # The conversation goes on: the pages are known to the model again, with their texts.
    turn: Any = {"role": "assistant", "content": [block.to_dict() for block in message.content]}
    async with judged(MODEL, plain(), **OWN) as (server, upstream):
        await ask_messages(server.url, stream, model=MODEL, messages=[*HELLO, turn, *HELLO], tools=tools)
    history = json.dumps(sent_to(upstream, "/chat/completions")[0]["messages"])
    assert QUERY in history and URL in history and "The newest is 4.0." in history


@BOTH
async def test_the_server_s_search_reaches_a_responses_client(stream: bool) -> None:
    asked: Any = {"model": MODEL, "input": "Hi", "tools": [{"type": "web_search"}]}
    async with judged(MODEL, calling("web_search"), plain(), **OWN) as (server, _):
        response = await ask_responses(server.url, stream, **asked)
    call, message = response.output
    assert (call.type, call.action.query, [one.url for one in call.action.sources]) == ("web_search_call", QUERY, [URL])
    assert message.type == "message" and response.output_text == TEXT and response.status == "completed"


@BOTH
async def test_the_server_s_search_reaches_a_chat_client_as_annotations(stream: bool) -> None:
    """The field would pass to this engine as it is, which does not know it."""
    asked: Any = {"model": MODEL, "messages": HELLO, "web_search_options": {}}
    async with judged(MODEL, calling("web_search"), plain(), **OWN) as (server, upstream):
        async with AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{server.url}/v1", max_retries=0) as client:
            if stream:
                chunks = [one async for one in await client.chat.completions.create(**asked, stream=True)]
                deltas = [chunk.choices[0].delta.to_dict() for chunk in chunks if chunk.choices]
                annotations: Any = [one for delta in deltas for one in delta.get("annotations") or ()]
                text = "".join(delta.get("content") or "" for delta in deltas)
                assert not any(delta.get("tool_calls") for delta in deltas)
            else:
                message = (await client.chat.completions.create(**asked)).choices[0].message
                text, annotations = message.content or "", [one.to_dict() for one in message.annotations or ()]
                assert not message.tool_calls
    assert text == TEXT and [one["url_citation"]["url"] for one in annotations] == [URL]
    assert "web_search_options" not in sent_to(upstream, "/chat/completions")[0]


@BOTH
async def test_the_client_s_own_call_ends_the_answer_after_the_search(stream: bool) -> None:
    function = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    async with judged(MODEL, calling("web_search", "f"), **OWN) as (server, upstream):
        message = await ask_messages(server.url, stream, model=MODEL, messages=HELLO, tools=[SEARCH, function])
    assert sorted(block.type for block in message.content) == ["server_tool_use", "tool_use", "web_search_tool_result"]
    assert message.stop_reason == "tool_use"
    assert len(sent_to(upstream, "/chat/completions")) == len(sent_to(upstream, "/search")) == 1


async def test_the_search_is_used_as_often_as_the_client_allows() -> None:
    tools = [{**SEARCH, "max_uses": 1}]
    async with judged(MODEL, calling("web_search"), calling("web_search"), plain(), **OWN) as (server, upstream):
        message = await ask_messages(server.url, False, model=MODEL, messages=HELLO, tools=tools)
    results = [block for block in message.content if block.type == "web_search_tool_result"]
    assert len(sent_to(upstream, "/search")) == 1 and len(results) == 2
    assert results[1].content.error_code == "unavailable" and message.content[-1].text == TEXT


async def test_a_page_that_cannot_be_fetched_is_an_error_that_the_model_sees() -> None:
    pytest.importorskip("resiliparse")
    fetch: Any = {"type": "web_fetch_20250910", "name": "web_fetch", "allowed_domains": ["a.example"]}
    async with judged(MODEL, calling("web_fetch"), plain(), own=["get_html_as_text"]) as (server, upstream):
        message = await ask_messages(server.url, False, model=MODEL, messages=HELLO, tools=[fetch])
    kinds = [block.type for block in message.content]
    assert kinds == ["server_tool_use", "web_fetch_tool_result", "text"]
    assert message.content[1].content.error_code == "unavailable"
    assert "may not be fetched" in json.dumps(sent_to(upstream, "/chat/completions")[1]["messages"])


async def test_what_the_server_s_search_does_not_know_is_named() -> None:
    tools = [{**SEARCH, "user_location": {"type": "approximate", "country": "GB"}}]
    body = {"model": MODEL, "max_tokens": 100, "messages": HELLO, "tools": tools}
    async with judged(MODEL, calling("web_search"), plain(), **OWN) as (server, _):
        answer = await server.post("/v1/messages", body, {"Authorization": f"Bearer {CLIENT_ID}"})
        assert answer.status == 200, await answer.body()
        assert answer.headers["X-Dropped-Fields"] == "web_search/user_location"
    async with judged(MODEL, plain()) as (server, _):  # without a search of its own
        answer = await server.post("/v1/messages", body, {"Authorization": f"Bearer {CLIENT_ID}"})
        assert (answer.status, answer.headers["X-Dropped-Fields"]) == (200, "web_search")


async def test_gw_09_a_forced_search_is_run_by_the_server_or_refused() -> None:
    asked: Any = {"model": MODEL, "messages": HELLO, "tools": [SEARCH]}
    choice = {"type": "tool", "name": "web_search"}
    async with judged(MODEL, calling("web_search"), plain(), **OWN) as (server, upstream):
        message = await ask_messages(server.url, True, **asked, tool_choice=choice)
        first, second = sent_to(upstream, "/chat/completions")
    assert message.content[-1].text == TEXT and second["tool_choice"] == "auto"
    assert first["tool_choice"] == {"type": "function", "function": {"name": "web_search"}}
    async with judged(MODEL, plain()) as (server, upstream):
        with pytest.raises(BadRequestError) as refusal:
            await ask_messages(server.url, True, **asked, tool_choice=choice)
    assert "web_search" in refusal.value.message and not upstream.requests


@BOTH
async def test_the_server_searches_for_a_model_that_has_no_search_beside_functions(stream: bool) -> None:
    """Gemini 2.5 takes its own search only without functions."""
    function = {"name": "f", "input_schema": {"type": "object", "properties": {}}}
    part = {"functionCall": {"id": "c1", "name": "web_search", "args": {"query": QUERY}}}
    called = {"index": 0, "content": {"role": "model", "parts": [part]}, "finishReason": "STOP"}
    first = {"responseId": "r0", "modelVersion": "g", "candidates": [called], "usageMetadata": {"promptTokenCount": 5}}
    content = {"role": "model", "parts": [{"text": TEXT}]}
    second = {**first, "candidates": [{"index": 0, "content": content, "finishReason": "STOP"}]}
    model = "google/gemini-2.5-flash"
    async with judged(model, first, second, **OWN) as (server, upstream):
        message = await ask_messages(server.url, stream, model=model, messages=HELLO, tools=[SEARCH, function])
    assert [block.type for block in message.content] == ["server_tool_use", "web_search_tool_result", "text"]
    asked = [request.json for request in upstream.requests if request.path != "/search"]
    assert [tool["name"] for tool in asked[0]["tools"][0]["functionDeclarations"]] == ["web_search", "f"]
    assert len(asked) == 2


@BOTH
async def test_a_gemini_client_s_search_crosses_and_its_sources_come_back(stream: bool) -> None:
    body = {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}], "tools": [{"googleSearch": {}}]}
    method = "streamGenerateContent?alt=sse" if stream else "generateContent"
    headers = {"x-goog-api-key": CLIENT_ID}
    for model, answers, own in (
        ("anthropic/claude-sonnet-4-5", [message()], []),
        (MODEL, [calling("web_search"), plain()], ["search_tavily"]),
    ):
        async with judged(model, *answers, own=own) as (server, upstream):
            answer = await server.post(f"/v1beta/models/{model}:{method}", body, headers)
            raw = (await answer.body()).decode()
        assert answer.status == 200, raw
        assert URL in raw and "groundingChunks" in raw and TEXT in raw and "functionCall" not in raw
        assert "web_search" in json.dumps(upstream.requests[0].json["tools"])


async def test_a_search_that_a_chat_client_sees_by_its_sources_only_is_named() -> None:
    for model, answers, own, named in (
        ("google/gemini-3.5-flash", [gemini()], [], "groundingMetadata"),
        (MODEL, [calling("web_search"), plain()], ["search_tavily"], None),
    ):
        body = {"model": model, "messages": HELLO, "web_search_options": {}}
        async with judged(model, *answers, own=own) as (server, _):
            answer = await server.post("/v1/chat/completions", body, {"Authorization": f"Bearer {CLIENT_ID}"})
            await answer.body()
        assert answer.headers.get("X-Dropped-Fields") == named
