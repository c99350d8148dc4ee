"""Refusals, interrupted answers, pictures and sources, as the official clients of every dialect read them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any

import ollama
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI

from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.one_answer import stream_of

BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
HELLO: Any = [{"role": "user", "content": "Hello"}]
GOOGLE, ANTHROPIC = "google/gemini-4-argon", "anthropic/claude-opus-5-5"


def gemini(finish: str, *parts: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    candidate = {"index": 0, "content": {"role": "model", "parts": [*parts]}, "finishReason": finish, **more}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    return {"responseId": "r1", "modelVersion": "g", "candidates": [candidate], "usageMetadata": usage}


REFUSED: dict[str, Any] = {
    "id": "msg_1",
    "type": "message",
    "role": "assistant",
    "model": "m",
    "content": [],
    "stop_reason": "refusal",
    "stop_sequence": None,
    "stop_details": {"type": "refusal", "category": "cyber", "explanation": "Because X."},
    "usage": {"input_tokens": 1, "output_tokens": 1},
}
BLOCKED = gemini("MODEL_ARMOR", finishMessage="Because X.")
LONG = [gemini("CONTINUATION", {"text": "first "}, continuationToken="dA=="), gemini("STOP", {"text": "half"})]
PICTURE = gemini("STOP", {"text": "Here:"}, {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}})
GROUNDED = gemini(
    "STOP",
    {"text": "Yes."},
    groundingMetadata={"groundingChunks": [{"maps": {"uri": "https://e.example", "title": "T"}}]},
)


@asynccontextmanager
async def serve(model: str, bodies: Sequence[Mapping[str, Any]]) -> AsyncIterator[str]:
    """Runs the server in front of a provider that gives these answers, and yields its address."""
    rest = [*bodies]

    async def script(request: Request, connection: Connection) -> None:
        body = rest.pop(0)
        if "streamGenerateContent" in request.path or json.loads(request.body).get("stream") is True:
            await connection.stream()
            await connection.chunk(stream_of(body))
            await connection.end()
        else:
            await connection.respond(body)

    upstream = Upstream(script)
    name = model.partition("/")[0].upper()
    async with upstream.run():
        settings = {f"{name}_API_KEY": "sk-canary-x", f"{name}_BASE_URL": upstream.url}
        async with run_server(make_config(**settings)) as server:
            yield server.url
    assert not rest


async def ask_chat(model: str, bodies: Sequence[Mapping[str, Any]], stream: bool) -> Any:
    async with (
        serve(model, bodies) as url,
        AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{url}/v1", max_retries=0) as client,
    ):
        if not stream:
            return (await client.chat.completions.create(model=model, messages=HELLO)).choices[0]
        async with client.chat.completions.stream(model=model, messages=HELLO) as events:
            return (await events.get_final_completion()).choices[0]


async def ask_responses(model: str, bodies: Sequence[Mapping[str, Any]], stream: bool) -> Any:
    async with (
        serve(model, bodies) as url,
        AsyncOpenAI(api_key=CLIENT_ID, base_url=f"{url}/v1", max_retries=0) as client,
    ):
        if not stream:
            return await client.responses.create(model=model, input="Hello")
        ends = ("response.completed", "response.incomplete")
        events: list[Any] = [
            event async for event in await client.responses.create(model=model, input="Hello", stream=True)
        ]
        return next(event.response for event in events if event.type in ends)


async def ask_messages(model: str, bodies: Sequence[Mapping[str, Any]], stream: bool) -> Any:
    async with serve(model, bodies) as url, AsyncAnthropic(api_key=CLIENT_ID, base_url=url, max_retries=0) as client:
        asked: Any = {"model": model, "max_tokens": 100, "messages": HELLO}
        if not stream:
            return await client.messages.create(**asked)
        async with client.messages.stream(**asked) as events:
            return await events.get_final_message()


async def ask_ollama(model: str, bodies: Sequence[Mapping[str, Any]], stream: bool) -> tuple[str, Any]:
    async with serve(model, bodies) as url:
        client = ollama.AsyncClient(host=url, headers={"Authorization": f"Bearer {CLIENT_ID}"})
        try:
            if not stream:
                last = await client.chat(model=model, messages=HELLO)
                return last.message.content or "", last
            parts = [part async for part in await client.chat(model=model, messages=HELLO, stream=True)]
        finally:
            await client._client.aclose()
        return "".join(part.message.content or "" for part in parts), parts[-1]


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize(("model", "body"), [(ANTHROPIC, REFUSED), (GOOGLE, BLOCKED)], ids=["claude", "gemini"])
async def test_nw_03_nw_44_the_official_clients_read_why_an_answer_was_refused(
    model: str, body: dict[str, Any], stream: bool
) -> None:
    if stream:  # the helper of chat streams raises for this end, as it does for OpenAI's own answers
        with pytest.raises(Exception, match="content filter"):
            await ask_chat(model, [body], stream)
    else:
        choice = await ask_chat(model, [body], stream)
        assert (choice.finish_reason, choice.message.refusal) == ("content_filter", "Because X.")
    response = await ask_responses(model, [body], stream)
    [part] = response.output[0].content
    assert (part.type, part.refusal) == ("refusal", "Because X.")
    assert (response.status, response.incomplete_details.reason) == ("incomplete", "content_filter")
    message = await ask_messages(model, [body], stream)
    assert (message.stop_reason, message.stop_details.explanation) == ("refusal", "Because X.")
    assert message.stop_details.category == ("cyber" if model == ANTHROPIC else "MODEL_ARMOR")
    text, last = await ask_ollama(model, [body], stream)
    assert (text, last.done_reason) == ("Because X.", "content_filter")


@pytest.mark.parametrize("stream", BOTH)
async def test_nw_01_the_official_clients_read_an_interrupted_answer_as_one(stream: bool) -> None:
    choice = await ask_chat(GOOGLE, LONG, stream)
    assert (choice.message.content, choice.finish_reason) == ("first half", "stop")
    response = await ask_responses(GOOGLE, LONG, stream)
    assert (response.output_text, len(response.output), response.usage.input_tokens) == ("first half", 1, 10)
    message = await ask_messages(GOOGLE, LONG, stream)
    assert [block.text for block in message.content] == ["first half"] and message.usage.output_tokens == 6
    text, last = await ask_ollama(GOOGLE, LONG, stream)
    assert (text, last.prompt_eval_count, last.eval_duration > 0) == ("first half", 10, True)


@pytest.mark.parametrize("stream", BOTH)
async def test_nw_25_nw_43_the_official_clients_read_pictures_and_sources(stream: bool) -> None:
    message = await ask_messages(GOOGLE, [PICTURE], stream)
    assert [block.type for block in message.content] == ["text", "text"]
    assert "which this API cannot carry" in message.content[1].text
    message = await ask_messages(GOOGLE, [GROUNDED], stream)
    assert message.content[0].text == "Yes." and "https://e.example" in message.content[1].text
    response = await ask_responses(GOOGLE, [PICTURE], stream)
    assert response.output[1].type == "image_generation_call" and response.output[1].result == "iVBORw0KGgo="
    response = await ask_responses(GOOGLE, [GROUNDED], stream)
    assert response.output[0].content[0].annotations[0].url == "https://e.example"
    choice = await ask_chat(GOOGLE, [GROUNDED], stream)
    assert choice.message.annotations[0].url_citation.url == "https://e.example"
    text, _ = await ask_ollama(GOOGLE, [GROUNDED], stream)
    assert text.endswith("- [T](https://e.example)")
