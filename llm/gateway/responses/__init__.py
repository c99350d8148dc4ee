"""Responses that their clients can name again: what is kept of them, and requests that refer to them."""
