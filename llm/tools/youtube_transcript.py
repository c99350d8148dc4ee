"""The tool ``get_youtube_transcript``: returns the captions of a video as text.

YouTube changes the way to its captions often, so the package ``youtube-transcript-api`` is used for it. It does no
networking here: it runs in a thread, and each of its requests is passed to the event loop, where ``Fetcher`` sends it
under its own rules. Cancelling closes the connection at once, and the thread ends with its request.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Mapping
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any, Final
from urllib.parse import quote, urlsplit

from llm.chat.request import ToolSpec
from llm.tools.base import ToolFailed, ToolState
from llm.tools.fetcher import FETCH_TIMEOUT, Fetcher, FetchResult
from llm.tools.web_page import shorten_text
from llm.wire.json_codec import Json, dump_bytes, loads

_BASE_URL: Final = "https://www.youtube.com"
_LIBRARY: Final = "youtube_transcript_api"
_MAX_THREADS: Final = 4  # transcripts at a time
_VIDEO: Final = re.compile(r"(?:[?&]v=|youtu\.be/|/embed/|/v/|/shorts/|/live/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")

# Messages for the errors of the library, by class name.
_MESSAGES: Final = {
    "TranscriptsDisabled": "The video has no captions.",
    "NoTranscriptFound": "The video has no captions.",
    "VideoUnavailable": "There is no such video.",
    "InvalidVideoId": "There is no such video.",
    "AgeRestricted": "The video is age-restricted and needs a signed-in user.",
    "IpBlocked": "YouTube refuses requests from this server for now.",
    "RequestBlocked": "YouTube refuses requests from this server for now.",
}


class GetYoutubeTranscript:
    """Downloads transcripts. ``base_url`` replaces YouTube's own address, for tests."""

    spec = ToolSpec(
        "get_youtube_transcript",
        "Returns title, channel and transcript of a YouTube video.",
        {
            "type": "object",
            "properties": {"url": {"type": "string", "description": "The URL of the video"}},
            "required": ["url"],
            "additionalProperties": False,
        },
        executor="server",
    )
    paid = False

    def __init__(self, fetcher: Fetcher, base_url: str = _BASE_URL) -> None:
        self._fetcher = fetcher
        self._base_url = base_url
        # Its own threads: those of the loop are needed for name look-ups, which these threads wait for.
        self._threads = ThreadPoolExecutor(_MAX_THREADS, "transcript")

    @staticmethod
    def is_available() -> bool:
        """Returns True if the required package is installed."""
        return find_spec(_LIBRARY) is not None

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        """Returns the ``status`` text for people."""
        return "Downloading transcript…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        """Returns title, channel and transcript of the video. Raises ``ToolFailed``."""
        found = _VIDEO.search(str(arguments["url"]))
        if found is None:
            raise ToolFailed("The URL is not that of a YouTube video.")
        content = await self._load_captions(found[1])
        return {**await self._load_title(found[1]), "content": shorten_text(content)}

    async def _load_captions(self, video: str) -> str:
        loop = asyncio.get_running_loop()
        session = _Session(lambda *request: asyncio.run_coroutine_threadsafe(self._fetch(*request), loop))
        try:
            async with asyncio.timeout(FETCH_TIMEOUT):
                return await loop.run_in_executor(self._threads, _read_captions, video, session)
        except TimeoutError:
            raise ToolFailed(f"YouTube did not send the captions within {FETCH_TIMEOUT:g} seconds.") from None
        finally:
            session.close()

    async def _load_title(self, video: str) -> dict[str, Json]:
        """Returns title and channel by oEmbed; nothing if that fails."""
        watch = quote(f"{_BASE_URL}/watch?v={video}", safe="")
        try:
            fetched = await self._fetch(f"{_BASE_URL}/oembed?format=json&url={watch}", None, {})
            about = loads(fetched.body)
        except (ToolFailed, ValueError):
            return {}
        names = {"title": "title", "channel": "author_name"}
        return {ours: about[its] for ours, its in names.items() if isinstance(about, dict) and its in about}

    async def _fetch(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> FetchResult:
        """Sends a request of the library, to YouTube only: its URLs come from YouTube's responses."""
        host = urlsplit(url).hostname or ""
        if not (host == "youtube.com" or host.endswith(".youtube.com")):
            raise ToolFailed("The captions are not on a host of YouTube.")
        if url.startswith(f"{_BASE_URL}/"):
            url = self._base_url + url.removeprefix(_BASE_URL)
        return await self._fetcher.fetch(url, lambda content_type: True, body=body, headers=headers)


def _read_captions(video: str, session: _Session) -> str:
    """Returns the text of the first captions in the list; manual ones come before automatic ones."""
    from youtube_transcript_api import CouldNotRetrieveTranscript, YouTubeTranscriptApi

    api = YouTubeTranscriptApi(http_client=session)  # type: ignore[arg-type]  # implements the part of a session that the library uses
    try:
        for transcript in api.list(video):
            return " ".join(piece.text.replace("\n", " ") for piece in transcript.fetch())
    except CouldNotRetrieveTranscript as error:
        raise ToolFailed(_MESSAGES.get(type(error).__name__, "YouTube does not provide the captions.")) from None
    except (ToolFailed, CancelledError):
        raise
    except Exception:  # an unexpected response can cause any exception in the library
        raise ToolFailed("The response of YouTube could not be read.") from None
    raise ToolFailed("The video has no captions.")


class _Response:
    """The part of ``requests.Response`` that the library uses. ``Fetcher`` has raised errors of the status before."""

    status_code = 200

    def __init__(self, body: bytes) -> None:
        self.text = body.decode("utf-8", "replace")

    def json(self) -> Any:
        return loads(self.text)

    def raise_for_status(self) -> None: ...


class _Cookies(dict[str, str]):
    def set(self, name: str, value: str, domain: str = "") -> None:
        self[name] = value


class _Session:
    """The part of ``requests.Session`` that the library uses, in its thread. Only ``close`` is called by the loop."""

    def __init__(self, fetch: Callable[[str, bytes | None, Mapping[str, str]], Future[FetchResult]]) -> None:
        self.headers: dict[str, str] = {}
        self.cookies = _Cookies()
        self._fetch = fetch
        self._pending: Future[FetchResult] | None = None
        self._closed = False

    def get(self, url: str) -> _Response:
        return self._request(url, None, {})

    def post(self, url: str, json: Any) -> _Response:
        return self._request(url, dump_bytes(json), {"content-type": "application/json"})

    def close(self) -> None:
        """Cancels the current request; no further one is sent."""
        self._closed = True
        if self._pending is not None:
            self._pending.cancel()

    def _request(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> _Response:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = {**self.headers, **({"cookie": cookies} if cookies else {}), **headers}
        self._pending = self._fetch(url, body, own)
        if self._closed:  # close() was called meanwhile
            self._pending.cancel()
        return _Response(self._pending.result().body)
