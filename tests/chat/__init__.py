"""Tests of ``llm.chat``."""
