"""Tests of ``llm.dialects.gemini``."""
