"""Tests of ``llm.http1``."""
