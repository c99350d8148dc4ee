"""Decodes byte streams that are split at given or random positions."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

from hypothesis import strategies as st

from llm.wire.frames import Frame, FrameDecoder, FrameSplitter
from llm.wire.sse import SseSplitter


def frames(framing: FrameDecoder, pieces: Iterable[bytes]) -> list[Frame]:
    found = [frame for piece in pieces for frame in framing.feed(piece)]
    return found + framing.close()


def blocks(pieces: Iterable[bytes], kind: Callable[[], FrameSplitter] = SseSplitter) -> list[bytes]:
    cutter = kind()
    found = [block for piece in pieces for block in cutter.split_events(cutter.extract_complete(piece))]
    return [*found, cutter.close()]


def split_bytes(raw: bytes) -> Iterable[bytes]:
    return [bytes((byte,)) for byte in raw]


def split_at(raw: bytes, places: Iterable[int]) -> list[bytes]:
    ends = sorted({0, len(raw), *(place % (len(raw) + 1) for place in places)})
    return [raw[start:end] for start, end in pairwise(ends)]


places = st.lists(st.integers(0, 10_000), max_size=8)
lines = st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=12)
names = st.text("abcdefghijklmnopqrstuvwxyz_.", min_size=1, max_size=8)
