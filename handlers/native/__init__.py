"""The native API: ``/llm/*``, ``/thread``, ``/voice/*``, ``/images``."""
