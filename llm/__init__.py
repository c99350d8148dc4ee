"""llm-server without HTTP handlers: dialects on both sides of one small neutral model.

Read in this order: ``chat`` (values), ``events`` (an answer on its way), ``errors``, ``opaque`` (what is kept without
being understood), ``framing``, ``flow`` and ``filters``; then ``engines`` (records), ``dialects`` (wires); then what
does IO: ``transport``, ``call`` (one round with an engine), ``catalog`` (which engines and models there are), ``demo``
(an engine that needs no key), ``config`` and ``log``.
"""

from typing import Final

VERSION: Final = "0.1.0"
