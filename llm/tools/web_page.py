"""The tool ``get_html_as_text``: returns a web page as text."""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from llm.chat.request import ToolSpec
from llm.tools.base import ToolFailed, ToolState
from llm.tools.charset import decode_text
from llm.tools.fetcher import Fetcher, FetchResult
from llm.wire.json_codec import Json

MAX_CHARACTERS: Final = 100_000  # characters of text for the model, about 25,000 tokens

_EXTRACT_TIMEOUT: Final = 10.0  # seconds to convert a page to text
_MAX_WORKERS: Final = 2  # pages converted concurrently
_WORKER: Final = Path(__file__).with_name("html_worker.py")
_LIBRARY: Final = "resiliparse"

_HTML: Final = frozenset({"text/html", "application/xhtml+xml"})
_TEXT: Final = re.compile(r"text/.+|application/(.+\+)?(json|xml)|application/(x-)?(javascript|ndjson|yaml)")


class GetHtmlAsText:
    """Downloads HTML and other text, and returns it as plain text."""

    spec = ToolSpec(
        "get_html_as_text",
        "Downloads a web page and returns its text. Works for HTML, plain text, JSON and XML.",
        {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "The http:// or https:// URL of the page"}},
            "required": ["url"],
            "additionalProperties": False,
        },
        executor="server",
    )
    paid = False

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self._workers = asyncio.Semaphore(_MAX_WORKERS)

    @staticmethod
    def is_available() -> bool:
        """Returns True if the required package is installed."""
        return find_spec(_LIBRARY) is not None

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """Returns the ``status`` text for people."""
        return "Downloading content…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        """Returns the text of the page. Raises ``ToolFailed``."""
        fetched = await self._fetcher.fetch(str(arguments["url"]), _is_readable)
        text = decode_text(fetched.body, fetched.charset)
        if _is_html(fetched, text):
            async with self._workers:
                text = await _extract_text(text)
        return {"content": shorten_text(text)}


def shorten_text(text: str) -> str:
    """Cuts a text to ``MAX_CHARACTERS`` and adds a note about the rest."""
    if len(text) <= MAX_CHARACTERS:
        return text
    return f"{text[:MAX_CHARACTERS]}\n\n[The first {MAX_CHARACTERS} of {len(text)} characters.]"


def _is_readable(content_type: str) -> bool:
    return not content_type or content_type in _HTML or _TEXT.fullmatch(content_type) is not None


def _is_html(fetched: FetchResult, text: str) -> bool:
    if fetched.content_type:
        return fetched.content_type in _HTML
    if "\0" in text:
        raise ToolFailed(f"{fetched.host} sent data that is not text.")
    return text.lstrip().startswith("<")


async def _extract_text(html: str) -> str:
    """Converts HTML in a process of its own. Raises ``ToolFailed``. Cancelling kills the process at once."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-I", str(_WORKER), env={}, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_EXTRACT_TIMEOUT):
            text, _ = await process.communicate(html.encode("utf-8", "replace"))
    except TimeoutError:
        raise ToolFailed("The page is too complex to be converted to text.") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ToolFailed("The page could not be converted to text.")
    return text.decode()
