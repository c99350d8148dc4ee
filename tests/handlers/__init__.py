"""Tests of ``handlers``: the endpoints over HTTP, also with the clients of other projects."""
