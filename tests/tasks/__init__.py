"""Tests of ``llm.tasks``."""
