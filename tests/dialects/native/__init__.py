"""Tests of ``llm.dialects.native``."""
