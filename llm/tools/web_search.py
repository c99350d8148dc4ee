"""The tool ``search_tavily``: searches the web with Tavily and the server's own key.

Wire: https://docs.tavily.com/documentation/api-reference/endpoint/search
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final

from llm.chat.request import ToolSpec
from llm.errors import LLMError
from llm.log import mask
from llm.tools.base import ToolFailed, ToolState
from llm.transport.interface import HttpRequest, Transport
from llm.wire.json_codec import Json, dump_bytes, loads

_TIMEOUT: Final = 60.0  # seconds
_MAX_BYTES: Final = 4 * 1024 * 1024  # bytes of a response
_MAX_RESULTS: Final = 5
_DOMAINS: Final = ("include_domains", "exclude_domains")  # set by this server only, not by the model
_MAX_DETAIL: Final = 300  # characters of Tavily's error message that are passed on


class SearchTavily:
    """Searches the web with Tavily."""

    spec = ToolSpec(
        "search_tavily",
        "Searches the web and returns an answer with its sources: title, url and content of the best pages.",
        {
            "type": "object",
            "properties": {"query": {"type": "string", "description": "What to search for"}},
            "required": ["query"],
            "additionalProperties": False,
        },
        executor="server",
    )
    paid = True

    def __init__(self, transport: Transport, base_url: str, key: str) -> None:
        self._transport = transport
        self._url = f"{base_url}/search"
        self._key = key

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """Returns the ``status`` text for people."""
        return "Searching the internet…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        """Returns Tavily's response with its field names in camelCase. Raises ``ToolFailed``."""
        body: dict[str, Json] = {
            "query": arguments["query"],
            "include_answer": True,
            "max_results": _MAX_RESULTS,
            "search_depth": "basic",
            "topic": "general",
        }
        body |= {name: arguments[name] for name in _DOMAINS if name in arguments}
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": "application/json",
            "accept": "application/json",
        }
        request = HttpRequest(method="POST", url=self._url, headers=headers, body=dump_bytes(body))
        try:
            async with asyncio.timeout(_TIMEOUT), await self._transport.send(request) as reply:
                status, raw = reply.status, await reply.read(_MAX_BYTES)
        except TimeoutError:
            raise ToolFailed(f"The web search did not answer within {_TIMEOUT:g} seconds.") from None
        except LLMError as error:
            raise ToolFailed(f"The web search failed: {error.message}") from None
        try:
            answer = loads(raw)
        except ValueError:
            answer = None
        if not 200 <= status < 300:
            raise ToolFailed(self._describe_failure(status, answer))
        if not isinstance(answer, dict):
            raise ToolFailed("The response of the web search is not a JSON object.")
        found: Json = _rename_fields(answer)
        return found

    def _describe_failure(self, status: int, answer: Any) -> str:
        match status:
            case 401 | 403:
                return "The web search refused the key of this server."
            case 429:
                return "The web search has reached its rate limit; try again later."
            case 432 | 433:  # limits of the plan and of pay-as-you-go
                return "The web search has reached the limit of this server's plan."
        detail = mask(str(_find_message(answer)), self._key)[:_MAX_DETAIL]
        return f"The web search failed with status {status}{f': {detail}' if detail else ''}."


def _find_message(answer: Any) -> object:
    """Returns the message of ``{"detail": {"error": "…"}}`` and similar bodies, else ""."""
    for name in ("detail", "error", "message"):
        if isinstance(answer, dict) and name in answer:
            return _find_message(answer[name])
    return answer if isinstance(answer, str) else ""


def _rename_fields(value: Any) -> Any:
    """Returns a JSON value with its field names in camelCase."""
    match value:
        case dict():
            return {_to_camel_case(name): _rename_fields(item) for name, item in value.items()}
        case list():
            return [_rename_fields(item) for item in value]
    return value


def _to_camel_case(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)
