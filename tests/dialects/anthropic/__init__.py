"""Tests of ``llm.dialects.anthropic``."""
