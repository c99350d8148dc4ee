"""Bytes and JSON, without any LLM: JSON, server-sent events, JSON lines, JSON Schema. Pure."""
