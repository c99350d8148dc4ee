"""Names by globs, all of them in one pattern."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from llm.engines.globs import first, fits, remembered


def test_a_name_is_asked_about_once_unless_it_is_long() -> None:
    asked = []

    @remembered
    def length(name: str, more: int) -> int:
        asked.append(name)
        return len(name) + more

    for _ in range(2):
        assert [length(name, more) for name in ("a", "b", "x" * 1000) for more in (0, 1)] == [1, 2, 1, 2, 1000, 1001]
    assert sorted(asked) == ["a", "a", "b", "b", *["x" * 1000] * 4]


PIECES = st.sampled_from(("*", "?", "a", "A", "[0-9]", "[!a]", ".", "-", "(", "1", "\n"))
GLOBS = st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=5).map(tuple)


@given(st.text("aA.-(1\n"), GLOBS)
def test_the_first_glob_that_fits_is_the_first_that_fnmatch_finds(name: str, globs: tuple[str, ...]) -> None:
    expected = next((number for number, glob in enumerate(globs) if fnmatchcase(name, glob)), None)
    assert first(name, globs) == expected
    assert fits(name, globs) == (expected is not None)
