"""Reading a web page, against a server on loopback that the owner permits."""

from __future__ import annotations

import asyncio
import gzip
from pathlib import Path
from typing import Any

import pytest

from llm.tools import fetcher, web_page
from llm.tools.base import ToolFailed
from llm.tools.charset import decode_text
from tests.support.tool_server import PNG, run_tools
from tests.support.wire_server import CHUNKED, Wire, chunk, make_answer_script, run_wire_server, wait_until

HTML = b"""<!doctype html><html><head><title>T</title><style>p {}</style><script>evil()</script></head><body>
<h1>Caf\xc3\xa9 &amp; more</h1><p>Some <b>bold</b> text.</p><img src=x alt=picture><ul><li>one<li>two</ul>
<table><tr><td>A<td>1<tr><td>B<td>2</table><pre>a
  b</pre><noscript>none</noscript></body></html>"""


def answer(body: bytes, content_type: str = "text/html", **headers: str) -> bytes:
    lines = [
        "HTTP/1.1 200 OK",
        f"Content-Length: {len(body)}",
        *(f"{n.replace('_', '-')}: {v}" for n, v in headers.items()),
    ]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    return "\r\n".join([*lines, "", ""]).encode() + body


async def read(*pieces: bytes, path: str = "/") -> Any:
    """Returns the result of the page tool for a response."""
    async with run_wire_server(make_answer_script(*pieces)) as server, run_tools(server.port) as made:
        return await made["get_html_as_text"]({"url": server.url + path})


# --- pages ---


async def test_a_page_is_read_as_text() -> None:
    result = await read(answer(HTML))
    lines = [line for line in result["content"].splitlines() if line]
    assert lines[:2] == ["Café & more", "Some bold text."]
    assert "  b" in lines and [line.split() for line in lines if line.startswith(("A", "B"))] == [
        ["A", "1"],
        ["B", "2"],
    ]
    assert not {word for word in ("evil", "picture", "none", "{}") if word in result["content"]}


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
async def test_other_text_is_returned_unchanged(content_type: str) -> None:
    text = '{"a": "ü <b>"}'
    assert await read(answer(text.encode(), content_type)) == {"content": text}


@pytest.mark.parametrize("content_type", ["application/xhtml+xml", "TEXT/HTML;charset=utf-8", ""])
async def test_html_may_come_under_other_names(content_type: str) -> None:
    assert await read(answer(b"<p>one</p><p>two</p>", content_type)) == {"content": "one\n\ntwo"}


@pytest.mark.parametrize(
    "content_type", ["application/pdf", "image/png", "application/octet-stream", "video/mp4", "multipart/mixed"]
)
async def test_a_content_type_that_is_not_text_is_refused(content_type: str) -> None:
    with pytest.raises(ToolFailed, match=rf"127\.0\.0\.1 sent {content_type}"):
        await read(answer(b"x", content_type))


async def test_binary_data_without_a_content_type_is_refused() -> None:
    with pytest.raises(ToolFailed, match="not text"):
        await read(answer(PNG, ""))


@pytest.mark.parametrize(
    ("body", "charset", "text"),
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
def test_bytes_are_decoded_as_browsers_do(body: bytes, charset: str, text: str) -> None:
    if charset == "utf-8":
        body = body[2:] + b"\xff\xfe"  # no byte order mark
    assert decode_text(body, charset) == text


async def test_a_redirect_with_a_non_ascii_target_is_followed() -> None:
    async def script(wire: Wire) -> None:
        while True:
            request = await wire.request()
            if request.target == "/k%C3%B6ln?a=b":
                await wire.send(answer(b"there", "text/plain"))
            else:
                await wire.send("HTTP/1.1 308 X\r\nLocation: köln?a=b#x\r\nContent-Length: 0\r\n\r\n".encode())

    async with run_wire_server(script) as server, run_tools(server.port) as made:
        assert await made["get_html_as_text"]({"url": f"{server.url}/from"}) == {"content": "there"}


@pytest.mark.parametrize(
    ("pieces", "reason"),
    [
        ([b"HTTP/1.1 302 X\r\nLocation: /\r\nContent-Length: 0\r\n\r\n"], "more than 5 times"),
        ([b"HTTP/1.1 302 X\r\nContent-Length: 0\r\n\r\n"], "without a target"),
        ([b"HTTP/1.1 302 X\r\nLocation: http://[x\r\nContent-Length: 0\r\n\r\n"], "not a URL"),
        ([b"HTTP/1.1 404 X\r\nContent-Length: 0\r\n\r\n"], "status 404"),
        ([b"HTTP/1.1 304 X\r\n\r\n"], "status 304"),
        ([b"nonsense\r\n\r\n"], r"127\.0\.0\.1"),
    ],
)
async def test_a_page_that_cannot_be_read_is_reported_in_a_sentence(pieces: list[bytes], reason: str) -> None:
    with pytest.raises(ToolFailed, match=reason) as result:
        await read(*pieces)
    assert str(result.value).endswith(".")


@pytest.mark.parametrize("packed", [False, True])
async def test_the_size_limit_also_holds_for_compressed_pages(packed: bool) -> None:
    """A tenth of a megabyte that expands to a hundred."""
    body = gzip.compress(b"x" * 100_000_000) if packed else b"x" * (fetcher.MAX_BYTES + 1)
    more = {"Content_Encoding": "gzip"} if packed else {}
    with pytest.raises(ToolFailed, match=f"larger than {fetcher.MAX_BYTES} bytes"):
        await read(answer(body, "text/plain", **more))


async def test_a_long_text_is_cut_with_a_note() -> None:
    result = await read(answer(b"x" * 1_000_000, "text/plain"))
    assert result["content"].endswith("[The first 100000 of 1000000 characters.]") and len(result["content"]) < 100_100


async def test_a_slow_page_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetcher, "FETCH_TIMEOUT", 0.2)

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Type: text/plain\r\n\r\n"))
        while True:
            await wire.send(chunk(b"drip"))
            await asyncio.sleep(0.02)

    async with run_wire_server(script) as server, run_tools(server.port) as made:
        with pytest.raises(ToolFailed, match=r"within 0\.2 seconds"):
            await made["get_html_as_text"]({"url": server.url})
        await wait_until(lambda: not server.wires)


@pytest.mark.parametrize("name", ["get_html_as_text", "get_youtube_transcript", "search_tavily", "image_generation"])
async def test_c5_a_cancelled_tool_closes_its_connection_at_once(name: str) -> None:
    arrived, gone = asyncio.Event(), asyncio.Event()

    async def script(wire: Wire) -> None:
        await wire.request()
        arrived.set()
        await wire.wait_closed()
        gone.set()

    async with run_wire_server(script) as server, run_tools(server.port) as made:
        arguments = {"url": f"{server.url}/?v=dQw4w9WgXcQ", "query": "q", "prompt": "p"}
        running = asyncio.ensure_future(made[name](arguments))
        await arrived.wait()
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await asyncio.wait_for(gone.wait(), 5)
    assert running.cancelled()


async def test_a_page_that_keeps_the_parser_busy_does_not_block_the_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """The parser compares each attribute of a tag with each other one; this page would take a minute."""
    monkeypatch.setattr(web_page, "_EXTRACT_TIMEOUT", 1.0)
    evil = b"<p " + b" ".join(b"a%d=1" % n for n in range(120_000)) + b">x</p>"
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.005)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    with pytest.raises(ToolFailed, match="too complex"):
        await read(answer(evil))
    ticking.cancel()
    assert ticks > 20  # of two hundred in one second of parsing; a blocked loop has one or two


async def test_a_deeply_nested_page_is_read() -> None:
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
    await wait_until(lambda: pid.exists() and pid.read_text().endswith("\n"))
    number, _, environ = pid.read_text().partition(" ")
    reading.cancel()
    await asyncio.gather(reading, return_exceptions=True)
    assert not Path(f"/proc/{number}").exists()
    assert "KEY" not in environ and "PATH" not in environ
