"""Tests of ``llm.config``."""
