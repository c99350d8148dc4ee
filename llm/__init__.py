"""llm-server without its HTTP handlers. A package imports only packages above it in this list.

- ``errors``, ``log``, ``integrity``: the tree of errors, the log, hashes of the server's files
- ``wire``: JSON, server-sent events, JSON lines, JSON Schema; pure
- ``chat``: the neutral model of messages, requests, events and replies; pure
- ``http1``: HTTP/1.1 messages as bytes, and the event loop
- ``engines``: facts about providers and their models, one record for each engine; pure
- ``transport``: the HTTP client that reaches providers
- ``dialects``: wire formats, between bytes and the neutral model; pure
- ``config``: the environment as one frozen value
- ``tasks``: embeddings, images, speech, transcription, token counts; pure
- ``storage``: threads, signatures and images on disk
- ``upstream``: one request to one engine: credentials, retries, translation or passthrough
- ``tools``: tools that the server runs for a model
- ``gateway``: callers, engines and models, the chat service, the tool loop

``docs/architecture.md`` has the whole picture, ``docs/how-to-change.md`` common changes step by step.
"""

from typing import Final

VERSION: Final = "0.1.0"
