"""Gemini's ``generateContent``, client side."""
