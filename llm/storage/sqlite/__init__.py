"""Threads and signatures in SQLite."""
