"""Data about the providers and their models. Pure: no IO, no clock."""
