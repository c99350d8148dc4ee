"""The Ollama-compatible API: ``/api/*``."""
