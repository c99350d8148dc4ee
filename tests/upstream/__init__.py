"""Tests of ``llm.upstream``."""
