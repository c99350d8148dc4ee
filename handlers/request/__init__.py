"""Parts of handling one request: validation, limits, the registry of running answers, streamed output."""
