"""The tools themselves, each against a server on loopback that the owner permits."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from llm.config.settings import Config
from llm.errors import InvalidRequest
from llm.storage.images import ImageStore
from llm.tools import fetcher, web_page, youtube_transcript
from llm.tools.base import Tool, ToolFailed, pick
from llm.tools.charset import decoded
from llm.tools.fetcher import Fetcher
from llm.tools.registry import make_tools
from llm.tools.youtube_transcript import GetYoutubeTranscript
from llm.transport.egress import Egress
from llm.transport.http_client import HttpTransport
from llm.transport.interface import HttpRequest
from llm.upstream.engine_client import Services
from llm.upstream.retry import RetryPolicy
from tests.harness import Connection, Request, ScriptedReply, ScriptedTransport, Upstream, config, soon
from tests.wire_server import CHUNKED, Wire, answers, chunk, until, wire_server

PNG = b"\x89PNG\r\n\x1a\n" + b"\0" * 100
HTML = b"""<!doctype html><html><head><title>T</title><style>p {}</style><script>evil()</script></head><body>
<h1>Caf\xc3\xa9 &amp; more</h1><p>Some <b>bold</b> text.</p><img src=x alt=picture><ul><li>one<li>two</ul>
<table><tr><td>A<td>1<tr><td>B<td>2</table><pre>a
  b</pre><noscript>none</noscript></body></html>"""
BODY = {
    "TAVILY_API_KEY": "tvly-of-the-server",
    "IMAGE_ENGINE": "openai",
    "IMAGE_MODEL": "gpt-image-1",
    "OPENAI_API_KEY": "sk-image",
}


@asynccontextmanager
async def tools(port: int, images: Path | None = None, **environ: str) -> AsyncIterator[dict[str, Tool]]:
    """All tools, whose every address is 127.0.0.1 with this port."""
    url = f"http://127.0.0.1:{port}"
    urls = {"TAVILY_BASE_URL": url, "OPENAI_BASE_URL": f"{url}/v1", "HUGGINGFACE_BASE_URL": f"{url}/v1"}
    configured = config(FETCH_ALLOW=f"127.0.0.1:{port}", **{**BODY, **urls, **environ})
    transport = HttpTransport(connect_timeout=5, first_byte_timeout=5, idle_timeout=5)
    fetcher = Fetcher(Egress(frozenset(configured.fetch_allow)))
    store = ImageStore(images or Path("/nowhere/at/all"), 3600, 1 << 20)
    made = make_tools(configured, Services({"http": transport, "https": transport}, RetryPolicy(0)), fetcher, store)
    made["get_youtube_transcript"] = GetYoutubeTranscript(fetcher, url)
    try:
        yield made
    finally:
        await fetcher.close()
        await transport.close()


def answer(body: bytes, content_type: str = "text/html", **headers: str) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        f"Content-Length: {len(body)}",
        *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items()),
    ]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read(*pieces: bytes, path: str = "/") -> Any:
    """What the page tool makes of an answer."""
    async with wire_server(answers(*pieces)) as server, tools(server.port) as made:
        return await made["get_html_as_text"]({"url": server.url + path})


# --- pages ---


async def test_a_page_is_read_as_text() -> None:
    told = await read(answer(HTML))
    lines = [line for line in told["content"].splitlines() if line]
    assert lines[:2] == ["Café & more", "Some bold text."]
    assert "  b" in lines and [line.split() for line in lines if line.startswith(("A", "B"))] == [
        ["A", "1"],
        ["B", "2"],
    ]
    assert not {word for word in ("evil", "picture", "none", "{}") if word in told["content"]}


@pytest.mark.parametrize(
    "content_type",
    [
        "text/plain",
        "application/json",
        "text/csv; charset=utf-8",
        "application/xml",
        "application/ld+json",
        "text/markdown",
        "application/atom+xml",
        "",
    ],
)
async def test_other_text_is_read_as_it_is(content_type: str) -> None:
    text = '{"a": "ü <b>"}'
    assert await read(answer(text.encode(), content_type)) == {"content": text}


@pytest.mark.parametrize("content_type", ["application/xhtml+xml", "TEXT/HTML;charset=utf-8", ""])
async def test_html_may_come_under_other_names(content_type: str) -> None:
    assert await read(answer(b"<p>one</p><p>two</p>", content_type)) == {"content": "one\n\ntwo"}


@pytest.mark.parametrize(
    "content_type", ["application/pdf", "image/png", "application/octet-stream", "video/mp4", "multipart/mixed"]
)
async def test_what_is_no_text_is_refused_by_its_name(content_type: str) -> None:
    with pytest.raises(ToolFailed, match=rf"127\.0\.0\.1 sent {content_type}"):
        await read(answer(b"x", content_type))


async def test_what_says_nothing_and_is_no_text_is_refused() -> None:
    with pytest.raises(ToolFailed, match="no text"):
        await read(answer(PNG, ""))


@pytest.mark.parametrize(
    ("body", "told", "text"),
    [
        ("ü".encode(), "", "ü"),
        ("ü".encode("latin-1"), "", "ü"),
        ("€".encode("cp1252"), "iso-8859-1", "€"),
        ("ü".encode(), "utf8", "ü"),
        (b"\xef\xbb\xbf" + "ü".encode(), "iso-8859-1", "ü"),
        ("ü".encode("utf-16"), "", "ü"),
        ("日本".encode("shift_jis"), "Shift_JIS", "日本"),
        (b'<meta charset="euc-jp">' + "日本".encode("euc-jp"), "", '<meta charset="euc-jp">日本'),
        (b'<META http-equiv=x content="text/html; charset=koi8-r">' + "Я".encode("koi8-r"), "", '<META http-equiv=x content="text/html; charset=koi8-r">Я'),
        (b'<?xml version="1.0" encoding="gb2312"?>' + "中".encode("gbk"), "", '<?xml version="1.0" encoding="gb2312"?>中'),
        (b'<meta charset="utf-16">\xc3\xbc', "", '<meta charset="utf-16">ü'),
        ("ü".encode(), "no-such-thing", "ü"),
        (b"abc", "zip", "abc"),
        (b"xn--bcher-kva", "idna", "xn--bcher-kva"),
        (b"\\u0041", "unicode_escape", "\\u0041"),
        (b"\xff\xfe\xfd", "utf-8", "\ufffd\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_bytes_are_read_as_the_web_does(body: bytes, told: str, text: str) -> None:
    if told == "utf-8":
        body = body[2:] + b"\xff\xfe"  # no byte order mark
    assert decoded(body, told) == text


async def test_a_redirect_is_followed_in_any_spelling() -> None:
    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            if request.target == "/k%C3%B6ln?a=b":
                await wire.send(answer(b"there", "text/plain"))
            else:
                await wire.send("HTTP/1.1 308 X\r\nLocation: köln?a=b#x\r\nContent-Length: 0\r\n\r\n".encode())

    async with wire_server(script) as server, tools(server.port) as made:
        assert await made["get_html_as_text"]({"url": f"{server.url}/from"}) == {"content": "there"}


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"], "more than 5 times"),
        ([b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n"], "without saying where"),
        ([b"HTTP/1.1 302 X\r\nLocation: http://[x\r\nContent-Length: 0\r\n\r\n"], "not a URL"),
        ([b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"], "status 404"),
        ([b"HTTP/1.1 304 X\r\n\r\n"], "status 304"),
        ([b"nonsense\r\n\r\n"], r"127\.0\.0\.1"),
    ],
)
async def test_what_cannot_be_read_is_told_in_a_sentence(pieces: list[bytes], reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason) as told:
        await read(*pieces)
    assert str(told.value).endswith(".")


@pytest.mark.parametrize("packed", [False, True])
async def test_a_page_has_a_largest_size_also_when_it_is_compressed(packed: bool) -> None:
    """A tenth of a megabyte that stands for a hundred."""
    body = gzip.compress(b"x" * 100_000_000) if packed else b"x" * (fetcher.MOST_BYTES + 1)
    more = {"Content_Encoding": "gzip"} if packed else {}
    with pytest.raises(ToolFailed, match=f"larger than {fetcher.MOST_BYTES} bytes"):
        await read(answer(body, "text/plain", **more))


async def test_a_long_text_is_cut_and_says_so() -> None:
    told = await read(answer(b"x" * 1_000_000, "text/plain"))
    assert told["content"].endswith("[The first 100000 of 1000000 characters.]") and len(told["content"]) < 100_100


async def test_a_page_that_drips_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "MOST_TIME", 0.2)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain\r\n\r\n"))
        while True:
            await wire.send(chunk(b"drip"))
            await asyncio.sleep(0.02)

    async with wire_server(script) as server, tools(server.port) as made:
        with pytest.raises(ToolFailed, match=r"within 0\.2 seconds"):
            await made["get_html_as_text"]({"url": server.url})
        await until(lambda: not server.wires)


@pytest.mark.parametrize("name", ["get_html_as_text", "get_youtube_transcript", "search_tavily", "image_generation"])
async def test_c5_a_tool_that_is_cancelled_hangs_up_at_once(name: str) -> None:
    async def attempt() -> float:
        arrived = asyncio.Event()
        gone: list[float] = []

        async def script(wire: Wire) -> None:
            await wire.request()
            arrived.set()
            gone.append(await wire.hung_up())

        async with wire_server(script) as server, tools(server.port) as made:
            arguments = {"url": f"{server.url}/?v=dQw4w9WgXcQ", "query": "q", "prompt": "p"}
            running = asyncio.ensure_future(made[name](arguments))
            await arrived.wait()
            left = asyncio.get_running_loop().time()
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await until(lambda: gone)
        assert running.cancelled()
        return gone[0] - left

    await soon(0.1, attempt)


async def test_a_page_made_to_keep_the_parser_busy_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser looks at each attribute of a tag for each other one, without a pause; here it would take a minute."""
    monkeypatch.setattr(web_page, "_EXTRACT_TIME", 1.0)
    evil = b"<p " + b" ".join(b"a%d=1" % n for n in range(120_000)) + b">x</p>"
    pauses = []

    async def tick() -> None:
        last = time.monotonic()
        while True:
            await asyncio.sleep(0.005)
            now = time.monotonic()
            pauses.append(now - last)
            last = now

    ticking = asyncio.ensure_future(tick())
    with pytest.raises(ToolFailed, match="too intricate"):
        await read(answer(evil))
    ticking.cancel()
    assert max(pauses) < 0.5


async def test_a_page_nested_without_end_is_read() -> None:
    assert await read(answer(b"<div>" * 100_000 + b"deep")) == {"content": "deep"}


async def test_the_parser_s_process_ends_with_whoever_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = tmp_path / "pid"
    worker = tmp_path / "worker.py"
    worker.write_text(
        f"import os, time; open({str(pid)!r}, 'w').write(f'{{os.getpid()}} {{sorted(os.environ)}}\\n'); time.sleep(60)"
    )
    monkeypatch.setattr(web_page, "_WORKER", worker)
    reading = asyncio.ensure_future(read(answer(HTML)))
    await until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    number, _, environ = pid.read_text().partition(" ")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert not Path(f"/proc/{number}").exists()
    assert "KEY" not in environ and "PATH" not in environ


# --- search ---

FOUND = {
    "query": "q", "answer": "It is so.", "images": [], "response_time": 1.2, "request_id": "r",
    "results": [{"title": "T", "url": "https://a", "content": "c", "score": 0.9, "raw_content": None, "published_date": "2026"}],
}  # fmt: skip


async def searched(status: int, body: Any) -> tuple[Any, Request]:
    async def script(request: Request, connection: Connection) -> None:
        await connection.whole(body if isinstance(body, str) else json.dumps(body), status)

    async with Upstream(script).running() as upstream, tools(upstream.port) as made:
        try:
            told = await made["search_tavily"]({"query": "q"})
        except ToolFailed as failed:
            told = str(failed)
    return told, upstream.requests[0]


async def test_a_search_is_asked_and_told_as_the_older_server_did() -> None:
    told, request = await searched(200, FOUND)
    assert (request.method, request.path) == ("POST", "/search")
    assert request.headers["Authorization"] == "Bearer tvly-of-the-server"
    assert request.json == {
        "query": "q",
        "include_answer": True,
        "max_results": 5,
        "search_depth": "basic",
        "topic": "general",
    }
    assert told == {
        "query": "q", "answer": "It is so.", "images": [], "responseTime": 1.2, "requestId": "r",
        "results": [{"title": "T", "url": "https://a", "content": "c", "score": 0.9, "rawContent": None, "publishedDate": "2026"}],
    }  # fmt: skip


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (401, {"detail": {"error": "Unauthorized: tvly-of-the-server"}}, "refuses the key"),
        (429, {"detail": {"error": "slow"}}, "too often"),
        (432, {}, "limit of this server's plan"),
        (433, "", "limit of this server's plan"),
        (400, {"detail": {"error": "bad tvly-of-the-server"}}, "status 400: bad ***."),
        (400, {"detail": [{"loc": 1}]}, "status 400."),
        (500, "<html>", "status 500."),
        (200, "[]", "no JSON object"),
        (200, "<html>", "no JSON object"),
    ],
)
async def test_a_search_that_fails_says_why_without_the_key(status: int, body: Any, reason: str) -> None:
    told, _ = await searched(status, body)
    assert reason in told and "tvly" not in told


# --- transcripts ---

WATCH = '<html><script>ytcfg.set({"INNERTUBE_API_KEY": "AIza-of-the-page"})</script></html>'
CAPTIONS = '<?xml version="1.0" ?><transcript><text start="0" dur="1.5">It&amp;#39;s\nso</text><text start="2">and so.</text></transcript>'


def track(url: str, **more: str) -> dict[str, Any]:
    return {"baseUrl": url, "name": {"runs": [{"text": "English"}]}, "languageCode": "en", **more}


def player(*tracks: Any, status: str = "OK", reason: str = "") -> dict[str, Any]:
    told: dict[str, Any] = {"playabilityStatus": {"status": status, "reason": reason}}
    return {**told, "captions": {"playerCaptionsTracklistRenderer": {"captionTracks": [*tracks]}}} if tracks else told


async def transcribed(
    playing: Any, url: str = "https://youtu.be/dQw4w9WgXcQ", watch: str = WATCH, oembed: bool = True
) -> tuple[Any, list[Request]]:
    async def script(request: Request, connection: Connection) -> None:
        match request.path.partition("?")[0]:
            case "/watch":
                await connection.whole(watch, content_type="text/html")
            case "/youtubei/v1/player":
                await connection.whole(json.dumps(playing))
            case "/api/timedtext":
                await connection.whole(CAPTIONS, content_type="text/xml")
            case "/oembed" if oembed:
                await connection.whole({"title": "A song", "author_name": "A singer", "html": "…"})
            case _:
                await connection.whole(b"", 404)

    async with Upstream(script).running() as upstream, tools(upstream.port) as made:
        try:
            told = await made["get_youtube_transcript"]({"url": url})
        except ToolFailed as failed:
            told = str(failed)
    return told, upstream.requests


ENGLISH = track("https://www.youtube.com/api/timedtext?v=dQw4w9WgXcQ&lang=en")


async def test_a_transcript_has_title_channel_and_content() -> None:
    told, requests = await transcribed(player(ENGLISH))
    assert told == {"title": "A song", "channel": "A singer", "content": "It's so and so."}
    assert [request.path.partition("?")[0] for request in requests] == [
        "/watch",
        "/youtubei/v1/player",
        "/api/timedtext",
        "/oembed",
    ]
    assert requests[1].json["videoId"] == "dQw4w9WgXcQ"


async def test_a_transcript_needs_neither_title_nor_channel() -> None:
    told, _ = await transcribed(player(ENGLISH), oembed=False)
    assert told == {"content": "It's so and so."}


async def test_captions_that_people_made_come_first() -> None:
    automatic = track("https://www.youtube.com/api/timedtext?kind=asr", kind="asr")
    _, requests = await transcribed(player(automatic, ENGLISH))
    assert [r.path for r in requests if r.path.startswith("/api/")] == ["/api/timedtext?v=dQw4w9WgXcQ&lang=en"]


@pytest.mark.parametrize(
    "url",
    [
        "https://www.youtube.com/watch?v=dQw4w9WgXcQ", "https://www.youtube.com/watch?t=1&v=dQw4w9WgXcQ&list=x",
        "https://youtu.be/dQw4w9WgXcQ?t=3", "youtube.com/embed/dQw4w9WgXcQ", "https://m.youtube.com/v/dQw4w9WgXcQ",
        "https://www.youtube.com/shorts/dQw4w9WgXcQ", "https://www.youtube.com/live/dQw4w9WgXcQ",
    ],
)  # fmt: skip
async def test_a_video_is_known_by_any_of_its_urls(url: str) -> None:
    told, requests = await transcribed(player(ENGLISH), url)
    assert told["content"] and requests[1].json["videoId"] == "dQw4w9WgXcQ"


@pytest.mark.parametrize(
    "url", ["https://example.org/", "", "https://youtu.be/short", "https://youtu.be/dQw4w9WgXcQQ", "http://127.0.0.1/"]
)
async def test_what_is_no_video_is_not_asked_for(url: str) -> None:
    assert await transcribed(player(ENGLISH), url) == ("That is not the URL of a YouTube video.", [])


@pytest.mark.parametrize(
    ("playing", "watch", "reason"),
    [
        (player(), WATCH, "no captions"),
        (player(status="ERROR", reason="This video is unavailable"), WATCH, "no such video"),
        (player(status="LOGIN_REQUIRED", reason="Sign in to confirm you’re not a bot"), WATCH, "refuses requests"),
        (player(status="LOGIN_REQUIRED", reason="This video may be inappropriate for some users."), WATCH, "for adults"),
        (player(status="OTHER"), WATCH, "does not give the captions away"),
        (player(ENGLISH), '<form class="g-recaptcha">', "refuses requests"),
        (player(ENGLISH), "<html>", "does not give the captions away"),
        ([], WATCH, "not understood"),
        (player({"baseUrl": 3}), WATCH, "not understood"),
        (player(track("https://www.youtube.com/gone")), WATCH, "status 404"),
        (player(track("http://169.254.169.254/api/timedtext")), WATCH, "not at YouTube"),
        (player(track("https://youtube.com.example.org/api/timedtext")), WATCH, "not at YouTube"),
        (player(track("file:///etc/passwd")), WATCH, "not at YouTube"),
    ],
)  # fmt: skip
async def test_a_transcript_that_cannot_be_had_is_told_why(playing: Any, watch: str, reason: str) -> None:
    told, _ = await transcribed(playing, watch=watch)
    assert isinstance(told, str) and reason in told and told.endswith(".")


async def test_transcripts_have_a_time_in_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(youtube_transcript, "MOST_TIME", 0.2)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.hung_up()

    async with wire_server(script) as server, tools(server.port) as made:
        with pytest.raises(ToolFailed, match=r"within 0\.2 seconds"):
            await made["get_youtube_transcript"]({"url": "https://youtu.be/dQw4w9WgXcQ"})
        await until(lambda: not server.wires)


# --- images ---


async def painted(
    tmp_path: Path, whole: Any, arguments: dict[str, Any] | None = None, /, **environ: str
) -> tuple[Any, list[Request]]:
    async def script(request: Request, connection: Connection) -> None:
        if request.path == "/made.png":
            await connection.whole(PNG, content_type="image/png")
            return
        status, body = whole if isinstance(whole, tuple) else (200, whole)
        body = json.dumps(body).replace("{url}", upstream.url) if isinstance(body, dict) else body
        await connection.whole(body, status)

    async with Upstream(script).running() as upstream, tools(upstream.port, tmp_path, **environ) as made:
        try:
            told = await made["image_generation"]({"prompt": "a cat", **(arguments or {})})
        except ToolFailed as failed:
            told = str(failed)
    return told, upstream.requests


HF = {
    "IMAGE_ENGINE": "huggingface",
    "IMAGE_MODEL": "black-forest-labs/FLUX.1-schnell",
    "HUGGINGFACE_API_KEY": "hf_image",
}
IN_BASE64 = {"data": [{"b64_json": base64.b64encode(PNG).decode()}]}


def kept(tmp_path: Path, told: Any) -> bytes:
    name: str = told["path"].rpartition("/")[2]
    return (tmp_path / name).read_bytes()


@pytest.mark.parametrize(
    ("model", "arguments", "body"),
    [
        ("gpt-image-1", {"size": "1536x1024", "quality": "low"}, {"size": "1536x1024", "quality": "low"}),
        ("dall-e-3", {"style": "natural"}, {"style": "natural", "response_format": "b64_json"}),
        ("dall-e-2", {"size": "256x256"}, {"size": "256x256", "response_format": "b64_json"}),
    ],
)
async def test_an_image_is_made_and_kept(
    tmp_path: Path, model: str, arguments: dict[str, Any], body: dict[str, Any]
) -> None:
    told, requests = await painted(tmp_path, IN_BASE64, arguments, IMAGE_MODEL=model)
    assert told["path"].startswith("/images/") and told["path"].endswith(".png") and told["description"] == "a cat"
    assert kept(tmp_path, told) == PNG
    assert requests[0].path == "/v1/images/generations" and requests[0].headers["Authorization"] == "Bearer sk-image"
    assert requests[0].json == {"model": model, "prompt": "a cat", "n": 1, **body}


async def test_an_image_of_the_other_wire_is_made_and_kept(tmp_path: Path) -> None:
    told, requests = await painted(
        tmp_path, PNG, {"width": 512, "height": 256}, PUBLIC_URL="https://llm.example.org/", **HF
    )
    assert told["path"].startswith("https://llm.example.org/images/") and kept(tmp_path, told) == PNG
    assert requests[0].path == "/hf-inference/models/black-forest-labs/FLUX.1-schnell"
    assert requests[0].headers["Authorization"] == "Bearer hf_image"
    assert requests[0].json == {"inputs": "a cat", "parameters": {"width": 512, "height": 256}}


@pytest.mark.parametrize(
    "answer",
    [IN_BASE64, {"data": [{"url": "{url}/made.png"}]}, {"output": ["{url}/made.png"]}, {"output": "{url}/made.png"},
     {"output": ["data:image/png;base64," + base64.b64encode(PNG).decode()]}],
)  # fmt: skip
async def test_an_image_may_come_in_several_forms(tmp_path: Path, answer: Any) -> None:
    told, _ = await painted(tmp_path, answer, **HF)
    assert kept(tmp_path, told) == PNG


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (
            (400, {"error": {"message": "No, not with sk-image.", "code": "content_policy_violation"}}),
            r"No, not with \*\*\*\.",
        ),
        ((401, {"error": {"message": "bad key"}}), "bad key"),
        ((503, {"error": "Model is loading"}), "loading"),
        ({"data": []}, "holds none"),
        ({"data": [{"b64_json": "!"}]}, "holds none"),
        ({"data": [{"url": "http://169.254.169.254/x"}]}, "not a public one"),
        (b"<html>no image</html>", "not a png, jpeg, webp or gif"),
        (b"{broken", "holds none"),
    ],
)
async def test_an_image_that_cannot_be_made_is_told_why(tmp_path: Path, answer: Any, reason: str) -> None:
    told, _ = await painted(tmp_path, answer)
    assert isinstance(told, str)
    with pytest.raises(ToolFailed, match=reason):
        raise ToolFailed(told)
    assert "sk-image" not in told and not [*tmp_path.iterdir()]


async def test_a_disk_that_fails_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    told, _ = await painted(tmp_path / "file", IN_BASE64)
    assert told == "The image was made, but this server could not keep it."


# --- which there are ---


def offered(**environ: str) -> dict[str, Tool]:
    def never(request: HttpRequest) -> ScriptedReply:
        raise AssertionError("nothing is asked when tools are made")

    transport = ScriptedTransport(never)
    configured = Config.from_env(environ)
    services = Services({"http": transport, "https": transport})
    return make_tools(configured, services, Fetcher(Egress()), ImageStore(Path("x"), 1, 1))


def test_a_tool_is_offered_where_it_is_configured() -> None:
    free = {"get_html_as_text", "get_youtube_transcript"}
    assert set(offered()) == free
    assert set(offered(TAVILY_API_KEY="tvly-1")) == free | {"search_tavily"}
    assert set(offered(IMAGE_ENGINE="openai", IMAGE_MODEL="m")) == free
    assert set(offered(IMAGE_ENGINE="openai", OPENAI_API_KEY="sk-1")) == free
    assert set(offered(IMAGE_ENGINE="openai", IMAGE_MODEL="m", GROQ_API_KEY="gsk-1")) == free
    assert set(offered(IMAGE_ENGINE="openai", IMAGE_MODEL="m", OPENAI_API_KEY="sk-1")) == free | {"image_generation"}


def test_a_tool_whose_package_is_missing_is_not_offered(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a server without requirements-tools.txt."""
    monkeypatch.setattr(web_page, "find_spec", lambda name: None)
    assert set(offered()) == {"get_youtube_transcript"}
    monkeypatch.setattr(youtube_transcript, "find_spec", lambda name: None)
    assert set(offered()) == set()


def test_the_packages_are_loaded_on_first_use_only() -> None:
    code = "import sys, server; print({'resiliparse', 'youtube_transcript_api', 'requests'} & {*sys.modules})"
    root = Path(__file__).parent.parent
    told = subprocess.run([sys.executable, "-c", code], check=True, cwd=root, capture_output=True, text=True)
    assert told.stdout == "set()\n"


def test_x1_a_caller_with_a_key_of_its_own_gets_nothing_that_spends_the_server_s() -> None:
    everything = offered(**BODY)
    assert {name for name, tool in everything.items() if tool.paid} == {"search_tavily", "image_generation"}
    assert set(pick(None, everything, trusted=True)) == set(everything)
    assert set(pick(True, everything, trusted=False)) == {"get_html_as_text", "get_youtube_transcript"}
    with pytest.raises(InvalidRequest, match=r"tools\[0\]: 'search_tavily' is only for callers with a client id"):
        pick(["search_tavily"], everything, trusted=False)


@pytest.mark.parametrize("trusted", [True, False])
def test_running_python_is_off_and_says_so(trusted: bool) -> None:
    assert "run_python_code" not in pick(True, offered(**BODY), trusted=trusted)
    with pytest.raises(InvalidRequest, match=r"tools\[1\]: 'run_python_code' is off: .*does not run code"):
        pick(["get_html_as_text", "run_python_code"], offered(**BODY), trusted=trusted)


def test_people_are_told_what_a_tool_does() -> None:
    assert {name: tool.describe("running", {}) for name, tool in offered(**BODY).items()} == {
        "get_html_as_text": "Downloading content…",
        "get_youtube_transcript": "Downloading transcript…",
        "search_tavily": "Searching the internet…",
        "image_generation": "Painting pixels…",
    }


def test_what_a_tool_takes_is_a_schema() -> None:
    for name, tool in offered(**BODY).items():
        assert tool.spec.name == name and tool.spec.executor == "server" and tool.spec.description
        assert tool.spec.parameters["type"] == "object" and tool.spec.parameters["required"]


def test_the_key_of_the_search_is_a_secret() -> None:
    configured = Config.from_env(BODY)
    assert "tvly-of-the-server" in configured.secrets and "tvly-of-the-server" not in repr(configured)


@pytest.mark.parametrize(
    ("environ", "warnings"),
    [
        ({}, []),
        ({"IMAGE_MODEL": "m"}, ["no images are made: IMAGE_ENGINE missing"]),
        ({"IMAGE_ENGINE": "huggingface"}, ["no images are made: IMAGE_MODEL and HUGGINGFACE_API_KEY missing"]),
        (BODY, []),
    ],
)
def test_half_a_configuration_of_images_is_told_at_the_start(environ: dict[str, str], warnings: list[str]) -> None:
    assert [*Config.from_env(environ).warnings] == warnings
