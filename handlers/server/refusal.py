"""The response to a request, or a connection, that gets no handler."""

from __future__ import annotations

from http.client import responses


def make_refusal(body: bytes, status: int, *headers: str) -> bytes:
    """Returns a complete JSON response (head and body) that ends the connection."""
    head = f"HTTP/1.1 {status} {responses[status]}", "Content-Type: application/json", f"Content-Length: {len(body)}"
    return "\r\n".join((*head, *headers, "Connection: close", "", "")).encode() + body
