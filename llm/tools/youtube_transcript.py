"""``get_youtube_transcript``: what is said in a video, from its captions.

How YouTube gives captions away changes from month to month, so that is left to ``youtube-transcript-api``. It does no
networking of its own here: it runs in a thread, and each of its requests comes back to the loop, where ``Fetcher``
makes it under its own rules. Whoever is cancelled meanwhile hangs up at once, and the thread ends with its request.
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
from llm.tools.fetcher import MOST_TIME, Fetched, Fetcher
from llm.tools.web_page import shortened
from llm.wire.json_codec import Json, dump_bytes, loads

_HOME: Final = "https://www.youtube.com"
_LIBRARY: Final = "youtube_transcript_api"
_AT_ONCE: Final = 4  # transcripts
_VIDEO: Final = re.compile(r"(?:[?&]v=|youtu\.be/|/embed/|/v/|/shorts/|/live/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")

# What the library's own errors mean for whoever asked; the names are those of its classes.
_MEANINGS: Final = {
    "TranscriptsDisabled": "The video has no captions.",
    "NoTranscriptFound": "The video has no captions.",
    "VideoUnavailable": "There is no such video.",
    "InvalidVideoId": "There is no such video.",
    "AgeRestricted": "The video is for adults who are signed in.",
    "IpBlocked": "YouTube refuses requests from this server for now.",
    "RequestBlocked": "YouTube refuses requests from this server for now.",
}


class GetYoutubeTranscript:
    """``home`` takes the place of YouTube's own address. ``available`` says whether what it needs is installed."""

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

    def __init__(self, fetcher: Fetcher, home: str = _HOME) -> None:
        self._fetcher = fetcher
        self._home = home
        # Its own threads: the loop's are needed for the name look-ups that these wait for.
        self._threads = ThreadPoolExecutor(_AT_ONCE, "transcript")

    @staticmethod
    def available() -> bool:
        return find_spec(_LIBRARY) is not None

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        return "Downloading transcript…" if state == "running" else ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        found = _VIDEO.search(str(arguments["url"]))
        if found is None:
            raise ToolFailed("That is not the URL of a YouTube video.")
        content = await self._content(found[1])
        return {**await self._about(found[1]), "content": shortened(content)}

    async def _content(self, video: str) -> str:
        loop = asyncio.get_running_loop()
        session = _Session(lambda *request: asyncio.run_coroutine_threadsafe(self._fetched(*request), loop))
        try:
            async with asyncio.timeout(MOST_TIME):
                return await loop.run_in_executor(self._threads, _captions, video, session)
        except TimeoutError:
            raise ToolFailed(f"YouTube did not give the captions within {MOST_TIME:g} seconds.") from None
        finally:
            session.close()

    async def _about(self, video: str) -> dict[str, Json]:
        """Title and channel, where they can be had (oEmbed)."""
        watch = quote(f"{_HOME}/watch?v={video}", safe="")
        try:
            told = await self._fetched(f"{_HOME}/oembed?format=json&url={watch}", None, {})
            about = loads(told.body)
        except (ToolFailed, ValueError):
            return {}
        names = {"title": "title", "channel": "author_name"}
        return {ours: about[its] for ours, its in names.items() if isinstance(about, dict) and its in about}

    async def _fetched(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> Fetched:
        """The library asks for what YouTube's answers name: nothing but YouTube itself."""
        host = urlsplit(url).hostname or ""
        if not (host == "youtube.com" or host.endswith(".youtube.com")):
            raise ToolFailed("YouTube's captions are not at YouTube.")
        if url.startswith(f"{_HOME}/"):
            url = self._home + url.removeprefix(_HOME)
        return await self._fetcher.fetch(url, lambda content_type: True, body=body, headers=headers)


def _captions(video: str, session: _Session) -> str:
    """The text of the first captions that there are; those that people made come before automatic ones."""
    from youtube_transcript_api import CouldNotRetrieveTranscript, YouTubeTranscriptApi

    api = YouTubeTranscriptApi(http_client=session)  # type: ignore[arg-type]  # as much of a session as it uses
    try:
        for transcript in api.list(video):
            return " ".join(piece.text.replace("\n", " ") for piece in transcript.fetch())
    except CouldNotRetrieveTranscript as error:
        raise ToolFailed(_MEANINGS.get(type(error).__name__, "YouTube does not give the captions away.")) from None
    except (ToolFailed, CancelledError):
        raise
    except Exception:  # an answer of another shape than the library knows shows as any error at all
        raise ToolFailed("YouTube answered in a way that is not understood.") from None
    raise ToolFailed("The video has no captions.")


class _Answer:
    """As much of a ``requests.Response`` as the library uses. A failing status has been raised before."""

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
    """As much of a ``requests.Session`` as the library uses, from its thread; ``close`` from the loop's."""

    def __init__(self, fetch: Callable[[str, bytes | None, Mapping[str, str]], Future[Fetched]]) -> None:
        self.headers: dict[str, str] = {}
        self.cookies = _Cookies()
        self._fetch = fetch
        self._under_way: Future[Fetched] | None = None
        self._closed = False

    def get(self, url: str) -> _Answer:
        return self._answer(url, None, {})

    def post(self, url: str, json: Any) -> _Answer:
        return self._answer(url, dump_bytes(json), {"content-type": "application/json"})

    def close(self) -> None:
        """Gives up the request that is under way; no further one is made."""
        self._closed = True
        if self._under_way is not None:
            self._under_way.cancel()

    def _answer(self, url: str, body: bytes | None, headers: Mapping[str, str]) -> _Answer:
        cookies = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        own = {**self.headers, **({"cookie": cookies} if cookies else {}), **headers}
        self._under_way = self._fetch(url, body, own)
        if self._closed:  # while it was made
            self._under_way.cancel()
        return _Answer(self._under_way.result().body)
