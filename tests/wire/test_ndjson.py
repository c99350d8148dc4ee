"""NDJSON streams, cut at every byte (S8, S9)."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from llm.wire.json_codec import dumps
from llm.wire.ndjson import NdjsonDecoder, NdjsonSplitter
from tests.support.frames import blocks, frames, lines, names, places, split_at, split_bytes


@given(st.lists(st.dictionaries(names, lines, max_size=3), max_size=5), st.sampled_from(["\n", "\r\n"]), places)
def test_s9_chunk_borders_do_not_change_the_lines(values: list[dict[str, str]], end: str, at: list[int]) -> None:
    raw = "".join(dumps(value) + end for value in values).encode()
    for pieces in ([raw], split_bytes(raw), split_at(raw, at), split_at(raw.removesuffix(end.encode()), at)):
        assert [json.loads(frame.data) for frame in frames(NdjsonDecoder(), pieces)] == values
        passed = [NdjsonSplitter().decode_frame(block) for block in blocks(pieces, NdjsonSplitter)]
        assert [json.loads(frame.data) for frame in passed if frame is not None] == values


def test_s8_blank_lines_are_keep_alives() -> None:
    raw = b'\n\r\n \n{"a":1}\n\n\n{"b":2}'
    for pieces in ([raw], split_bytes(raw)):
        assert [frame.data for frame in frames(NdjsonDecoder(), pieces)] == ['{"a":1}', '{"b":2}']
