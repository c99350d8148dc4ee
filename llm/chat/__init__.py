"""The neutral model: messages, requests, events and replies. Pure."""
