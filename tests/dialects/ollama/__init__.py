"""Tests of ``llm.dialects.ollama``."""
