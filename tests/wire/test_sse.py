"""Server-sent events: every spelling of an event, cut at every byte (S8, S9)."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.wire.frames import Frame
from llm.wire.ndjson import NdjsonDecoder, NdjsonSplitter, encode_ndjson_line
from llm.wire.sse import SseDecoder, SseSplitter, encode_sse_event
from tests.support.frames import blocks, frames, lines, names, places, split_at, split_bytes

BOM = b"\xef\xbb\xbf"
# Name -> (text of a stream, its frames) (https://html.spec.whatwg.org/multipage/server-sent-events.html).
EVENTS: dict[str, tuple[str, list[Frame]]] = {
    "plain": ("data: a\n\n", [Frame("a")]),
    "no space after the colon": ("data:a\n\n", [Frame("a")]),
    "one space only is dropped": ("data:  a \n\n", [Frame(" a ")]),
    "no data": ("data:\n\n", []),
    "no colon": ("data\n\n", []),
    "a colon in the data": ("data: a: b\n\n", [Frame("a: b")]),
    "several lines": ("data: a\ndata:\ndata: b\n\n", [Frame("a\n\nb")]),
    "a name": ("event: x\ndata: a\n\n", [Frame("a", "x")]),
    "a name after the data": ("data: a\nevent:x\n\n", [Frame("a", "x")]),
    "the last name counts": ("event: x\nevent: y\ndata: a\n\n", [Frame("a", "y")]),
    "a name counts for one event": ("event: x\ndata: a\n\ndata: b\n\n", [Frame("a", "x"), Frame("b")]),
    "only a name": ("event: x\n\ndata: a\n\n", [Frame("a")]),
    "a comment": (": keep-alive\n\ndata: a\n\n", [Frame("a")]),
    "a comment inside an event": ("data: a\n: no\ndata: b\n\n", [Frame("a\nb")]),
    "ignored fields": ("id: 7\nretry: 10\nunknown: z\ndata: a\n\n", [Frame("a")]),
    "blank lines": ("\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [Frame("a"), Frame("b")]),
    "no last blank line": ("data: a\n\ndata: b\n", [Frame("a"), Frame("b")]),
    "no last line end": ("data: a\n\ndata: b", [Frame("a"), Frame("b")]),
    "a name without its data at the end": ("data: a\n\nevent: x\n", [Frame("a")]),
    "beyond ASCII": ("data: ä 漢 🎈\n\n", [Frame("ä 漢 🎈")]),
    "separators that are not line ends": (
        "data: a\u2028b\u0085c\x0bd\x1ce\n\n",
        [Frame("a\u2028b\u0085c\x0bd\x1ce")],
    ),
    "nothing": ("", []),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("bom", [b"", BOM], ids=["no BOM", "BOM"])
@pytest.mark.parametrize(("text", "expected"), EVENTS.values(), ids=EVENTS)
def test_s8_every_spelling_of_an_event_is_decoded(text: str, expected: list[Frame], bom: bytes, end: str) -> None:
    raw = bom + text.replace("\n", end).encode()
    assert frames(SseDecoder(), [raw]) == expected
    assert frames(SseDecoder(), split_bytes(raw)) == expected
    assert frames(SseDecoder(), [b"", *(piece for byte in split_bytes(raw) for piece in (byte, b""))]) == expected
    for place in range(len(raw)):
        assert frames(SseDecoder(), [raw[:place], raw[place:]]) == expected


def test_s8_line_ends_may_be_mixed() -> None:
    raw = b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\r\n\rdata: e\n\n"
    expected = [Frame(letter) for letter in "abcde"]
    assert frames(SseDecoder(), [raw]) == expected
    assert frames(SseDecoder(), split_bytes(raw)) == expected


@pytest.mark.parametrize("raw", [b"data: a\n\n", b"data: a\r\n\r\n", b"data: a\r\r"])
def test_s10_an_event_is_returned_with_its_last_byte(raw: bytes) -> None:
    framing = SseDecoder()
    assert framing.feed(raw[:-1]) + framing.feed(raw[-1:]) == [Frame("a")]
    assert framing.close() == []


def test_a_byte_order_mark_is_dropped_only_at_the_beginning() -> None:
    assert frames(SseDecoder(), [b"data: a\n\n" + BOM + b"data: b\n\n"]) == [Frame("a")]
    assert frames(SseDecoder(), [b"\xef", b"\xbbdata: a\n\n"]) == []  # an incomplete one is part of the field name
    assert frames(SseDecoder(), [BOM + BOM + b"data: a\n\n"]) == []


events_with_lines = st.lists(
    st.tuples(
        st.lists(lines, min_size=1, max_size=3),
        st.none() | names,
        st.none() | lines,  # a comment in front
        st.sampled_from(["\n", "\r\n", "\r"]),
    ),
    max_size=5,
)


@given(events_with_lines, places)
def test_s9_chunk_borders_do_not_change_the_events(
    events: list[tuple[list[str], str | None, str | None, str]], at: list[int]
) -> None:
    text, expected = "", []
    for data, name, comment, end in events:
        parts = [f":{comment}"] if comment is not None else []
        parts += [f"event: {name}"] if name else []
        parts += [f"data: {line}" for line in data]
        text += end.join([*parts, "", ""])
        if name == "error" or not all(not line or line.isspace() for line in data):  # else it has no data
            expected.append(Frame("\n".join(data), name or ""))
    raw = text.encode()
    assert frames(SseDecoder(), [raw]) == expected
    assert frames(SseDecoder(), split_bytes(raw)) == expected
    assert frames(SseDecoder(), split_at(raw, at)) == expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data:", b"a", b":", b"event: x", BOM, b"\xe6", b"\xbc\xa2"])), places)
def test_s9_chunk_borders_do_not_change_the_frames_of_garbage(tokens: list[bytes], at: list[int]) -> None:
    raw = b"".join(tokens)
    expected = frames(SseDecoder(), [raw])
    assert frames(SseDecoder(), split_bytes(raw)) == expected
    assert frames(SseDecoder(), split_at(raw, at)) == expected


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: a", b": ping"])), places)
def test_split_events_have_the_bytes_of_the_stream(tokens: list[bytes], at: list[int]) -> None:
    raw = b"".join(tokens)
    for pieces in ([raw], split_bytes(raw), split_at(raw, at)):
        assert b"".join(blocks(pieces)) == raw
        assert b"".join(blocks(pieces, NdjsonSplitter)) == raw


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("bom", [b"", BOM], ids=["no BOM", "BOM"])
@pytest.mark.parametrize(("text", "expected"), EVENTS.values(), ids=EVENTS)
def test_split_events_decode_to_the_same_frames(text: str, expected: list[Frame], bom: bytes, end: str) -> None:
    raw = bom + text.replace("\n", end).encode()
    for pieces in ([raw], split_bytes(raw)):
        found = [SseSplitter().decode_frame(block) for block in blocks(pieces)]
        assert [frame for frame in found if frame is not None] == expected


def test_a_split_event_ends_with_its_blank_line() -> None:
    assert blocks([b": ping\n\nevent: x\r\ndata: a\r\n\r\ndata: b"]) == [
        b": ping\n\n",
        b"event: x\r\ndata: a\r\n\r\n",
        b"data: b",
    ]


@given(st.dictionaries(names, st.text()), st.just("") | names)
def test_an_encoded_event_decodes_to_itself(value: dict[str, str], name: str) -> None:
    [frame] = frames(SseDecoder(), split_bytes(encode_sse_event(dict(value), name)))
    assert (json.loads(frame.data), frame.event) == (value, name)
    [frame] = frames(NdjsonDecoder(), split_bytes(encode_ndjson_line(dict(value))))
    assert json.loads(frame.data) == value


def test_an_encoded_event_is_one_line() -> None:
    value = {"text": "a\nb\r\nc\u2028"}
    assert not re.search(rb"[\r\n]", encode_sse_event(dict(value)).removeprefix(b"data: ").removesuffix(b"\n\n"))
    assert encode_sse_event(b"[DONE]") == b"data: [DONE]\n\n"
    assert encode_ndjson_line(dict(value)).count(b"\n") == 1
