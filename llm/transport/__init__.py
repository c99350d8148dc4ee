"""The HTTP client that reaches providers."""
