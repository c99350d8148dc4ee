"""The size limit of a frame, for every decoder and splitter (O3)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from llm.errors import Malformed
from llm.wire.frames import Frame, FrameDecoder, FrameSplitter
from llm.wire.ndjson import NdjsonDecoder, NdjsonSplitter
from llm.wire.sse import SseDecoder, SseSplitter
from tests.support.frames import blocks, frames

ENDLESS: list[tuple[Callable[[int], FrameDecoder | FrameSplitter], bytes]] = [
    (SseDecoder, b"data: aaaaaaaaaaaaaa"),
    (SseDecoder, b"data: aaaaaaaaaaaaaa\n"),
    (SseDecoder, b": aaaaaaaaaaaaaa\r\n"),
    (SseSplitter, b"data: aaaaaaaaaaaaaa\n"),
    (NdjsonDecoder, b'{"a": "aaaaaaaaaaaaa'),
    (NdjsonSplitter, b'{"a": "aaaaaaaaaaaaa'),
]


@pytest.mark.parametrize(("framing", "endless"), ENDLESS)
def test_o3_a_frame_above_the_limit_is_malformed(
    framing: Callable[[int], FrameDecoder | FrameSplitter], endless: bytes
) -> None:
    for size in (1, 3, 1000):
        decoder = framing(100)
        raw = endless * 10
        with pytest.raises(Malformed, match="more than 100 bytes"):
            for start in range(0, len(raw), size):
                (decoder.feed if hasattr(decoder, "feed") else decoder.extract_complete)(raw[start : start + size])


def test_many_frames_together_may_exceed_the_limit() -> None:
    assert len(frames(SseDecoder(100), [b"data: aaaaaaaa\n\n" * 100])) == 100
    assert len(frames(NdjsonDecoder(100), [b'{"a":1}\n' * 100])) == 100
    assert len(blocks([b"data: aaaaaaaa\n\n" * 100])) == 101


def test_o3_a_long_frame_is_searched_once() -> None:
    """An image of 20 MB in reads of 4 KB: quadratic work would take minutes here."""
    raw = b"a" * 20_000_000
    pieces = [raw[start : start + 4096] for start in range(0, len(raw), 4096)]
    assert frames(SseDecoder(), [b"data: ", *pieces, b"\n\n"]) == [Frame(raw.decode())]
    assert frames(NdjsonDecoder(), [*pieces, b"\n"]) == [Frame(raw.decode())]
    assert blocks([b"data: ", *pieces, b"\n\n"]) == [b"data: " + raw + b"\n\n", b""]
