"""Tests of ``llm.dialects``; what holds for all dialects stands here, one dialect's own tests in its folder."""
