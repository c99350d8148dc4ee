"""Tests of ``llm.dialects``: tests of all dialects here, tests of one dialect in its folder."""
