"""Tests of ``llm.storage``."""
