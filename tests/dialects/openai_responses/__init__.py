"""Tests of ``llm.dialects.openai_responses``."""
