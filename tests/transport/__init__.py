"""Tests of ``llm.transport``, over real sockets."""
