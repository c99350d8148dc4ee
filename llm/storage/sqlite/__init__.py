"""Stores for threads and signatures in SQLite."""
