"""The neutral model that all dialects translate to and from: messages, requests, events, replies. Pure."""
