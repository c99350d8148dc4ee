"""Providers that disconnect or send malformed data; through the running server, in every lane."""

from __future__ import annotations

import gc
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from handlers.base import BaseHandler
from handlers.request.output import Output
from llm.chat.request import ChatRequest
from llm.upstream.attempts import Attempts
from llm.upstream.call_record import CallRecord
from tests.support.faults import (
    EVERY_LANE,
    EVERY_STREAM,
    SOME_LANES,
    TEXT,
    Lane,
    Scene,
    answer_head,
    make_sending_script,
)
from tests.support.nonsense import HTML, NO_HTTP, SHAPES
from tests.support.wire_server import LAST_CHUNK, Wire, chunk, close_when_taken

BAD = ("upstream_malformed", "upstream_truncated")  # invalid bytes may also be read as an incomplete answer
OF_AN_ANSWER = (BaseHandler, ChatRequest, Attempts, Output, CallRecord)
HOW = pytest.mark.parametrize("reset", [False, True], ids=["closes", "resets"])


# --- it dies ---


@dataclass(frozen=True)
class Stage:
    """How far the provider gets, and the error that the client gets."""

    pieces: Callable[[Lane], list[bytes]]
    code: str
    streams: bool = True  # a streaming client has status 200 by then
    text: bool = False  # and it has the text


def _without_its_end(lane: Lane) -> bytes:
    """All but the last event, or a whole document without the last chunk."""
    if not lane.stream:
        return lane.document
    border = b"\r\n\r\n" if b"\r\n\r\n" in lane.wire.end else b"\n\n"
    return lane.first_payload + b"".join(event + border for event in lane.wire.end.split(border)[:-2])


STAGES = {
    "before its headers": Stage(lambda lane: [], "provider_unreachable", streams=False),
    "in its headers": Stage(lambda lane: [lane.head[:40]], "provider_unreachable", streams=False),
    "after its headers": Stage(lambda lane: [lane.head], "upstream_truncated"),
    "in an event": Stage(
        lambda lane: [lane.head, chunk(lane.first_payload + lane.wire.delta("never told")[:-12])],
        "upstream_truncated",
        text=True,
    ),
    "in a chunk": Stage(lambda lane: [lane.head, b"ffff\r\n" + lane.first_payload], "upstream_truncated", text=True),
    "between events": Stage(lambda lane: [lane.head, chunk(lane.first_payload)], "upstream_truncated", text=True),
    "before its end": Stage(lambda lane: [lane.head, chunk(_without_its_end(lane))], "upstream_truncated", text=True),
}


@HOW
@EVERY_LANE
async def test_a_dying_provider_is_an_error_in_the_client_s_dialect(
    lane: Lane, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    async with Scene(lane, caplog).running() as scene:
        for name, stage in STAGES.items():
            outcome = await scene.run_failure(make_sending_script(*stage.pieces(lane), reset=reset))
            assert outcome.code == stage.code, name
            assert outcome.status == (200 if lane.stream and stage.streams else 502), name
            assert outcome.text == (TEXT if lane.stream and stage.text else ""), name
            assert not outcome.ended, name


@HOW
@SOME_LANES
async def test_br_09_a_provider_that_dies_after_it_has_read_the_request_is_not_asked_again(
    lane: Lane, reset: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """It may bill the first request."""
    async with Scene(lane, caplog).running(MAX_RETRIES="1") as scene:
        outcome = await scene.run_failure(make_sending_script(reset=reset))
        assert (outcome.status, outcome.code) == (502, "provider_unreachable")
        assert scene.provider.connections == 2


@EVERY_LANE
async def test_o9_a_stale_connection_causes_no_error(
    lane: Lane, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The provider answers once and closes the connection while the second request is on its way."""

    async def script(wire: Wire) -> None:
        await wire.request()
        await wire.send(lane.response)
        await wire.request()

    async with Scene(lane, caplog).running() as scene:
        scene.scripts = [script]
        close_when_taken(scene.provider, monkeypatch)
        for connections in (1, 2, 3):
            outcome = await scene.ask()
            assert (outcome.status, outcome.text, outcome.ended) == (200, TEXT, True)
            assert scene.provider.connections == connections


@EVERY_LANE
async def test_bytes_that_are_not_http_are_malformed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        for name, sent in NO_HTTP.items():
            outcome = await scene.run_failure(make_sending_script(sent))
            assert (outcome.status, outcome.code) == (502, "upstream_malformed"), name


@EVERY_LANE
async def test_an_html_page_is_an_error(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """Malformed with status 2xx; otherwise the error of that status."""
    headers = ("Content-Type: text/html", f"Content-Length: {len(HTML)}")
    async with Scene(lane, caplog).running() as scene:
        outcome = await scene.run_failure(make_sending_script(answer_head(*headers) + HTML))
        assert outcome.code in BAD and not outcome.ended
        assert outcome.status == (200 if lane.stream and lane.wire.engine == "ollama" else 502)
        for status in ("502 Bad Gateway", "500 Oops", "520 Unknown"):
            outcome = await scene.run_failure(make_sending_script(answer_head(*headers, status=status) + HTML))
            assert (outcome.status, outcome.code) == (502, "provider_error"), status


@EVERY_LANE
async def test_json_of_another_shape_is_an_error(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """Also instead of a stream: some hosts answer with one document, which is accepted if it is valid."""
    head = answer_head("Content-Type: application/json", "Connection: close")
    async with Scene(lane, caplog).running() as scene:
        for name, sent in SHAPES.items():
            outcome = await scene.run_failure(make_sending_script(head + sent))
            assert outcome.code in BAD and not outcome.ended, name
            assert lane.stream or outcome.status == 502, name


EVENTS = {
    "broken JSON": b'{"choices": [{',
    "no JSON": b"hello world",
    "a NUL": b'{"type": "x\0"}',
    "a number": b"17",
    "a list": b"[17]",
    "very deep": b"[" * 100_000,
    "another type in each field": SHAPES["another type in each field"],
    "a name without a value": b'{"type": "content_block_delta"}',
}


@EVERY_STREAM
async def test_a_malformed_event_is_an_error_after_the_events_before_it(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    """Passthrough passes it on; then the error is that the end event is missing."""
    async with Scene(lane, caplog).running() as scene:
        for name, sent in EVENTS.items():
            event = sent + b"\n" if lane.wire.engine == "ollama" else b"data: " + sent + b"\n\n"
            scene.scripts = [make_sending_script(lane.head, chunk(lane.first_payload), chunk(event) + LAST_CHUNK)]
            answer = await scene.server.post(lane.client.path, lane.body, lane.client.headers)
            raw = await answer.body()
            answer.close()
            assert answer.status == 200 and TEXT.encode() in raw, name
            assert b"upstream_malformed" in raw or b"upstream_truncated" in raw, name
            await scene.check_recovery()


@EVERY_STREAM
async def test_invalid_utf_8_replaces_only_that_character(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    torn = lane.first_payload + lane.wire.delta("§").replace(b"\\u00a7", b"\xff") + lane.wire.end
    async with Scene(lane, caplog).running() as scene:
        scene.scripts = [make_sending_script(lane.head, chunk(torn) + LAST_CHUNK)]
        answer = await scene.server.post(lane.client.path, lane.body, lane.client.headers)
        raw = await answer.body()
    seen = lane.client.read(raw.decode("utf-8", "replace").encode())
    assert seen.text == f"{TEXT}\ufffd" and seen.ended and seen.error is None


# --- what is left of a good answer ---


@EVERY_LANE
async def test_o1_a_finished_answer_is_freed_without_the_garbage_collector(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    async with Scene(lane, caplog).running() as scene:
        await scene.answers()
        gc.collect()
        gc.disable()
        try:
            for _ in range(3):
                await scene.answers()
            left = Counter(type(thing).__name__ for thing in gc.get_objects() if isinstance(thing, OF_AN_ANSWER))
        finally:
            gc.enable()
        assert not left
