"""The ``demo`` engine: a transport without a network that generates Chat Completions responses.

It is for a first ``curl``, for clients under development and for tests; everything above the transport works as with a
real provider. The model id selects the behaviour: see ``script.MODELS``.
"""
