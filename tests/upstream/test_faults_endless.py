"""Providers that never end, or stall; through the running server, in every lane."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.support.faults import (
    EVERY_LANE,
    EVERY_STREAM,
    TEXT,
    Lane,
    Scene,
    Script,
    answer_head,
    make_repeating_script,
    make_stalling_script,
)
from tests.support.wire_server import chunk

SOON = "0.3"  # seconds, the timeouts of the server
A_WHILE = 0.05  # seconds between two pieces


@EVERY_LANE
async def test_s12_a_provider_that_never_answers_times_out(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running(FIRST_BYTE_TIMEOUT=SOON) as scene:
        for outcome in await scene.run_failures(make_stalling_script(), drips(b"HTTP/1.1 200 OK\r\nX-Long: ")):
            assert (outcome.status, outcome.code) == (504, "first_byte_timeout")


@EVERY_LANE
async def test_s12_an_answer_that_stalls_times_out(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running(IDLE_TIMEOUT=SOON) as scene:
        outcome = await scene.run_failure(make_stalling_script(lane.head + chunk(lane.first_payload)))
        assert (outcome.status, outcome.code) == (200 if lane.stream else 504, "idle_timeout")
        assert outcome.text == (TEXT if lane.stream else "")


def drips(*before: bytes) -> Script:
    """Sends ``before`` at once, then endless single bytes."""
    return make_repeating_script(b"x", *before, pause=A_WHILE / 5)


@EVERY_STREAM
async def test_s12_an_incomplete_event_does_not_restart_the_idle_timer(
    lane: Lane, caplog: pytest.LogCaptureFixture
) -> None:
    head = answer_head(f"Content-Type: {lane.content_type}", "Connection: close")
    async with Scene(lane, caplog).running(IDLE_TIMEOUT=SOON) as scene:
        outcome = await scene.run_failure(drips(head + lane.first_payload + lane.wire.delta("never told")[:-20]))
        assert (outcome.status, outcome.code, outcome.text) == (200, "idle_timeout", TEXT)


@EVERY_STREAM
async def test_s12_keep_alive_bytes_do_not_restart_the_idle_timer(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    """Few or many of them."""
    signs = [b"\n", b" ", lane.wire.ping, *([] if lane.wire.engine == "ollama" else [b": still here\n\n"])]
    few = [make_repeating_script(chunk(sign), lane.head, pause=A_WHILE) for sign in signs]
    many = [make_repeating_script(chunk(sign * 500), lane.head, pause=A_WHILE / 5) for sign in signs]
    async with Scene(lane, caplog).running(IDLE_TIMEOUT=SOON) as scene:
        for outcome in await scene.run_failures(*few, *many):
            assert (outcome.status, outcome.code, outcome.text) == (200, "idle_timeout", ""), outcome


# --- more than fits ---


@EVERY_LANE
async def test_an_endless_response_head_is_malformed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    async with Scene(lane, caplog).running() as scene:
        for script in (
            make_repeating_script(b"X-More: and more of it\r\n" * 100, b"HTTP/1.1 200 OK\r\n"),
            make_repeating_script(answer_head(status="100 Continue")),
        ):
            outcome = await scene.run_failure(script)
            assert (outcome.status, outcome.code) == (502, "upstream_malformed")


@EVERY_LANE
async def test_an_error_status_counts_even_if_its_body_breaks(
    lane: Lane, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llm.upstream.failures.ERROR_BODY_TIMEOUT", float(SOON))
    statuses = {"429 No": (429, "rate_limited"), "400 No": (400, "bad_request"), "503 No": (503, "provider_overloaded")}
    scripts = []
    for status in statuses:
        head = answer_head("Content-Type: text/plain", "Connection: close", "Retry-After: 77", status=status)
        scripts += [make_repeating_script(b"no " * 20_000, head), make_stalling_script(head + b"no"), drips(head)]
    async with Scene(lane, caplog).running() as scene:
        outcomes = await scene.run_failures(*scripts)
    assert Counter((outcome.status, outcome.code) for outcome in outcomes) == dict.fromkeys(statuses.values(), 3)


@EVERY_LANE
async def test_an_endless_event_or_document_is_malformed(lane: Lane, caplog: pytest.LogCaptureFixture) -> None:
    begun = chunk(lane.first_payload) + chunk(lane.wire.delta("x")[:-20]) if lane.stream else chunk(lane.first_payload)
    async with Scene(lane, caplog).running(MAX_ANSWER_SIZE="1MB") as scene:
        outcome = await scene.run_failure(make_repeating_script(chunk(b"x" * 50_000), lane.head + begun))
        assert (outcome.status, outcome.code) == (200 if lane.stream else 502, "upstream_malformed")
        assert outcome.text == (TEXT if lane.stream else "")
