"""Recognises events that differ from the one before only in their text, by comparing bytes.

Nearly all events of a stream are: the decoder saves the look at the rest of their JSON. Nothing else knows of it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from json.decoder import scanstring  # type: ignore[attr-defined]
from json.encoder import encode_basestring_ascii
from typing import Final

from llm.chat.events import AnyDelta, Event, ReasoningDelta, TextDelta, ToolCallDelta, get_delta_text
from llm.chat.filters import HALF_PAIR
from llm.wire.json_codec import dump_text

_BACKSLASH: Final = 0x5C  # as a number: ``in`` finds a byte in bytes five times as fast that way
_LF: Final = 0x0A


class DeltaTemplate:
    """The bytes around the text of the last delta, learned from an event that the dialect's reader has read.

    Where another event has the same bytes around one JSON text, its JSON differs in that value alone, and the reader
    would have made the same delta of it with another text. ``volatile_fields`` (of the ``Reader``): members that the
    reader never looks at though they differ in each event; they are removed before events are compared. Nothing is
    learned from an event with one of ``stateful_fields``. ``delimiter`` ends an event.
    """

    __slots__ = (
        "_after", "_before", "_delimiter", "_joint", "_keeps_last", "_stateful_fields", "_volatile_fields",
        "_volatile_seen", "characters", "delta", "last",
    )  # fmt: skip

    def __init__(
        self,
        volatile_fields: re.Pattern[bytes] | None = None,
        stateful_fields: re.Pattern[bytes] | None = None,
        delimiter: bytes = b"\n\n",
        *,
        keeps_last: bool = False,
    ) -> None:
        self._keeps_last = keeps_last
        self._volatile_fields = volatile_fields
        self._stateful_fields = stateful_fields
        self._delimiter = delimiter
        self._volatile_seen: re.Pattern[bytes] | None = None  # ``volatile_fields``, where the last event had some
        self._before = b""  # with the quote that opens the text
        self._after = b""  # with the quote that closes it, and the delimiter
        self._joint = b""  # of two events: all that is between their texts
        self.delta: AnyDelta | None = None  # the last one; None: nothing is known
        self.characters = 0  # of the texts that were read last
        self.last = b""  # the events that were read last, with ``keeps_last``

    def learn(self, read: bytes, events: Sequence[Event]) -> None:
        """Learns the template from ``read``, which begins with an event, and all ``events`` that the reader made of it.

        The template is that of the last one, if all of them are deltas of one kind and their text is found. Otherwise
        nothing is known: what the reader makes of the next event may depend on what it has just read.
        """
        self.delta = None
        if self._keeps_last:
            self.last = read
        last = events[-1] if events else None
        if not isinstance(last, TextDelta | ReasoningDelta | ToolCallDelta):
            return
        if type(events[0]) is not type(last):  # as in the first read, which begins with the start
            return
        blocks = read.split(self._delimiter)[:-1]
        if len(blocks) != len(events) or (len(events) > 1 and not all(type(one) is type(last) for one in events)):
            return
        block, noises = (
            (blocks[-1], 0) if self._volatile_fields is None else self._volatile_fields.subn(b"", blocks[-1])
        )
        if self._stateful_fields is not None and self._stateful_fields.search(block):
            return
        text = get_delta_text(last)
        spelled = {dump_text(text), encode_basestring_ascii(text).encode()}  # as they are, or escaped
        found = [literal for literal in spelled if literal in block]
        if len(found) == 1 and block.count(found[0]) == 1:
            before, _, behind = block.partition(found[0])
            self._before, self._after = before + b'"', b'"' + behind + self._delimiter
            self._joint = self._after + self._before
            self._volatile_seen = self._volatile_fields if noises else None
            self.delta = last

    def read(self, read: bytes) -> tuple[AnyDelta | None, int]:
        """Reads all whole events of ``read``, if each of them fits the template.

        Returns one delta with their texts and the number of bytes that they take, else ``(None, 0)``. Afterwards
        :attr:`characters` is the length of those texts.
        """
        delta = self.delta
        if delta is None:
            return None, 0
        before, after = self._before, self._after
        end = len(read) - len(after)
        if read.endswith(after) and read.startswith(before) and read.find(b'"', len(before)) == end:
            whole, raw = read, read[len(before) : end]  # one event, as in most reads
            if _BACKSLASH in raw or _LF in raw:
                raw = b""
        else:
            if not read.endswith(self._delimiter):
                read = read[: read.rfind(self._delimiter) + len(self._delimiter)]
            whole = read if self._volatile_seen is None else self._volatile_seen.sub(b"", read)
            if self._keeps_last:
                self.last = read
            raw = self._plain_texts(whole)
        # As they are; with a character that JSON forbids unescaped, or bytes that are no UTF-8, as JSON.
        text = raw.decode(errors="replace")
        if not text or "\ufffd" in text or not text.isprintable():
            text = self._decode_texts(whole)
        self.characters = len(text)
        return (type(delta)(delta.index, text), len(read)) if text else (None, 0)

    def skim(self, read: bytes) -> int:
        """Counts as :meth:`read` does, without decoding: the bytes of the events if all are ASCII text, else 0."""
        if self.delta is None or type(self.delta) is ToolCallDelta:
            return 0
        if not read.endswith(self._delimiter):
            read = read[: read.rfind(self._delimiter) + len(self._delimiter)]
        raw = self._plain_texts(read if self._volatile_seen is None else self._volatile_seen.sub(b"", read))
        if not raw or not raw.isascii():
            return 0
        self.characters = len(raw)
        return len(read)

    def _plain_texts(self, whole: bytes) -> bytes:
        """Returns the joined texts if ``whole`` has only matching events and no escapes, else ``b""``."""
        before, after, joint = self._before, self._after, self._joint
        if not (whole.startswith(before) and whole.endswith(after)):
            return b""
        texts = []
        start, last = len(before), len(whole) - len(after)
        while (end := whole.find(b'"', start)) != last:
            if not whole.startswith(joint, end):
                return b""
            texts.append(whole[start:end])
            start = end + len(joint)
        texts.append(whole[start:end])
        raw = texts[0] if len(texts) == 1 else b"".join(texts)
        return b"" if _BACKSLASH in raw or _LF in raw else raw

    def _decode_texts(self, whole: bytes) -> str:
        """Returns the joined texts, escapes decoded; "" if one event does not match or holds half a surrogate pair."""
        before, after = self._before, self._after.removesuffix(self._delimiter)
        start, end = len(before) - 1, 1 - len(after)
        texts = []
        for block in whole.split(self._delimiter)[:-1]:
            if not (block.startswith(before) and block.endswith(after)):
                return ""
            try:
                literal = block[start : end or None].decode()
                text, length = scanstring(literal, 1)
            except ValueError:
                return ""
            if length != len(literal) or not text:
                return ""
            texts.append(text)
        joined = "".join(texts)
        return "" if not joined.isascii() and HALF_PAIR.search(joined) else joined
