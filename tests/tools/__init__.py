"""Tests of ``llm.tools``."""
