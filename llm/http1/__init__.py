"""HTTP/1.1 messages as bytes, and the event loop. Knows nothing of LLMs."""
