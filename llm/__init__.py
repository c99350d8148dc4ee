"""llm-server without HTTP handlers: dialects on both sides of one small neutral model.

Read in this order: ``chat`` (values), ``events`` (an answer on its way), ``errors``, ``opaque`` (what is kept without
being understood), ``framing``, ``flow``, ``filters``; then ``engines`` (records), ``dialects`` and ``tasks`` (wires);
then what does IO: ``transport``, ``exchange`` (an engine is asked, and asked again), ``call`` (one round of a chat),
``relay`` (the same, verbatim), ``loop`` (rounds with tools), ``catalog`` (which engines and models there are),
``voice`` (speech and transcription), ``images`` (made ones, on disk), ``egress`` (which addresses may be fetched from)
and ``tools`` (what the server does for a model), ``demo`` (an engine that needs no key), ``config`` and ``log``.
"""

from typing import Final

VERSION: Final = "0.1.0"
