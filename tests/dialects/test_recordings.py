"""Every recorded chat answer is read as the oracle reads it, for any cut of its bytes (S9)."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cache
from itertools import groupby
from pathlib import Path

import pytest

from llm.chat.events import Event, ReasoningDelta, TextDelta
from llm.chat.filters import ThinkTagFilter
from llm.chat.grammar import Grammar
from llm.chat.messages import Citation, Part, Reasoning, Text, ToolCall, Usage
from llm.chat.reply import Reply, collect, replay
from llm.dialects.registry import ENGINE_DIALECTS
from llm.errors import LLMError, Malformed, Truncated
from llm.wire.frames import Frame, FrameDecoder
from llm.wire.json_codec import loads
from llm.wire.ndjson import NdjsonDecoder
from tests.support import recordings
from tests.support.grammars import check_stream
from tests.support.oracle import Answer, Call, Failure, Tokens, arguments_of
from tests.support.recordings import Case, Response, cases, read_expected

CASES = cases()
SHORT = 8000  # bytes: two of three streams are at most this long

# Expected differences from the oracle. An entry that no longer differs must be removed.
_GROUNDED = "gemini.py cites for a part that a signature has ended: offsets of the whole answer on an empty text (T5)"
EXCEPTIONS: Mapping[str, str] = {}

# Error code by the status of the answer, or by the status inside a stream error.
CODES = {
    0: "provider_error",
    400: "bad_request",
    401: "provider_auth",
    402: "quota_exceeded",
    403: "provider_permission",
    404: "model_not_found",
    413: "too_large",
    422: "bad_request",
    429: "rate_limited",
    500: "provider_error",
    502: "provider_error",
    503: "provider_overloaded",
    529: "provider_overloaded",
}
# Errors whose body is more exact than their status.
CODES_BY_NAME = {
    "anthropic/messages-400-sync-messages-create-api-error-ea23c7#0": "quota_exceeded",  # credit balance is too low
    "anthropic/messages-stream-function-calling-anthropic-claude-3-5-haiku-20241022-can-use-313558#0": (
        "provider_overloaded"
    ),
    "anthropic/messages-stream-streaming-responses-anthropic-claude-3-5-haiku-20241022-supp-44d7d9#0": (
        "provider_overloaded"
    ),
    "azure/chat-azure-test-prompt-content-filtering-3add88#0": "content_filter",
    "google/gen-400-google-streaming-returns-usage-metrics-1742ea#0": "provider_auth",  # API_KEY_INVALID
    "groq/chat-400-llama3-70b-8192-streaming-5c682d#0": "model_not_found",  # decommissioned
    "llamacpp/chat-400-error-matrix-context-overflow-streaming-db05ae#0": "context_length",
    "ollama/chat-400-real-error-scenarios-ollama-cloud-gpt-oss-120b-handles-conte-831279#0": "context_length",
    "openai/responses-400-real-error-scenarios-openai-gpt-5-nano-handles-context-lengt-904199#0": "context_length",
    "xai/responses-400-error-handling-with-xai-grok-4-1-fast-non-reasoning-raises-a-e502a8#0": "provider_auth",
    "openrouter/chat-400-real-error-scenarios-openrouter-claude-haiku-4-5-handles-con-b0a585#0": "context_length",
}


def events_of(case: Case, response: Response, pieces: Iterable[bytes]) -> Iterator[Event]:
    """Reads an answer from the given reads as events. Raises the error in it."""
    dialect, engine = ENGINE_DIALECTS[case.engine.dialect], case.engine
    tags = ThinkTagFilter()
    polish: Callable[[Iterable[Event]], Iterable[Event]] = tags.feed if engine.quirks.think_tags else iter
    if response.status >= 400:
        raise dialect.read_error(response.status, response.body, engine)
    framing, reader = dialect.create_framing(), dialect.create_reader(engine)
    # Some hosts answer a stream with one JSON document; of JSON lines there may be only one.
    if not (case.streamed if isinstance(framing, NdjsonDecoder) else response.is_stream):
        yield from polish(replay(dialect.read_reply(loads(b"".join(pieces)), engine)))
        return
    for frame in frames_of(framing, pieces):
        yield from polish(reader.feed(frame))
    if not reader.done:
        yield from polish(reader.close())


def frames_of(framing: FrameDecoder, pieces: Iterable[bytes]) -> Iterator[Frame]:
    for piece in pieces:
        if frames := framing.feed(piece):
            yield from frames
    yield from framing.close()


def forms(response: Response) -> Iterator[tuple[str, Response]]:
    yield "as recorded", response
    if response.is_stream:
        yield "CRLF", response.with_crlf()


def cut_bytes(response: Response) -> Iterator[tuple[str, Iterable[bytes]]]:
    """Yields the bytes in different cuts: short answers at every byte, long ones only where a cut can matter.
    (``test_sse`` cuts at every byte.)
    """
    yield ("byte by byte", response.pieces(1)) if len(response.body) <= SHORT else ("torn", response.split_everywhere())
    yield "as it came", response.recorded_reads()
    for size in (7, 50):
        yield f"in pieces of {size}", response.pieces(size)


def to_answer(reply: Reply) -> Answer:
    usage = reply.usage
    return Answer(
        text=reply.text,
        reasoning=reply.reasoning,
        calls=tuple(
            Call(call.name, arguments_of(call.arguments), call.id, hosted=call.executor == "provider")
            for call in reply.calls
        ),
        finish=reply.finish.reason,
        tokens=None if usage == Usage() else Tokens(usage.input, usage.output, usage.cache_read, usage.reasoning),
        order=tuple(kind for kind, _ in groupby(filter(None, map(get_kind, reply.message.parts)))),
        sources=frozenset(citation.url for citation in check_citations(reply) if citation.url),
    )


def get_kind(part: Part) -> str | None:
    match part:
        case Text(text):
            return "text" if text else None
        case Reasoning(text):
            return "reasoning" if text else None
        case ToolCall():
            return "call"
    return "other"


def check_citations(reply: Reply) -> Iterator[Citation]:
    """Returns all citations and checks their offsets (T5)."""
    for part in reply.message.parts:
        if isinstance(part, Text):
            for citation in part.citations:
                if citation.start is not None and citation.end is not None:
                    assert 0 <= citation.start <= citation.end <= len(part.text), f"{citation} of {part.text!r}"
                yield citation


def compare(got: Answer, wanted: Answer) -> None:
    assert got.text in (wanted.text, wanted.apart)
    for name in ("reasoning", "finish", "tokens", "order", "sources"):
        assert getattr(got, name) == getattr(wanted, name), name
    parts = [call for call in wanted.calls if not call.visible]
    assert len(got.calls) == len(parts)
    for ours, theirs in zip(got.calls, parts, strict=True):
        assert (ours.name, ours.arguments, ours.hosted) == (theirs.name, theirs.arguments, theirs.hosted)
        assert ours.id and theirs.id in (None, ours.id)
    assert len({call.id for call in got.calls}) == len(got.calls)


def compare_failure(case: Case, error: LLMError, events: list[Event], wanted: Failure) -> None:
    assert "".join(e.text for e in events if isinstance(e, TextDelta)) == wanted.text
    assert "".join(e.text for e in events if isinstance(e, ReasoningDelta)) == wanted.reasoning
    Grammar().feed(events)
    if wanted.kind == "cut":
        assert isinstance(error, Truncated if case.response.is_stream or case.streamed else Malformed)
        return
    assert error.code == CODES_BY_NAME.get(case.name, CODES[wanted.status])
    assert error.provider is not None
    masked = re.sub(r"(?<=key provided: )\S+", "***", wanted.message or "")  # X4
    assert masked in (error.provider.message, "")
    assert str(error)
    if case.response.status >= 400:
        assert error.provider.status == case.response.status


def check(case: Case) -> None:
    """Checks the content, and that any cut gives the same frames, which are a reader's only input."""
    framing = ENGINE_DIALECTS[case.engine.dialect].create_framing
    for ends, response in forms(case.response):
        check_read(replace(case, response=response), ends, (response.body,), read_expected(case))
        whole = [*frames_of(framing(), (response.body,))]
        for way, pieces in cut_bytes(response) if response.is_stream else ():
            assert [*frames_of(framing(), pieces)] == whole, f"{ends}, {way}"


def check_read(case: Case, what: str, pieces: Iterable[bytes], wanted: Answer | Failure) -> None:
    events: list[Event] = []
    try:
        for event in events_of(case, case.response, pieces):
            events.append(event)  # one by one: events before an error count
    except LLMError as error:
        assert isinstance(wanted, Failure), f"{what}: {error!r}"
        compare_failure(case, error, events, wanted)
        return
    assert isinstance(wanted, Answer), f"{what}: no error"
    check_stream(events)
    Grammar().feed(events)
    reply = collect(events)
    compare(to_answer(reply), wanted)
    assert collect(replay(reply)) == reply
    check_stream(replay(reply))


@cache
def find_fault(number: int) -> AssertionError | None:
    try:
        check(CASES[number])
    except AssertionError as error:
        return error
    return None


@pytest.mark.parametrize("number", range(len(CASES)), ids=[case.name for case in CASES])
def test_s9_a_recorded_answer_is_read_completely(number: int) -> None:
    found = find_fault(number)
    if CASES[number].name in EXCEPTIONS:
        assert found is not None, "no longer exceptional: take it off the list"
    elif found is not None:
        raise found


def test_every_recorded_answer_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    right = sum(find_fault(number) is None for number in range(len(CASES)))
    with capsys.disabled():
        print(f"\nrecorded answers read as what is in them: {right} of {len(CASES)}")
    assert right == len(CASES) - len(EXCEPTIONS)
    assert len(CASES) >= 866


def truncate_stream(case: Case) -> Iterator[Case]:
    """Yields the stream cut after its first event, after half of the events and before the last event."""
    border = b"\n" if case.engine.dialect == "ollama" else b"\n\n"
    body = case.response.body.replace(b"\r\n", b"\n").rstrip(b"\n")
    blocks = [block + border for block in body.split(border)]
    for count in sorted({1, len(blocks) // 2, len(blocks) - 1} - {0, len(blocks)}):
        short = b"".join(blocks[:count])
        if short.lstrip():
            yield replace(case, response=replace(case.response, body=short, chunk_lengths=()))


STREAMS = [case for case in CASES if case.response.is_stream and isinstance(read_expected(case), Answer)]


@pytest.mark.parametrize("dialect", sorted({case.engine.dialect for case in STREAMS}))
def test_s1_a_recorded_stream_that_ends_early_is_an_error_unless_it_had_finished(dialect: str) -> None:
    ended = 0
    for case in STREAMS:
        if case.engine.dialect != dialect:
            continue
        for short in truncate_stream(case):
            wanted = read_expected(short)
            check_read(short, case.name, short.response.pieces(50), wanted)
            ended += isinstance(wanted, Failure)
            # Cut inside an event: the event is ignored, and the end is never a normal one.
            half = replace(short.response, body=short.response.body[:-9])
            if isinstance(wanted, Failure) and half.is_stream:
                with pytest.raises((Truncated, Malformed)):
                    collect(events_of(short, half, half.pieces(50)))
    assert ended > 0


def test_missing_recordings_are_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(recordings, "FOLDER", tmp_path / "recordings")
    monkeypatch.setenv("CI", "")
    with pytest.raises(pytest.skip.Exception, match=r"no recorded traffic at .*LLM_SERVER_SHARED"):
        recordings.recordings.__wrapped__()
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="no recorded traffic at"):
        recordings.recordings.__wrapped__()


def test_every_exception_names_an_existing_recording() -> None:
    names = {case.name for case in CASES}
    assert {*EXCEPTIONS, *CODES_BY_NAME} <= names
