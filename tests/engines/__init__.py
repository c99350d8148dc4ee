"""Tests of ``llm.engines``."""
