"""Callers, the choice of engine and model, the tool loop and the chat service."""
