"""The transcript tool against a server on loopback."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.tools import youtube_transcript
from llm.tools.base import ToolFailed
from tests.support.harness import Connection, Request, Upstream
from tests.support.tool_server import run_tools
from tests.support.wire_server import Wire, run_wire_server, wait_until

# --- transcripts ---

WATCH = '<html><script>ytcfg.set({"INNERTUBE_API_KEY": "AIza-of-the-page"})</script></html>'
CAPTIONS = '<?xml version="1.0" ?><transcript><text start="0" dur="1.5">It&amp;#39;s\nso</text><text start="2">and so.</text></transcript>'


def track(url: str, **more: str) -> dict[str, Any]:
    return {"baseUrl": url, "name": {"runs": [{"text": "English"}]}, "languageCode": "en", **more}


def player(*tracks: Any, status: str = "OK", reason: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {"playabilityStatus": {"status": status, "reason": reason}}
    return (
        {**result, "captions": {"playerCaptionsTracklistRenderer": {"captionTracks": [*tracks]}}} if tracks else result
    )


async def load_transcript(
    playing: Any, url: str = "https://youtu.be/dQw4w9WgXcQ", watch: str = WATCH, oembed: bool = True
) -> tuple[Any, list[Request]]:
    async def script(request: Request, connection: Connection) -> None:
        match request.path.partition("?")[0]:
            case "/watch":
                await connection.respond(watch, content_type="text/html")
            case "/youtubei/v1/player":
                await connection.respond(json.dumps(playing))
            case "/api/timedtext":
                await connection.respond(CAPTIONS, content_type="text/xml")
            case "/oembed" if oembed:
                await connection.respond({"title": "A song", "author_name": "A singer", "html": "…"})
            case _:
                await connection.respond(b"", 404)

    async with Upstream(script).run() as upstream, run_tools(upstream.port) as made:
        try:
            result = await made["get_youtube_transcript"]({"url": url})
        except ToolFailed as failed:
            result = str(failed)
    return result, upstream.requests


ENGLISH = track("https://www.youtube.com/api/timedtext?v=dQw4w9WgXcQ&lang=en")


async def test_a_transcript_has_title_channel_and_content() -> None:
    result, requests = await load_transcript(player(ENGLISH))
    assert result == {"title": "A song", "channel": "A singer", "content": "It's so and so."}
    assert [request.path.partition("?")[0] for request in requests] == [
        "/watch",
        "/youtubei/v1/player",
        "/api/timedtext",
        "/oembed",
    ]
    assert requests[1].json["videoId"] == "dQw4w9WgXcQ"


async def test_a_transcript_needs_neither_title_nor_channel() -> None:
    result, _ = await load_transcript(player(ENGLISH), oembed=False)
    assert result == {"content": "It's so and so."}


async def test_manual_captions_come_first() -> None:
    automatic = track("https://www.youtube.com/api/timedtext?kind=asr", kind="asr")
    _, requests = await load_transcript(player(automatic, ENGLISH))
    assert [r.path for r in requests if r.path.startswith("/api/")] == ["/api/timedtext?v=dQw4w9WgXcQ&lang=en"]


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ", "https://www.youtube.com/watch?t=1&v=dQw4w9WgXcQ&list=x",
        "https://youtu.be/dQw4w9WgXcQ?t=3", "youtube.com/embed/dQw4w9WgXcQ", "https://m.youtube.com/v/dQw4w9WgXcQ",
        "https://www.youtube.com/shorts/dQw4w9WgXcQ", "https://www.youtube.com/live/dQw4w9WgXcQ",
    ],
)  # fmt: skip
async def test_all_forms_of_a_video_url_are_read(url: str) -> None:
    result, requests = await load_transcript(player(ENGLISH), url)
    assert result["content"] and requests[1].json["videoId"] == "dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "url", ["https://example.org/", "", "https://youtu.be/short", "https://youtu.be/dQw4w9WgXcQQ", "http://127.0.0.1/"]
)
async def test_a_url_that_is_not_a_video_causes_no_request(url: str) -> None:
    assert await load_transcript(player(ENGLISH), url) == ("The URL is not that of a YouTube video.", [])


@pytest.mark.parametrize(
    ("playing", "watch", "reason"),
    [
        (player(), WATCH, "no captions"),
        (player(status="ERROR", reason="This video is unavailable"), WATCH, "no such video"),
        (player(status="LOGIN_REQUIRED", reason="Sign in to confirm you’re not a bot"), WATCH, "refuses requests"),
        (player(status="LOGIN_REQUIRED", reason="This video may be inappropriate for some users."), WATCH, "age-restricted"),
        (player(status="OTHER"), WATCH, "does not provide the captions"),
        (player(ENGLISH), '<form class="g-recaptcha">', "refuses requests"),
        (player(ENGLISH), "<html>", "does not provide the captions"),
        ([], WATCH, "could not be read"),
        (player({"baseUrl": 3}), WATCH, "could not be read"),
        (player(track("https://www.youtube.com/gone")), WATCH, "status 404"),
        (player(track("http://169.254.169.254/api/timedtext")), WATCH, "not on a host of YouTube"),
        (player(track("https://youtube.com.example.org/api/timedtext")), WATCH, "not on a host of YouTube"),
        (player(track("file:///etc/passwd")), WATCH, "not on a host of YouTube"),
    ],
)  # fmt: skip
async def test_a_missing_transcript_is_reported_with_the_reason(playing: Any, watch: str, reason: str) -> None:
    result, _ = await load_transcript(playing, watch=watch)
    assert isinstance(result, str) and reason in result and result.endswith(".")


async def test_a_transcript_has_a_total_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(youtube_transcript, "FETCH_TIMEOUT", 0.2)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.wait_closed()

    async with run_wire_server(script) as server, run_tools(server.port) as made:
        with pytest.raises(ToolFailed, match=r"within 0\.2 seconds"):
            await made["get_youtube_transcript"]({"url": "https://youtu.be/dQw4w9WgXcQ"})
        await wait_until(lambda: not server.wires)
