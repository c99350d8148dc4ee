"""The title generated from a model's answer."""

from __future__ import annotations

import pytest

from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.tool_rounds import TOOLS
from tests.support.wires import WIRES

# --- titles ---


@pytest.mark.parametrize(
    "said", ['"A Cat on a Mat"', "## A Cat on a Mat\n", "\n**A Cat on a Mat**\nBecause…", "Title: A Cat on a Mat"]
)
async def test_a_title_is_cleaned_to_a_few_words(said: str) -> None:
    async def script(request: Request, connection: Connection) -> None:
        choice = {"index": 0, "message": {"role": "assistant", "content": said}, "finish_reason": "stop"}
        await connection.respond({"id": "1", "object": "chat.completion", "model": "m", "choices": [choice]})

    upstream = Upstream(script)
    messages = [
        {"role": "system", "content": "Be nice."},
        {"role": "user", "content": "Draw", "attachment": {"mimeType": "image/png", "contents": "AAAA"}},
        {"role": "assistant", "content": "A cat on a mat."},
    ]
    async with upstream.run(), run_server(make_config(**WIRES["openai"].environ(upstream)), tools=TOOLS) as s:
        answer = await s.post("/llm/title", {"engine": "openai", "model": "gpt-4o", "messages": messages})
        assert (answer.status, await answer.json()) == (200, {"title": "A Cat on a Mat"})
        for body in ({}, {"engine": "openai", "model": "m"}, {"engine": "openai", "model": "m", "messages": []}):
            assert (await s.post("/llm/title", body)).status == 400
        keyless = await s.post("/llm/title", {"engine": "openai", "model": "m", "messages": messages}, {})
        assert keyless.status == 401
    (request,) = upstream.requests
    assert not request.json.get("stream") and "tools" not in request.json
    assert [m["role"] for m in request.json["messages"]] == ["system", "user", "assistant", "user"]
    assert "AAAA" not in request.body.decode()
