"""The web search tool against a server on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.tools.base import ToolFailed
from tests.support.harness import Connection, Request, Upstream
from tests.support.tool_server import run_tools

# --- search ---

FOUND = {
    "query": "q", "answer": "It is so.", "images": [], "response_time": 1.2, "request_id": "r",
    "results": [{"title": "T", "url": "https://a", "content": "c", "score": 0.9, "raw_content": None, "published_date": "2026"}],
}  # fmt: skip


async def search(status: int, body: Any) -> tuple[Any, Request]:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(body if isinstance(body, str) else json.dumps(body), status)

    async with Upstream(script).run() as upstream, run_tools(upstream.port) as made:
        try:
            result = await made["search_tavily"]({"query": "q"})
        except ToolFailed as failed:
            result = str(failed)
    return result, upstream.requests[0]


async def test_request_and_result_have_the_format_of_the_older_server() -> None:
    result, request = await search(200, FOUND)
    assert (request.method, request.path) == ("POST", "/search")
    assert request.headers["Authorization"] == "Bearer tvly-of-the-server"
    assert request.json == {
        "query": "q",
        "include_answer": True,
        "max_results": 5,
        "search_depth": "basic",
        "topic": "general",
    }
    assert result == {
        "query": "q", "answer": "It is so.", "images": [], "responseTime": 1.2, "requestId": "r",
        "results": [{"title": "T", "url": "https://a", "content": "c", "score": 0.9, "rawContent": None, "publishedDate": "2026"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"detail": {"error": "Unauthorized: tvly-of-the-server"}}, "refused the key"),
        (429, {"detail": {"error": "slow"}}, "rate limit"),
        (432, {}, "limit of this server's plan"),
        (433, "", "limit of this server's plan"),
        (400, {"detail": {"error": "bad tvly-of-the-server"}}, "status 400: bad ***."),
        (400, {"detail": [{"loc": 1}]}, "status 400."),
        (500, "<html>", "status 500."),
        (200, "[]", "not a JSON object"),
        (200, "<html>", "not a JSON object"),
    ],
)
async def test_a_failed_search_reports_the_reason_without_the_key(status: int, body: Any, reason: str) -> None:
    result, _ = await search(status, body)
    assert reason in result and "tvly" not in result
