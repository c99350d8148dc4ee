"""Tests of ``llm.dialects.openai_chat``."""
