"""The size limit of a frame, for every decoder and splitter (O3)."""

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
def test_o3_a_frame_above_the_limit_is_malformed(framing: Callable[[int], Framing | Blocks], endless: bytes) -> None:
    for size in (1, 3, 1000):
        decoder = framing(100)
        raw = endless * 10
        with pytest.raises(Malformed, match="more than 100 bytes"):
            for start in range(0, len(raw), size):
                (decoder.feed if hasattr(decoder, "feed") else decoder.cut)(raw[start : start + size])


def test_many_frames_together_may_exceed_the_limit() -> None:
    assert len(frames(Sse(100), [b"data: aaaaaaaa\n\n" * 100])) == 100
    assert len(frames(JsonLines(100), [b'{"a":1}\n' * 100])) == 100
    assert len(blocks([b"data: aaaaaaaa\n\n" * 100])) == 101


def test_o3_a_long_frame_is_searched_once() -> None:
    """An image of 20 MB in reads of 4 KB: quadratic work would take minutes here."""
    raw = b"a" * 20_000_000
    pieces = [raw[start : start + 4096] for start in range(0, len(raw), 4096)]
    assert frames(Sse(), [b"data: ", *pieces, b"\n\n"]) == [Frame(raw.decode())]
    assert frames(JsonLines(), [*pieces, b"\n"]) == [Frame(raw.decode())]
    assert blocks([b"data: ", *pieces, b"\n\n"]) == [b"data: " + raw + b"\n\n", b""]
