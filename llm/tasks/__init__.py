"""Small second hourglasses beside the chat: one value in, one value out, over one wire each.

A task's module is pure, as a dialect is: neutral values to the wire and back. ``records`` says which engines
speak and listen; ``llm.exchange`` and ``llm.voice`` do the round.
"""
