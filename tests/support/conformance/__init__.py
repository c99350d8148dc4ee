"""Requests and responses of the conformance tests, as tables, and the servers and clients that are compared."""
