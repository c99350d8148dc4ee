"""Bytes to frames: every way to write an event, cut at every place (S8, S9)."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.errors import Malformed
from llm.wire.frames import Blocks, Frame, Framing
from llm.wire.json_codec import dumps
from llm.wire.ndjson import JsonLines, LineBlocks, json_line
from llm.wire.sse import Sse, SseBlocks, sse

BOM = b"\xef\xbb\xbf"


def frames(framing: Framing, pieces: Iterable[bytes]) -> list[Frame]:
    found = [frame for piece in pieces for frame in framing.feed(piece)]
    return found + framing.close()


def blocks(pieces: Iterable[bytes], kind: Callable[[], Blocks] = SseBlocks) -> list[bytes]:
    cutter = kind()
    found = [block for piece in pieces for block in cutter.split(cutter.cut(piece))]
    return [*found, cutter.close()]


def byte_by_byte(raw: bytes) -> Iterable[bytes]:
    return [bytes((byte,)) for byte in raw]


def cut(raw: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in pairwise(ends)]


places = st.lists(st.integers(0, 10_000), max_size=8)

# What may be written, and what it means (https://html.spec.whatwg.org/multipage/server-sent-events.html).
EVENTS: dict[str, tuple[str, list[Frame]]] = {
    "plain": ("data: a\n\n", [Frame("a")]),
    "no space after the colon": ("data:a\n\n", [Frame("a")]),
    "one space only is dropped": ("data:  a \n\n", [Frame(" a ")]),
    "no data": ("data:\n\n", []),
    "no colon": ("data\n\n", []),
    "a colon in the data": ("data: a: b\n\n", [Frame("a: b")]),
    "several lines": ("data: a\ndata:\ndata: b\n\n", [Frame("a\n\nb")]),
    "a name": ("event: x\ndata: a\n\n", [Frame("a", "x")]),
    "a name behind the data": ("data: a\nevent:x\n\n", [Frame("a", "x")]),
    "the last name counts": ("event: x\nevent: y\ndata: a\n\n", [Frame("a", "y")]),
    "a name is of one event": ("event: x\ndata: a\n\ndata: b\n\n", [Frame("a", "x"), Frame("b")]),
    "nothing but a name": ("event: x\n\ndata: a\n\n", [Frame("a")]),
    "a comment": (": keep-alive\n\ndata: a\n\n", [Frame("a")]),
    "a comment inside an event": ("data: a\n: no\ndata: b\n\n", [Frame("a\nb")]),
    "fields of no use": ("id: 7\nretry: 10\nunknown: z\ndata: a\n\n", [Frame("a")]),
    "blank lines": ("\n\n\ndata: a\n\n\n\n\ndata: b\n\n\n", [Frame("a"), Frame("b")]),
    "no last blank line": ("data: a\n\ndata: b\n", [Frame("a"), Frame("b")]),
    "no last line end": ("data: a\n\ndata: b", [Frame("a"), Frame("b")]),
    "a name without its data at the end": ("data: a\n\nevent: x\n", [Frame("a")]),
    "beyond ASCII": ("data: ä 漢 🎈\n\n", [Frame("ä 漢 🎈")]),
    "separators that are no line ends": (
        "data: a\u2028b\u0085c\x0bd\x1ce\n\n",
        [Frame("a\u2028b\u0085c\x0bd\x1ce")],
    ),
    "nothing": ("", []),
}


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("bom", [b"", BOM], ids=["no BOM", "BOM"])
@pytest.mark.parametrize(("text", "meant"), EVENTS.values(), ids=EVENTS)
def test_s8_an_event_stream_means_the_same_in_every_spelling(
    text: str, meant: list[Frame], bom: bytes, end: str
) -> None:
    raw = bom + text.replace("\n", end).encode()
    assert frames(Sse(), [raw]) == meant
    assert frames(Sse(), byte_by_byte(raw)) == meant
    assert frames(Sse(), [b"", *(piece for byte in byte_by_byte(raw) for piece in (byte, b""))]) == meant
    for place in range(len(raw)):
        assert frames(Sse(), [raw[:place], raw[place:]]) == meant


def test_s8_line_ends_may_be_mixed() -> None:
    raw = b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\ndata: d\r\n\rdata: e\n\n"
    meant = [Frame(letter) for letter in "abcde"]
    assert frames(Sse(), [raw]) == meant
    assert frames(Sse(), byte_by_byte(raw)) == meant


@pytest.mark.parametrize("raw", [b"data: a\n\n", b"data: a\r\n\r\n", b"data: a\r\r"])
def test_s10_an_event_is_told_with_its_last_byte(raw: bytes) -> None:
    framing = Sse()
    assert framing.feed(raw[:-1]) + framing.feed(raw[-1:]) == [Frame("a")]
    assert framing.close() == []


def test_a_bom_is_dropped_at_the_beginning_only() -> None:
    assert frames(Sse(), [b"data: a\n\n" + BOM + b"data: b\n\n"]) == [Frame("a")]
    assert frames(Sse(), [b"\xef", b"\xbbdata: a\n\n"]) == []  # the half of one is no BOM, and spoils the name
    assert frames(Sse(), [BOM + BOM + b"data: a\n\n"]) == []


lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
names = st.text("abcdefghijklmnopqrstuvwxyz_.", min_size=1, max_size=8)
written = st.lists(
    st.tuples(
        st.lists(lines, min_size=1, max_size=3),
        st.none() | names,
        st.none() | lines,  # a comment in front
        st.sampled_from(["\n", "\r\n", "\r"]),
    ),
    max_size=5,
)


@given(written, places)
def test_s9_any_events_come_out_of_any_cutting(
    events: list[tuple[list[str], str | None, str | None, str]], at: list[int]
) -> None:
    text, meant = "", []
    for data, name, comment, end in events:
        parts = [f":{comment}"] if comment is not None else []
        parts += [f"event: {name}"] if name else []
        parts += [f"data: {line}" for line in data]
        text += end.join([*parts, "", ""])
        if name == "error" or not all(not line or line.isspace() for line in data):  # else it has no data
            meant.append(Frame("\n".join(data), name or ""))
    raw = text.encode()
    assert frames(Sse(), [raw]) == meant
    assert frames(Sse(), byte_by_byte(raw)) == meant
    assert frames(Sse(), cut(raw, at)) == meant


@given(st.lists(st.sampled_from([b"\r", b"\n", b"data:", b"a", b":", b"event: x", BOM, b"\xe6", b"\xbc\xa2"])), places)
def test_s9_what_makes_no_sense_makes_none_in_any_cutting(tokens: list[bytes], at: list[int]) -> None:
    raw = b"".join(tokens)
    meant = frames(Sse(), [raw])
    assert frames(Sse(), byte_by_byte(raw)) == meant
    assert frames(Sse(), cut(raw, at)) == meant


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b"data: a", b": ping"])), places)
def test_blocks_are_the_very_bytes_in_any_cutting(tokens: list[bytes], at: list[int]) -> None:
    raw = b"".join(tokens)
    for pieces in ([raw], byte_by_byte(raw), cut(raw, at)):
        assert b"".join(blocks(pieces)) == raw
        assert b"".join(blocks(pieces, LineBlocks)) == raw


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
@pytest.mark.parametrize("bom", [b"", BOM], ids=["no BOM", "BOM"])
@pytest.mark.parametrize(("text", "meant"), EVENTS.values(), ids=EVENTS)
def test_blocks_carry_the_frames(text: str, meant: list[Frame], bom: bytes, end: str) -> None:
    raw = bom + text.replace("\n", end).encode()
    for pieces in ([raw], byte_by_byte(raw)):
        found = [SseBlocks().frame(block) for block in blocks(pieces)]
        assert [frame for frame in found if frame is not None] == meant


def test_a_block_ends_with_its_blank_line() -> None:
    assert blocks([b": ping\n\nevent: x\r\ndata: a\r\n\r\ndata: b"]) == [
        b": ping\n\n",
        b"event: x\r\ndata: a\r\n\r\n",
        b"data: b",
    ]


@given(st.lists(st.dictionaries(names, lines, max_size=3), max_size=5), st.sampled_from(["\n", "\r\n"]), places)
def test_s9_any_json_lines_come_out_of_any_cutting(values: list[dict[str, str]], end: str, at: list[int]) -> None:
    raw = "".join(dumps(value) + end for value in values).encode()
    for pieces in ([raw], byte_by_byte(raw), cut(raw, at), cut(raw.removesuffix(end.encode()), at)):
        assert [json.loads(frame.data) for frame in frames(JsonLines(), pieces)] == values
        passed = [LineBlocks().frame(block) for block in blocks(pieces, LineBlocks)]
        assert [json.loads(frame.data) for frame in passed if frame is not None] == values


def test_s8_empty_lines_are_keep_alives() -> None:
    raw = b'\n\r\n \n{"a":1}\n\n\n{"b":2}'
    for pieces in ([raw], byte_by_byte(raw)):
        assert [frame.data for frame in frames(JsonLines(), pieces)] == ['{"a":1}', '{"b":2}']


ENDLESS: list[tuple[Callable[[int], Framing | Blocks], bytes]] = [
    (Sse, b"data: aaaaaaaaaaaaaa"),
    (Sse, b"data: aaaaaaaaaaaaaa\n"),
    (Sse, b": aaaaaaaaaaaaaa\r\n"),
    (SseBlocks, b"data: aaaaaaaaaaaaaa\n"),
    (JsonLines, b'{"a": "aaaaaaaaaaaaa'),
    (LineBlocks, b'{"a": "aaaaaaaaaaaaa'),
]


@pytest.mark.parametrize(("framing", "endless"), ENDLESS)
def test_a_frame_has_a_bound(framing: Callable[[int], Framing | Blocks], endless: bytes) -> None:
    for size in (1, 3, 1000):
        bounded = framing(100)
        raw = endless * 10
        with pytest.raises(Malformed, match="more than 100 bytes"):
            for start in range(0, len(raw), size):
                (bounded.cut if hasattr(bounded, "cut") else bounded.feed)(raw[start : start + size])


def test_many_frames_may_be_more_than_the_bound() -> None:
    assert len(frames(Sse(100), [b"data: aaaaaaaa\n\n" * 100])) == 100
    assert len(frames(JsonLines(100), [b'{"a":1}\n' * 100])) == 100
    assert len(blocks([b"data: aaaaaaaa\n\n" * 100])) == 101


def test_o3_a_long_frame_is_looked_through_once() -> None:
    """A picture of megabytes in reads of some kilobytes: quadratic work would take minutes here."""
    raw = b"a" * 20_000_000
    pieces = [raw[start : start + 4096] for start in range(0, len(raw), 4096)]
    assert frames(Sse(), [b"data: ", *pieces, b"\n\n"]) == [Frame(raw.decode())]
    assert frames(JsonLines(), [*pieces, b"\n"]) == [Frame(raw.decode())]
    assert blocks([b"data: ", *pieces, b"\n\n"]) == [b"data: " + raw + b"\n\n", b""]


@given(st.dictionaries(names, st.text()), st.just("") | names)
def test_what_we_write_is_what_we_read(value: dict[str, str], name: str) -> None:
    [frame] = frames(Sse(), byte_by_byte(sse(dict(value), name)))
    assert (json.loads(frame.data), frame.event) == (value, name)
    [frame] = frames(JsonLines(), byte_by_byte(json_line(dict(value))))
    assert json.loads(frame.data) == value


def test_what_we_write_is_one_line() -> None:
    value = {"text": "a\nb\r\nc\u2028"}
    assert not re.search(rb"[\r\n]", sse(dict(value)).removeprefix(b"data: ").removesuffix(b"\n\n"))
    assert sse(b"[DONE]") == b"data: [DONE]\n\n"
    assert json_line(dict(value)).count(b"\n") == 1
