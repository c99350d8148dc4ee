"""Tests of ``handlers``: the endpoints over HTTP, and other people's clients in front of them."""
