"""Bounds of a frame, for every protocol (O3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm.errors import Malformed
from llm.wire.frames import Blocks, Frame, Framing
from llm.wire.ndjson import JsonLines, LineBlocks
from llm.wire.sse import Sse, SseBlocks
from tests.support.frames import blocks, frames

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
