"""The HTTP client for requests to providers."""
