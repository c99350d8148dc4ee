"""``search_tavily``: the web, searched by Tavily with the server's own key.

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

_MOST_TIME: Final = 60.0  # seconds
_MOST_BYTES: Final = 4 * 1024 * 1024  # of an answer
_RESULTS: Final = 5
_SAID: Final = 300  # characters of the service's own words that are passed on


class SearchTavily:
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
        return "Searching the internet…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        asked = {
            "query": arguments["query"],
            "include_answer": True,
            "max_results": _RESULTS,
            "search_depth": "basic",
            "topic": "general",
        }
        headers = {
            "authorization": f"Bearer {self._key}",
            "content-type": "application/json",
            "accept": "application/json",
        }
        request = HttpRequest(method="POST", url=self._url, headers=headers, body=dump_bytes(asked))
        try:
            async with asyncio.timeout(_MOST_TIME), await self._transport.send(request) as reply:
                status, raw = reply.status, await reply.read(_MOST_BYTES)
        except TimeoutError:
            raise ToolFailed(f"The web search did not answer within {_MOST_TIME:g} seconds.") from None
        except LLMError as error:
            raise ToolFailed(f"The web search failed: {error.message}") from None
        try:
            answer = loads(raw)
        except ValueError:
            answer = None
        if not 200 <= status < 300:
            raise ToolFailed(self._refusal(status, answer))
        if not isinstance(answer, dict):
            raise ToolFailed("The web search answered with something that is no JSON object.")
        found: Json = _in_camel_case(answer)
        return found

    def _refusal(self, status: int, answer: Any) -> str:
        match status:
            case 401 | 403:
                return "The web search refuses the key of this server."
            case 429:
                return "The web search is asked too often; wait a little."
            case 432 | 433:  # of the plan, and of pay as you go
                return "The web search has reached the limit of this server's plan."
        said = mask(str(_words(answer)), self._key)[:_SAID]
        return f"The web search failed with status {status}{f': {said}' if said else ''}."


def _words(answer: Any) -> object:
    """``{"detail": {"error": "…"}}``, and what comes near it."""
    for name in ("detail", "error", "message"):
        if isinstance(answer, dict) and name in answer:
            return _words(answer[name])
    return answer if isinstance(answer, str) else ""


def _in_camel_case(value: Any) -> Any:
    match value:
        case dict():
            return {_camel(name): _in_camel_case(one) for name, one in value.items()}
        case list():
            return [_in_camel_case(one) for one in value]
    return value


def _camel(name: str) -> str:
    return re.sub(r"_([a-z0-9])", lambda match: match[1].upper(), name)
