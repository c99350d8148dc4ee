"""Names by globs, all of them in one pattern."""

from __future__ import annotations

from fnmatch import fnmatchcase

from hypothesis import given
from hypothesis import strategies as st

from llm.globs import first, fits

PIECES = st.sampled_from(("*", "?", "a", "A", "[0-9]", "[!a]", ".", "-", "(", "1", "\n"))
GLOBS = st.lists(st.lists(PIECES, max_size=4).map("".join), max_size=5).map(tuple)


@given(st.text("aA.-(1\n"), GLOBS)
def test_the_first_glob_that_fits_is_the_first_that_fnmatch_finds(name: str, globs: tuple[str, ...]) -> None:
    expected = next((number for number, glob in enumerate(globs) if fnmatchcase(name, glob)), None)
    assert first(name, globs) == expected
    assert fits(name, globs) == (expected is not None)
