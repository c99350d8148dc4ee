"""The HTTP/1.1 server: listening, connections, workers. Knows nothing of LLMs."""
