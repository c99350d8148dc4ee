"""Tests of ``llm.wire``."""
