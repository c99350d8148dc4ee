"""An answer that is longer than one request may give: Gemini interrupts it, and the server goes on by the token."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from llm.dialects.registry import CLIENT_DIALECTS
from llm.engines.engine import Target
from llm.engines.records import ENGINES
from llm.upstream.translate import write_engine_request
from tests.support.field_cases import field_case
from tests.support.harness import CLIENT, Connection, Request, Upstream, make_config, run_server
from tests.support.one_answer import CLIENTS, Seen, ask, sse
from tests.support.threads import create_thread

BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
MODEL = "google/gemini-4-argon"


def answer(text: str, token: str | None, prompt: int = 5, output: int = 100, **part: Any) -> dict[str, Any]:
    content = {"role": "model", "parts": [{"text": text, **part}] if text else []}
    candidate: dict[str, Any] = {"index": 0, "content": content, "finishReason": "CONTINUATION" if token else "STOP"}
    if token:
        candidate["continuationToken"] = token
    usage = {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output}
    return {"responseId": "r1", "modelVersion": "g", "candidates": [candidate], "usageMetadata": usage}


def read_text(client: str, seen: Seen) -> tuple[str, str]:
    """Returns the text and the reasoning of an answer."""
    text = thought = ""
    for one in seen.objects:
        match client:
            case "native":
                text += one.get("content", "") if one["type"] == "text" else ""
                text += one["text"] if one["type"] == "content" else ""
                thought += one["text"] if one["type"] == "reasoning" else one.get("reasoning", "")
            case "openai-chat":
                for choice in one["choices"]:
                    piece = choice.get("message") or choice.get("delta") or {}
                    text += piece.get("content") or ""
                    thought += piece.get("reasoning_content") or ""
            case "openai-responses":
                if one.get("type") == "response.output_text.delta":
                    text += one["delta"]
                for item in one.get("output", ()):
                    text += "".join(part["text"] for part in item.get("content", ()))
                thought += "".join(p["text"] for i in one.get("output", ()) for p in i.get("summary", ()))
            case "anthropic":
                for block in one.get("content", ()):
                    text += block.get("text", "")
                    thought += block.get("thinking", "")
                delta = one.get("delta", {})
                text += delta.get("text", "")
                thought += delta.get("thinking", "")
            case "ollama":
                text += one["message"]["content"]
            case _:
                text += one["response"]
    return text, thought


def counts(seen: Seen) -> set[int]:
    """Returns every number in the answer."""
    return {int(word) for word in "".join(c if c.isdigit() else " " for c in seen.text).split()}


THREE = [
    answer("Once upon a ti", "dDE=", 5, 100),
    answer("me there was", "dDI=", 105, 90),
    answer(" a fox.", None, 195, 7),
]


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
async def test_nw_01_an_interrupted_answer_goes_on_by_its_token(client: str, stream: bool) -> None:
    seen = await ask(client, MODEL, THREE, stream=stream)
    assert read_text(client, seen)[0] == "Once upon a time there was a fox."
    assert {305, 197} <= counts(seen)  # tokens of all three requests
    first, second, third = (request.json for request in seen.requests)
    assert "continuationToken" not in first
    assert second == {**first, "continuationToken": "dDE="} and third == {**first, "continuationToken": "dDI="}
    assert len({request.path for request in seen.requests}) == 1
    assert "CONTINUATION" not in seen.text and "stop" in seen.text + "stop" * (client == "openai-responses")


@pytest.mark.parametrize("stream", BOTH)
async def test_nw_01_the_parts_that_were_cut_in_two_are_one_again(stream: bool) -> None:
    bodies = [
        answer("Let me th", "dDE=", thought=True),
        answer("ink.", "dDI=", thought=True, thoughtSignature="c2ln"),
        answer("A", "dDM="),
        answer("B", None),
    ]
    seen = await ask("anthropic", MODEL, bodies, stream=stream, thinking={"type": "adaptive"})
    assert read_text("anthropic", seen) == ("AB", "Let me think.")
    if stream:
        starts = [one["content_block"]["type"] for one in seen.objects if one["type"] == "content_block_start"]
        assert [one["type"] for one in seen.objects].count("message_start") == 1
    else:
        starts = [block["type"] for block in seen.whole["content"]]
    assert starts == ["thinking", "text"]


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("name", ["nw-01", "nw-02"])
async def test_field_cases_nw_01_nw_02_of_interrupted_answers(name: str, stream: bool) -> None:
    """The provider repeats one token: it would go on forever, so the answer ends as cut."""
    case = field_case(name)
    asked = {**case["request"]}
    seen = await ask(
        case["client_dialect"], asked.pop("model"), case["provider_response"]["body"], stream=stream, **asked
    )
    assert len(seen.requests) == 2 and seen.requests[1].json["continuationToken"] == "dG9r"
    assert '"length"' in seen.text or '"max_tokens"' in seen.text
    assert {10, 65536} <= counts(seen)


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("most", [0, 2])
async def test_the_number_of_requests_is_limited(most: int, client: str, stream: bool) -> None:
    bodies = [answer(str(n), f"dD{n}=") for n in range(9)]
    seen = await ask(client, MODEL, bodies, stream=stream, environ={"MAX_CONTINUATIONS": str(most)})
    assert len(seen.requests) == most + 1 and read_text(client, seen)[0] == "012"[: most + 1]
    assert any(word in seen.text for word in ('"length"', '"max_tokens"', '"max_output_tokens"'))


@pytest.mark.parametrize("stream", BOTH)
async def test_an_interruption_without_a_token_is_a_cut_answer(stream: bool) -> None:
    body = answer("a", "x")
    del body["candidates"][0]["continuationToken"]
    seen = await ask("openai-chat", MODEL, body, stream=stream)
    assert len(seen.requests) == 1 and '"finish_reason": "length"' in seen.text


@pytest.mark.parametrize("stream", BOTH)
async def test_a_call_and_a_picture_behind_an_interruption_are_parts_of_the_answer(stream: bool) -> None:
    call = answer("", None)
    call["candidates"][0]["content"]["parts"] = [
        {"inlineData": {"mimeType": "image/png", "data": "RklOQUw="}},
        {"functionCall": {"id": "c1", "name": "f", "args": {"x": 1}}},
    ]
    seen = await ask("openai-chat", MODEL, [answer("Hm", "dDE="), call], stream=stream)
    assert "RklOQUw=" in seen.text and '"tool_calls"' in seen.text and read_text("openai-chat", seen)[0] == "Hm"


@pytest.mark.parametrize("fails", ["503", "cut"])
@pytest.mark.parametrize("stream", BOTH)
async def test_a_later_request_is_retried_before_its_first_byte_only(stream: bool, fails: str) -> None:
    bodies: list[Any] = [THREE[0], fails, THREE[1], THREE[2]]
    if fails == "cut":
        bodies[1:2] = []

    async def script(request: Request, connection: Connection) -> None:
        body: Any = bodies.pop(0)
        if body == "503":
            await connection.respond({"error": {"code": 503, "message": "Busy", "status": "UNAVAILABLE"}}, 503)
        elif fails == "cut" and body is THREE[2]:
            await connection.stream()
            await connection.chunk(sse({**body, "candidates": [{"content": {"parts": [{"text": " a"}]}}]}))
            connection.cut()
        elif stream:
            await connection.stream()
            await connection.chunk(sse(body))
            await connection.end()
        else:
            await connection.respond(body)

    upstream = Upstream(script)
    async with (
        upstream.run(),
        run_server(make_config(GOOGLE_API_KEY="sk-canary-G", GOOGLE_BASE_URL=upstream.url)) as server,
    ):
        base = {"model": MODEL, "messages": [{"role": "user", "content": "Hi"}], "stream": stream}
        got = await server.post(
            "/v1/chat/completions", base, {**CLIENT, "Authorization": f"Bearer {CLIENT['X-ClientId']}"}
        )
        raw = (await got.body()).decode()
    if fails == "503":
        assert len(upstream.requests) == 4 and "error" not in raw
        assert "me there was" in raw and " a fox." in raw
    else:
        assert len(upstream.requests) == 3 and '"error"' in raw


@pytest.mark.parametrize("limit", [32_768, 32_769, 65_536])
@pytest.mark.parametrize("client", CLIENTS)
async def test_nw_07_a_long_answer_is_requested_as_a_stream(client: str, limit: int) -> None:
    limits: dict[str, dict[str, Any]] = {
        "native": {"options": {"maxTokens": limit}},
        "openai-chat": {"max_tokens": limit},
        "openai-responses": {"max_output_tokens": limit},
        "anthropic": {"max_tokens": limit},
    }
    fields = limits.get(client, {"options": {"num_predict": limit}})
    seen = await ask(client, MODEL, [answer("first ", "dDE="), answer("half", None)], stream=False, **fields)
    method = "generateContent" if limit == 32_768 else "streamGenerateContent?alt=sse"
    assert {request.path for request in seen.requests} == {f"/v1beta/models/gemini-4-argon:{method}"}
    assert all(request.json["generationConfig"]["maxOutputTokens"] == limit for request in seen.requests)
    assert read_text(client, seen)[0] == "first half" and len(seen.objects) == 1


async def test_nw_07_the_field_case_is_requested_as_a_stream_and_answered_whole() -> None:
    case = field_case("nw-07")
    asked = {**case["request"]}
    seen = await ask("openai-chat", asked.pop("model"), case["provider_response"]["body"], stream=False, **asked)
    assert seen.whole["choices"][0]["message"]["content"] == "first half"
    assert seen.whole["choices"][0]["finish_reason"] == "stop"
    assert "streamGenerateContent" in seen.requests[0].path


async def test_an_interrupted_answer_in_a_thread_is_stored_as_one(tmp_path: Path) -> None:
    bodies: Sequence[dict[str, Any]] = [*THREE, answer("Yes.", None)]
    rest: list[Any] = [*bodies]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(rest.pop(0))

    upstream = Upstream(script)
    async with (
        upstream.run(),
        run_server(
            make_config(GOOGLE_API_KEY="sk-canary-G", GOOGLE_BASE_URL=upstream.url, DATA_DIR=str(tmp_path))
        ) as server,
    ):
        thread = await create_thread(server)
        base = {"engine": "google", "model": "gemini-4-argon", "stream": False, "tools": False, "thread": thread}
        for prompt in ("Tell me a story", "Again?"):
            await (await server.post("/llm/chat", {**base, "prompt": prompt})).body()
    contents = json.loads(upstream.requests[-1].body)["contents"]
    assert contents[1] == {"role": "model", "parts": [{"text": "Once upon a time there was a fox."}]}


@pytest.mark.parametrize(
    ("model", "kept"),
    [
        ("gemini-2.5-flash", False),
        ("gemini-3-pro-preview", False),
        ("models/gemini-3.5-flash", False),
        ("gemini-4-argon", True),
        ("gemini-flash-latest", True),
        ("gemini-10-x", True),
    ],
)
def test_a_request_is_kept_only_for_a_model_that_may_interrupt_its_answer(model: str, kept: bool) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": "Hi"}]}
    request = CLIENT_DIALECTS["openai-chat"].read_request(body)
    target = Target(engine=ENGINES["google"], model=model, key="k")
    assert write_engine_request(request, target).may_continue is kept
