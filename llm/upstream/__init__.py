"""One request to one engine: sent, retried, translated or passed through."""
