"""Globs on model ids: matching and caching."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from llm.engines.globs import cached_by_name, first_match, matches


def test_results_are_cached_for_short_names_only() -> None:
    calls = []

    @cached_by_name
    def length(name: str, more: int) -> int:
        calls.append(name)
        return len(name) + more

    for _ in range(2):
        assert [length(name, more) for name in ("a", "b", "x" * 1000) for more in (0, 1)] == [1, 2, 1, 2, 1000, 1001]
    assert sorted(calls) == ["a", "a", "b", "b", *["x" * 1000] * 4]


PIECES = st.sampled_from(("*", "?", "a", "A", "[0-9]", "[!a]", ".", "-", "(", "1", "\n"))
GLOBS = st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=5).map(tuple)


@given(st.text("aA.-(1\n"), GLOBS)
def test_the_first_match_is_the_first_match_of_fnmatch(name: str, globs: tuple[str, ...]) -> None:
    expected = next((number for number, glob in enumerate(globs) if fnmatchcase(name, glob)), None)
    assert first_match(name, globs) == expected
    assert matches(name, globs) == (expected is not None)
