"""Formats without LLM meaning: JSON, server-sent events, NDJSON, JSON Schema. Pure: no IO, no clock."""
