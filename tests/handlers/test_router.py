"""The routes, and that our handlers start with the same state as Tornado's own."""

from __future__ import annotations

from typing import Any

import pytest
from tornado.web import RequestHandler

from handlers import ROUTES
from handlers.base import BaseHandler
from tests.support.harness import CLIENT_ID, make_config, run_server

KNOWN = {"X-ClientId": CLIENT_ID}


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/health", 200),
        ("GET", "/health?a=b", 200),
        ("GET", "/health/", 404),
        ("GET", "//health", 404),
        ("GET", "/%68ealth", 200),
        ("GET", "/he%61%6Cth", 200),
        ("GET", "/%2568ealth", 404),
        ("GET", "/health%2F", 404),
        ("GET", "http://elsewhere.example/health", 200),
        ("GET", "/Health", 404),
        ("GET", "/chatXcss", 404),
        ("GET", "/llm/models/demo", 200),
        ("GET", "/llm/models/de%6Do", 200),
        ("GET", "/llm/models/demo/", 404),
        ("GET", "/llm/models/", 404),
        ("GET", "/llm/models/%ff", 400),
        ("GET", "/v1/models/demo/demo-chat", 200),
        ("GET", "/v1/models/demo%2Fdemo-chat", 200),
        ("POST", "/health", 405),
        ("HEAD", "/health", 200),
        ("HEAD", "/nothing", 404),
        ("HEAD", "/llm/chat", 405),
        ("TRACE", "/health", 405),
        ("GET", "/thread?limit=%32&limit=1", 200),
        ("GET", "/thread?limit=1&limit=x", 400),
        ("GET", "/health?" + "a&" * 998 + "a", 200),
        ("GET", "/health?" + "a&" * 1000 + "a", 400),
    ],
)
async def test_only_known_paths_have_a_handler(method: str, path: str, status: int) -> None:
    async with run_server(make_config()) as server:
        answer = await server.request(method, path, None, KNOWN)
    assert answer.status == status


def test_no_path_is_in_the_table_twice() -> None:
    assert len({path for path, _, _ in ROUTES}) == len(ROUTES)


def begun(handler_class: type[RequestHandler]) -> dict[str, Any]:
    """Returns the attributes of a handler of this class when its answer starts."""
    handler = handler_class.__new__(handler_class)
    handler.request_id = ""  # type: ignore[attr-defined]
    handler.clear()
    return {name: value for name, value in vars(handler).items() if name != "request_id"}


def test_a_handler_starts_with_the_same_state_as_tornado_s() -> None:
    """If a new Tornado sets more attributes, ours has to set them too."""
    ours, tornado_s = begun(BaseHandler), begun(RequestHandler)
    assert {**ours, "_headers": None} == {**tornado_s, "_headers": None}
    assert ours["_headers"].keys() > {*tornado_s["_headers"]} - {"Server"}
