"""The harnesses of ``make fuzz`` without the fuzzer: on their seeds, on mutated seeds, on large inputs."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.harnesses import HARNESSES
from fuzz.seeds import SEEDS, words
from tests.dialects.test_fuzz import TIMES
from tests.support.work import limit_processor_time

EVERY = pytest.mark.parametrize("name", HARNESSES)
LARGE = 50_000  # bytes
WORDS = [
    b"", b"\0", b"\r", b"\n", b"\r\n", b"\n\n", b'"', b"\\", b"[", b"]", b"{", b"}", b",", b":", b";", b"null", b"true", b"-1",
    b"1e999", b"9" * 5000, b"\xff", b"\xed\xa0\x80", b"\\ud800", b"\\u0000", b"[" * 300, b"data:", b"event:", b"0\r\n\r\n", b"NaN",
]  # fmt: skip


def test_every_harness_has_seeds_and_a_dictionary() -> None:
    assert SEEDS.keys() == HARNESSES.keys()
    assert all(SEEDS.values())
    assert words([b'{"type": "x-y", "z": 1}']) == [b'"type"', b'"x-y"']


@EVERY
def test_a_harness_runs_on_its_seeds(name: str) -> None:
    for seed in SEEDS[name]:
        HARNESSES[name](seed)


@EVERY
@given(data=st.data())
@settings(max_examples=30 * TIMES, deadline=None)
def test_s8_a_parser_reads_or_refuses_any_bytes(name: str, data: st.DataObject) -> None:
    seed = data.draw(st.sampled_from(SEEDS[name]) | st.binary(max_size=200))
    for _ in range(data.draw(st.integers(0, 4))):
        start, end = sorted((data.draw(st.integers(0, len(seed))), data.draw(st.integers(0, len(seed)))))
        end = min(end, start + 40)
        put = data.draw(st.sampled_from(WORDS) | st.binary(max_size=6) | st.just(seed[start:end] * 3))
        seed = seed[:start] + put + seed[end:]
    HARNESSES[name](seed)


@EVERY
def test_o3_no_parser_is_quadratic_in_its_input(name: str) -> None:
    """A parser that is quadratic in its input would take minutes."""
    longest = max(SEEDS[name], key=len)
    inputs = [(longest * (LARGE // len(longest) + 1))[:LARGE]]
    for word in (
        b"[",
        b'"',
        b"\\",
        b";",
        b"\n",
        b"\r",
        b"\n\n",
        b'"\\',
        b"data: x\n",
        b"a,",
        b"\xff",
        b"0\r\n",
        b"%25",
    ):
        inputs += [bytes([len(word)]) + longest[:100] + word * (LARGE // len(word)), word * (LARGE // len(word))]
    for data in inputs:
        with limit_processor_time():
            HARNESSES[name](data)
