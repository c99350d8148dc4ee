"""Gemini's API: ``/v1beta/*``, and ``/v1/models/<model>:<method>``."""
