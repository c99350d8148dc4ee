"""Providers with wrong lengths, encodings or order of messages; through the running server, in every lane."""

from __future__ import annotations

import asyncio
import gzip
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.faults import (
    EVERY_LANE,
    EVERY_WHOLE,
    TEXT,
    Lane,
    Outcome,
    Scene,
    answer_head,
    make_sending_script,
    make_stalling_script,
)
from tests.support.wire_server import Wire, chunk

UPLOAD = 20_000_000  # bytes


def _is_good(outcome: Outcome) -> bool:
    return (outcome.status, outcome.text, outcome.ended) == (200, TEXT, True)


# --- lengths ---


def _framed(lane: Lane, *headers: str) -> bytes:
    return answer_head(f"Content-Type: {lane.content_type}", *headers) + lane.payload


UNTRUSTED: dict[str, Callable[[Lane], bytes]] = {
    "negative": lambda lane: _framed(lane, "Content-Length: -5"),
    "no number": lambda lane: _framed(lane, "Content-Length: many"),
    "two that differ": lambda lane: _framed(lane, f"Content-Length: {len(lane.payload)}", "Content-Length: 5"),
    "beside chunks": lambda lane: _framed(lane, "Content-Length: 5", "Transfer-Encoding: chunked"),
    "another coding": lambda lane: _framed(lane, "Transfer-Encoding: gzip, chunked"),
    "larger than anything": lambda lane: _framed(lane, f"Content-Length: {10**20}"),
}


@EVERY_LANE
async def test_an_invalid_content_length_is_malformed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        for name, sent in UNTRUSTED.items():
            outcome = await scene.run_failure(make_sending_script(sent(lane)))
            assert (outcome.status, outcome.code) == (502, "upstream_malformed"), name


@EVERY_LANE
async def test_a_wrong_content_length_is_an_error(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """Except for a stream that has reached the end event of its dialect: it is complete."""
    size = len(lane.payload)
    async with Scene(lane, caplog).running() as scene:
        outcome = await scene.run_failure(make_sending_script(_framed(lane, f"Content-Length: {size + 5}")))
        if lane.stream and lane.wire.engine != "google":  # Gemini streams have no end event
            assert _is_good(outcome)
        else:
            assert outcome.code == "upstream_truncated" and not outcome.ended
        cut = len(lane.first_payload) if lane.stream else size - 2
        outcome = await scene.run_failure(make_sending_script(_framed(lane, f"Content-Length: {cut}")))
        assert outcome.code == ("upstream_truncated" if lane.stream else "upstream_malformed")
        assert not outcome.ended


@EVERY_LANE
async def test_a_wrong_chunk_size_is_an_error_after_the_valid_bytes(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    lies = {
        "upstream_malformed": chunk(lane.first_payload) + b"5\r\nmore than five\r\n",
        "upstream_truncated": b"fffffff\r\n" + lane.first_payload,
    }
    async with Scene(lane, caplog).running() as scene:
        for code, lie in lies.items():
            outcome = await scene.run_failure(make_sending_script(lane.head, lie))
            assert outcome.code == code and not outcome.ended
            assert outcome.text == (TEXT if lane.stream else "")


# --- encodings ---


def _packed(lane: Lane, encoding: str, body: bytes) -> bytes:
    headers = (f"Content-Type: {lane.content_type}", f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")
    return answer_head(*headers) + body


BROKEN: dict[str, Callable[[bytes], tuple[str, bytes]]] = {
    "not compressed": lambda payload: ("gzip", payload),
    "broken": lambda payload: ("gzip", gzip.compress(payload)[:12] + b"\xff" * 40),
    "unknown": lambda payload: ("br", payload),
    "several": lambda payload: ("gzip, gzip", gzip.compress(gzip.compress(payload))),
    "cut": lambda payload: ("gzip", gzip.compress(payload)[:-9]),
}


@EVERY_LANE
async def test_an_unrequested_compressed_answer_is_read(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        assert _is_good(
            await scene.run_failure(make_sending_script(_packed(lane, "gzip", gzip.compress(lane.payload))))
        )
        assert _is_good(
            await scene.run_failure(make_sending_script(_packed(lane, "deflate", zlib.compress(lane.payload))))
        )


@EVERY_LANE
async def test_an_answer_with_broken_compression_is_malformed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        for name, lie in BROKEN.items():
            if lane.stream and name == "cut":
                continue  # the readable part may include the end event
            outcome = await scene.run_failure(make_sending_script(_packed(lane, *lie(lane.payload))))
            assert (outcome.status, outcome.code) == (200 if lane.stream else 502, "upstream_malformed"), name
            assert outcome.text == "", name


# --- turns ---


@EVERY_LANE
async def test_an_extra_response_is_discarded(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """It must not become the answer to the next request, which may be another client's."""
    other = lane.response.replace(TEXT.encode(), b"Another's text")
    assert len(other) == len(lane.response) and other != lane.response
    async with Scene(lane, caplog).running() as scene:
        assert _is_good(await scene.run_failure(make_stalling_script(lane.response + other)))
        assert _is_good(await scene.run_failure(make_stalling_script(lane.response, other)))


@EVERY_LANE
async def test_a_redirect_is_not_followed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        for status in ("301 Moved", "302 Found", "307 Temporary", "308 Permanent", "304 Not Modified"):
            head = answer_head(f"Location: {scene.provider.url}/v1", "Content-Length: 0", status=status)
            before = scene.provider.connections
            outcome = await scene.run_failure(make_sending_script(head))
            assert (outcome.status, outcome.code) == (502, "provider_error"), status
            assert scene.provider.connections == before + 2  # this one and that of the regular request


@EVERY_LANE
async def test_interim_responses_and_trailers_are_ignored(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    interim = answer_head(status="100 Continue") + answer_head("Link: </x>; rel=preload", status="103 Early Hints")
    trailed = lane.response.removesuffix(b"\r\n") + b"X-Checksum: 17\r\nServer-Timing: x\r\n\r\n"
    async with Scene(lane, caplog).running() as scene:
        assert _is_good(await scene.run_failure(make_sending_script(interim, trailed)))


@EVERY_LANE
async def test_a_protocol_switch_is_malformed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        outcome = await scene.run_failure(
            make_stalling_script(answer_head("Upgrade: h2c", status="101 Switching Protocols"))
        )
        assert (outcome.status, outcome.code) == (502, "upstream_malformed")


@EVERY_LANE
async def test_a_half_closed_connection_counts_as_closed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    def closes(*pieces: bytes) -> Callable[[Wire], Any]:
        async def script(wire: Wire) -> None:
            await wire.request()
            for piece in pieces:
                await wire.send(piece)
            wire.writer.write_eof()
            await wire.wait_closed()

        return script

    async with Scene(lane, caplog).running() as scene:
        outcome = await scene.run_failure(closes(lane.head + chunk(lane.first_payload)))
        assert outcome.code == "upstream_truncated" and not outcome.ended
        outcome = await scene.run_failure(closes())
        assert (outcome.status, outcome.code) == (502, "provider_unreachable")


# --- an answer before the request was read ---


def _large(lane: Lane) -> dict[str, Any]:
    words = "word " * (UPLOAD // 5)
    content = {"prompt": words} if lane.client.name == "native" else {"messages": [{"role": "user", "content": words}]}
    return {**lane.body, **content}


def _early(answer: bytes, end: Callable[[Wire], None] | None = None) -> Callable[[Wire], Any]:
    """Answers as soon as the head of the request has arrived."""

    async def script(wire: Wire) -> None:
        await wire.head()
        await wire.send(answer)
        if end is not None:
            end(wire)
        else:
            await wire.wait_closed()

    return script


@EVERY_WHOLE
async def test_a_response_before_the_request_was_read_is_used(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    content = b'{"error": {"message": "Too much.", "type": "too_large"}}'
    head = answer_head("Content-Type: application/json", f"Content-Length: {len(content)}", status="413 Too Large")
    async with Scene(lane, caplog).running() as scene:
        for end in (None, Wire.cut):
            outcome = await scene.run_failure(_early(head + content, end), **_large(lane))
            assert (outcome.status, outcome.code) == (413, "too_large")
        assert _is_good(await scene.run_failure(_early(lane.response), **_large(lane)))


@EVERY_WHOLE
async def test_an_upload_that_the_provider_does_not_read_times_out(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    """The first-byte timeout counts from the last byte that the provider took."""
    given_up = asyncio.Event()

    async def script(wire: Wire) -> None:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await given_up.wait()

    async with Scene(lane, caplog).running(FIRST_BYTE_TIMEOUT="0.3") as scene:
        scene.scripts = [script]
        outcome = await scene.ask(**_large(lane))
        assert (outcome.status, outcome.code) == (504, "first_byte_timeout")
        given_up.set()
        await scene.check_recovery()
