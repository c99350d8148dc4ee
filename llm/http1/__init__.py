"""HTTP/1.1 parsers and the event loop. Without LLM meaning."""
