"""Tests of ``llm.gateway``."""
