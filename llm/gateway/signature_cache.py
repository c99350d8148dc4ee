"""Caches reasoning signatures by tool call id, for clients that drop unknown fields. Bounded: 24 h, 16 M characters.

Some engines attach a reasoning signature to a tool call (Gemini's ``thoughtSignature``, OpenRouter's
``reasoning_details``) and refuse the next request without it (T2). Few client dialects have a field for it, and many
clients drop fields that they do not know. Anthropic refuses a request without the signed reasoning before its calls
(T1).

Some hosts reuse tool call ids, so reasoning is restored only to a call with the same id, name and arguments. If the
client drops or replaces ids, the call is identified by the conversation before it or by the reasoning of its answer.
Reasoning goes back to its place between texts and calls, and is marked if the conversation before it has changed.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Final

from llm.chat.events import Event, Finished, PartEnded, ReasoningDelta, TextDelta, ToolCallDelta, ToolCallStarted
from llm.chat.history import PlacedReasoning, place_reasoning
from llm.chat.messages import Message, Part, Reasoning, ToolCall
from llm.chat.provider_metadata import Metadata, encode_metadata
from llm.chat.request import ChatRequest
from llm.gateway.call_keys import digest_prefixes, has_calls, make_call_keys
from llm.storage.message_json import read_message, write_message
from llm.storage.signatures import SignatureStore
from llm.wire.json_codec import Json, dumps, loads

MAX_AGE: Final = 24 * 3600.0  # seconds
MAX_SIZE: Final = 16 * 1024 * 1024  # characters of all entries; the oldest are removed first


@dataclass(frozen=True, slots=True)
class CachedSignatures:
    """The metadata of a tool call and the signed reasoning around it."""

    metadata: Metadata = ()  # of the call itself
    reasoning_before: tuple[PlacedReasoning, ...] = ()  # signed parts between the previous call and this one
    reasoning_after: tuple[PlacedReasoning, ...] = ()  # signed parts after the last call of an answer
    prefix: str = ""  # digest of the conversation before the answer (``digest_prefixes``); "": unknown
    call_id: str = ""


_EMPTY: Final = CachedSignatures()


@dataclass(slots=True)
class SignatureCache:
    """Caches signatures by owner and call, bounded in time and size.

    A missing entry has one effect: the engine may refuse the client's next request.
    The next request may reach another worker process, which reads from ``store`` what this one has written. A server
    with one process has no store, so no chat content gets to the disk unless a client asked for that.
    """

    store: SignatureStore | None = None
    max_age: float = MAX_AGE  # seconds
    max_size: int = MAX_SIZE  # characters
    now: Callable[[], float] = time.monotonic
    _entries: OrderedDict[tuple[str, str], tuple[float, int, CachedSignatures]] = field(default_factory=OrderedDict)
    _size: int = 0

    def put(self, owner: str, id: str, signatures: CachedSignatures, *, repeated: bool = False) -> None:
        """Stores an entry. ``id``: the call's id, or another key of it (``make_call_keys``).

        ``owner``: the caller and engine of the call. Ids are chosen by engines and may repeat, so no other owner can
        read the entry (X7). ``repeated``: the same object is stored under another key too, and takes no more memory.
        """
        self._remove(owner, id)
        thoughts = [] if repeated else [*signatures.reasoning_before, *signatures.reasoning_after]
        size = len(id) + (0 if repeated else len(encode_metadata(signatures.metadata)))
        size += sum(len(one.part.text) + len(encode_metadata(one.part.metadata)) for one in thoughts)
        self._entries[owner, id] = (self.now(), size, signatures)
        self._size += size
        self._prune()

    async def share(self, owner: str, entries: Mapping[str, CachedSignatures]) -> None:
        """Writes entries to the store, from which other workers :meth:`fetch` them."""
        if self.store is not None:
            await self.store.put(owner, {id: _write(what) for id, what in entries.items()})

    async def fetch(self, owner: str, request: ChatRequest, prefixes: Sequence[str] | None = None) -> None:
        """Reads the entries for the calls in ``request`` from the store, if they are not cached yet.

        ``prefixes``: as for :meth:`restore`.
        """
        if self.store is None:
            return
        messages = zip(request.messages, prefixes or digest_prefixes(request), strict=False)
        keys = {key for message, prefix in messages for keys in _keys_of_calls(message, prefix) for key in keys}
        if missing := [key for key in keys if (owner, key) not in self._entries]:
            for id, text in (await self.store.get(owner, missing)).items():
                self.put(owner, id, _read(text))

    def get(self, owner: str, id: str) -> CachedSignatures:
        """Returns the entry, or an empty one."""
        self._prune()
        return self._entries[owner, id][2] if (owner, id) in self._entries else _EMPTY

    def restore(self, owner: str, request: ChatRequest, prefixes: Sequence[str] | None = None) -> ChatRequest:
        """Returns ``request`` with the cached metadata and reasoning restored to calls that lack them.

        ``prefixes``: the result of ``digest_prefixes`` for the request, if it is there already.
        """
        self._prune()
        if not self._entries or not has_calls(request):
            return request
        messages = zip(request.messages, prefixes or digest_prefixes(request), strict=False)
        return replace(request, messages=tuple(self._restore_message(owner, *message) for message in messages))

    def forget(self, owner: str, id: str) -> None:
        """Removes an entry, if there is one."""
        self._remove(owner, id)

    def close(self) -> None:
        """Closes the store."""
        if self.store is not None:
            self.store.close()

    def _restore_message(self, owner: str, message: Message, prefix: str) -> Message:
        keys = [*_keys_of_calls(message, prefix)]
        if not keys:
            return message
        reasoning = [part for part in message.parts if isinstance(part, Reasoning)]
        has_signatures = any(_is_from_engine(part.metadata) for part in reasoning)
        text = "".join(part.text for part in reasoning)
        parts: list[Part] = []
        placed: list[PlacedReasoning] = []
        number = 0  # of the next call
        for part in message.parts:
            if not isinstance(part, ToolCall):
                parts.append(part)
                continue
            cached = self._find(owner, part.id, keys[number])
            if not has_signatures and _agrees(cached, prefix, text):
                placed += _place(cached.reasoning_before, number, cached.prefix not in ("", prefix))
                placed += _place(cached.reasoning_after, number + 1, cached.prefix not in ("", prefix))
            # The client may have dropped the engine's fields and sent fields of its own, such as ``index``.
            parts.append(
                part if _is_from_engine(part.metadata) else replace(part, metadata=(*cached.metadata, *part.metadata))
            )
            number += 1
        if placed:
            others = [part for part in parts if not isinstance(part, Reasoning)]
            parts = [*place_reasoning(others, placed)]
        return message if tuple(parts) == message.parts else replace(message, parts=tuple(parts))

    def _find(self, owner: str, id: str, keys: Sequence[str]) -> CachedSignatures:
        """Returns the entry of the call: one with its id, else that of the most exact key.

        For the id alone that is only the metadata of the call.
        """
        found = [self._entries[owner, key][2] for key in keys[:-1] if (owner, key) in self._entries]
        own = next((entry for entry in found if entry.call_id == id), None)
        return own or (found[0] if found else CachedSignatures(self.get(owner, id).metadata))

    def _prune(self) -> None:
        while self._entries:
            key, (since, _, _) = next(iter(self._entries.items()))
            if self._size <= self.max_size and self.now() - since <= self.max_age:
                return
            self._remove(*key)

    def _remove(self, owner: str, id: str) -> None:
        entry = self._entries.pop((owner, id), None)
        if entry is not None:
            self._size -= entry[1]


def _keys_of_calls(message: Message, prefix: str) -> Iterator[Sequence[str]]:
    """Yields the keys of each call of the message; ``prefix``: the digest of what is before it."""
    reasoning = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    calls = (part for part in message.parts if isinstance(part, ToolCall))
    return (make_call_keys(call, reasoning, number, prefix) for number, call in enumerate(calls))


def _place(placed: Iterable[PlacedReasoning], calls: int, outdated: bool) -> list[PlacedReasoning]:
    return [replace(one, part=replace(one.part, is_outdated=outdated), calls=calls) for one in placed]


def _agrees(signatures: CachedSignatures, prefix: str, text: str) -> bool:
    """Returns True if the cached reasoning belongs to the call: the conversation before it is the same, or ``text``,
    the client's reasoning, is the same text, a part of it, or empty.
    """
    cached = [one.part.text for one in (*signatures.reasoning_before, *signatures.reasoning_after)]
    return not text or signatures.prefix == prefix or all(one in text for one in cached) or text in "".join(cached)


def _write(signatures: CachedSignatures) -> str:
    call = ToolCall("", "", metadata=signatures.metadata)
    before, after = signatures.reasoning_before, signatures.reasoning_after
    parts: tuple[Part, ...] = (*(one.part for one in before), call, *(one.part for one in after))
    places: list[Json] = [one.characters for one in (*before, *after)]
    fields = {"places": places, "prefix": signatures.prefix, "call_id": signatures.call_id}
    return dumps({**write_message(Message("assistant", parts)), **fields})


def _read(text: str) -> CachedSignatures:
    try:
        wire = loads(text)
        parts, places = read_message(wire).parts, iter(wire.get("places", ()))
        [at] = [number for number, part in enumerate(parts) if isinstance(part, ToolCall)]
        placed = [PlacedReasoning(part, next(places, 0)) for part in parts if isinstance(part, Reasoning)]
    except (ValueError, KeyError, TypeError, AttributeError):  # written by another version
        return _EMPTY
    before, after = tuple(placed[:at]), tuple(placed[at:])
    return CachedSignatures(parts[at].metadata, before, after, wire.get("prefix", ""), wire.get("call_id", ""))


def _is_from_engine(metadata: Metadata) -> bool:
    """Returns True if an engine issued some of the metadata, so that the client has sent it back.

    The issuer of what a dialect keeps of its own form is "", which no engine has.
    """
    return any(item.issuer for item in metadata)


class SignatureRecorder:
    """The stage that caches the signatures of the tool calls of one answer."""

    def __init__(self, cache: SignatureCache, owner: str, prefix: str = "", *, keeps_unsigned: bool = False) -> None:
        """``prefix``: the digest of the whole request (``digest_prefixes``). ``keeps_unsigned``: the engine wants
        reasoning back that nobody has signed.
        """
        self._keeps_unsigned = keeps_unsigned
        self._cache = cache
        self._owner = owner
        self._prefix = prefix
        self._texts: dict[int, StringIO] = {}  # text of open parts: reasoning, and arguments of calls
        self._started: dict[int, ToolCallStarted] = {}
        self._reasoning = ""  # all reasoning text so far
        self._characters = 0  # of text so far
        self._places: dict[int, int] = {}  # characters of text before each part
        self._signed: tuple[PlacedReasoning, ...] = ()  # parts since the last call that have to go back
        self._calls: list[tuple[ToolCall, CachedSignatures]] = []
        self._unshared: dict[str, CachedSignatures] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Records tool calls and reasoning; returns ``events`` unchanged."""
        for event in events:
            match event:
                case ReasoningDelta(index, text) | ToolCallDelta(index, text):
                    if index not in self._texts:
                        self._texts[index] = StringIO()
                        self._places[index] = self._characters
                    self._texts[index].write(text)
                case TextDelta(_, text):
                    self._characters += len(text)
                case ToolCallStarted(index, executor="client"):
                    self._started[index] = event
                case PartEnded(index, keep) if index in self._started:
                    start, arguments = self._started[index], self._take_text(index) or "{}"
                    self._add_call(ToolCall(start.id, start.name, arguments, metadata=keep))
                case PartEnded(index, keep) if index in self._texts:
                    reasoning = Reasoning(self._take_text(index), keep)
                    self._reasoning += reasoning.text
                    if keep or (self._keeps_unsigned and reasoning.text):
                        self._signed += (PlacedReasoning(reasoning, self._places[index]),)
                case Finished() if self._calls:
                    self._finish()
        return events

    def _take_text(self, index: int) -> str:
        return self._texts.pop(index).getvalue() if index in self._texts else ""

    def _add_call(self, call: ToolCall) -> None:
        signatures = CachedSignatures(call.metadata, self._signed, prefix=self._prefix, call_id=call.id)
        self._calls.append((call, signatures))
        self._signed = ()
        self._store(len(self._calls) - 1)

    def _finish(self) -> None:
        """Stores all calls again: now the whole reasoning is known, also that after the last call."""
        call, signatures = self._calls[-1]
        self._calls[-1] = call, replace(signatures, reasoning_after=self._signed)
        for number in range(len(self._calls)):
            self._store(number)

    def _store(self, number: int) -> None:
        call, signatures = self._calls[number]
        *exact, id = make_call_keys(call, self._reasoning, number, self._prefix)
        if not (signatures.metadata or signatures.reasoning_before or signatures.reasoning_after):
            # Of an earlier answer to the same conversation, which is found by the call's id.
            self._cache.forget(self._owner, exact[0])
            return
        entries = dict.fromkeys(exact, signatures) | (
            {id: CachedSignatures(signatures.metadata)} if signatures.metadata else {}
        )
        for key, entry in entries.items():
            self._cache.put(self._owner, key, entry, repeated=entry is signatures and key != exact[0])
        self._unshared |= entries

    async def share(self) -> None:
        """Writes the new entries to the store. Await it before the client can send the results of the calls."""
        if self._unshared:
            entries, self._unshared = self._unshared, {}
            await self._cache.share(self._owner, entries)
