"""Caches reasoning signatures by tool call id, for clients that drop unknown fields. Bounded: 24 h, 16 M characters.

Some engines attach a reasoning signature to a tool call (Gemini's ``thoughtSignature``, OpenRouter's
``reasoning_details``) and refuse the next request without it (T2). Few client dialects have a field for it, and many
clients drop fields that they do not know. Anthropic refuses a request without the signed reasoning before its calls
(T1).

Some hosts reuse tool call ids, so reasoning is restored only to a call with the same id, name and arguments. If the
client drops ids, as Ollama's own does, the call is identified by the reasoning text of its answer instead of the id.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import sha256
from io import StringIO
from typing import Final

from llm.chat.events import Event, Finished, PartEnded, ReasoningDelta, ToolCallDelta, ToolCallStarted
from llm.chat.messages import Message, Part, Reasoning, ToolCall
from llm.chat.provider_metadata import Metadata, encode_metadata
from llm.chat.request import ChatRequest
from llm.storage.message_json import read_message, write_message
from llm.storage.signatures import SignatureStore
from llm.wire.json_codec import Json, dump_bytes, dumps, loads

MAX_AGE: Final = 24 * 3600.0  # seconds
MAX_SIZE: Final = 16 * 1024 * 1024  # characters of all entries; the oldest are removed first


@dataclass(frozen=True, slots=True)
class CachedSignatures:
    """The metadata of a tool call and the signed reasoning around it."""

    metadata: Metadata = ()  # of the call itself
    reasoning_before: tuple[Reasoning, ...] = ()  # signed parts between the previous call and this one
    reasoning_after: tuple[Reasoning, ...] = ()  # signed parts after the last call of an answer


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

    def put(self, owner: str, id: str, signatures: CachedSignatures) -> None:
        """Stores an entry. ``id``: the call's id, or another key of it (:func:`make_call_keys`).

        ``owner``: the caller and engine of the call. Ids are chosen by engines and may repeat, so no other owner can
        read the entry (X7).
        """
        self._remove(owner, id)
        thoughts = (*signatures.reasoning_before, *signatures.reasoning_after)
        size = (
            len(id)
            + len(encode_metadata(signatures.metadata))
            + sum(len(one.text) + len(encode_metadata(one.metadata)) for one in thoughts)
        )
        self._entries[owner, id] = (self.now(), size, signatures)
        self._size += size
        self._prune()

    async def share(self, owner: str, entries: Mapping[str, CachedSignatures]) -> None:
        """Writes entries to the store, from which other workers :meth:`fetch` them."""
        if self.store is not None:
            await self.store.put(owner, {id: _write(what) for id, what in entries.items()})

    async def fetch(self, owner: str, request: ChatRequest) -> None:
        """Reads the entries for the calls in ``request`` from the store, if they are not cached yet."""
        if self.store is None:
            return
        keys = {key for m in request.messages for _, keys in _calls_of(m) for key in keys}
        if missing := [key for key in keys if (owner, key) not in self._entries]:
            for id, text in (await self.store.get(owner, missing)).items():
                self.put(owner, id, _read(text))

    def get(self, owner: str, id: str) -> CachedSignatures:
        """Returns the entry, or an empty one."""
        self._prune()
        return self._entries[owner, id][2] if (owner, id) in self._entries else _EMPTY

    def restore(self, owner: str, request: ChatRequest) -> ChatRequest:
        """Returns ``request`` with the cached metadata and reasoning restored to calls that lack them."""
        self._prune()
        if not self._entries or not any(isinstance(p, ToolCall) for m in request.messages for p in m.parts):
            return request
        return replace(request, messages=tuple(self._restore_message(owner, message) for message in request.messages))

    def close(self) -> None:
        """Closes the store."""
        if self.store is not None:
            self.store.close()

    def _restore_message(self, owner: str, message: Message) -> Message:
        calls = [*_calls_of(message)]
        reasoning = [part for part in message.parts if isinstance(part, Reasoning)]
        has_signatures = any(_is_from_engine(part.metadata) for part in reasoning)
        text = "".join(part.text for part in reasoning)
        parts: list[Part] = []
        first: tuple[Reasoning, ...] | None = None  # goes before all other parts
        for part in message.parts:
            if not isinstance(part, ToolCall):
                parts.append(part)
                continue
            cached = self._find(owner, calls.pop(0)[1])
            usable = not has_signatures and _agrees(cached, text)
            if first is None:
                first = cached.reasoning_before if usable else ()
            elif usable:
                parts += cached.reasoning_before
            # The client may have dropped the engine's fields and sent fields of its own, such as ``index``.
            parts.append(
                part if _is_from_engine(part.metadata) else replace(part, metadata=(*cached.metadata, *part.metadata))
            )
            parts += cached.reasoning_after if usable else ()
        parts = [*(first or ()), *parts]
        if any(isinstance(part, Reasoning) and part not in reasoning for part in parts):
            parts = [part for part in parts if part not in reasoning]
        return message if tuple(parts) == message.parts else replace(message, parts=tuple(parts))

    def _find(self, owner: str, keys: Sequence[str]) -> CachedSignatures:
        """Returns the entry of the most exact key. For the id alone that is only the metadata of the call."""
        *exact, id = keys
        found = next((self._entries[owner, key][2] for key in exact if (owner, key) in self._entries), None)
        return CachedSignatures(self.get(owner, id).metadata) if found is None else found

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


def _calls_of(message: Message) -> Iterator[tuple[ToolCall, Sequence[str]]]:
    reasoning = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    calls = (part for part in message.parts if isinstance(part, ToolCall))
    return ((call, make_call_keys(call, reasoning, number)) for number, call in enumerate(calls))


def make_call_keys(call: ToolCall, reasoning_text: str, number: int) -> Sequence[str]:
    """Returns the cache keys of a call, the most exact first, its id last.

    ``reasoning_text``: all reasoning of its answer. ``number``: index of the call among the calls of its answer.
    """
    try:
        name_and_arguments = dump_bytes(
            [call.name, _sort_fields(loads(call.arguments or "{}"))]
        )  # same for any spelling
    except (ValueError, RecursionError):
        name_and_arguments = dump_bytes([call.name, call.arguments])
    keys = [f"{call.id}\0{sha256(name_and_arguments).hexdigest()}"]
    if reasoning_text:
        keys.append(f"\0{number}\0{sha256(name_and_arguments + reasoning_text.encode(errors='replace')).hexdigest()}")
    return (*keys, call.id)


def _sort_fields(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _sort_fields(value[name]) for name in sorted(value)}
    return [_sort_fields(item) for item in value] if isinstance(value, list) else value


def _agrees(signatures: CachedSignatures, text: str) -> bool:
    """Returns True if the cached reasoning is part of ``text``, the client's reasoning, or if that is empty."""
    return not text or all(part.text in text for part in (*signatures.reasoning_before, *signatures.reasoning_after))


def _write(signatures: CachedSignatures) -> str:
    call = ToolCall("", "", metadata=signatures.metadata)
    return dumps(write_message(Message("assistant", (*signatures.reasoning_before, call, *signatures.reasoning_after))))


def _read(text: str) -> CachedSignatures:
    try:
        parts = read_message(loads(text)).parts
        [at] = [number for number, part in enumerate(parts) if isinstance(part, ToolCall)]
    except (ValueError, KeyError, TypeError):  # written by another version
        return _EMPTY
    before, after = (tuple(p for p in ps if isinstance(p, Reasoning)) for ps in (parts[:at], parts[at + 1 :]))
    return CachedSignatures(parts[at].metadata, before, after)


def _is_from_engine(metadata: Metadata) -> bool:
    """Returns True if an engine issued some of the metadata, so that the client has sent it back."""
    return any(item.issuer is not None for item in metadata)


class SignatureRecorder:
    """The stage that caches the signatures of the tool calls of one answer."""

    def __init__(self, cache: SignatureCache, owner: str) -> None:
        self._cache = cache
        self._owner = owner
        self._texts: dict[int, StringIO] = {}  # text of open parts: reasoning, and arguments of calls
        self._started: dict[int, ToolCallStarted] = {}
        self._reasoning = ""  # all reasoning text so far
        self._signed: tuple[Reasoning, ...] = ()  # signed parts since the last call
        self._calls: list[tuple[ToolCall, CachedSignatures]] = []
        self._unshared: dict[str, CachedSignatures] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Records tool calls and reasoning; returns ``events`` unchanged."""
        for event in events:
            match event:
                case ReasoningDelta(index, text) | ToolCallDelta(index, text):
                    if index not in self._texts:
                        self._texts[index] = StringIO()
                    self._texts[index].write(text)
                case ToolCallStarted(index, executor="client"):
                    self._started[index] = event
                case PartEnded(index, keep) if index in self._started:
                    start, arguments = self._started[index], self._take_text(index) or "{}"
                    self._add_call(ToolCall(start.id, start.name, arguments, metadata=keep))
                case PartEnded(index, keep) if index in self._texts:
                    reasoning = Reasoning(self._take_text(index), keep)
                    self._reasoning += reasoning.text
                    self._signed += (reasoning,) if keep else ()
                case Finished() if self._calls:
                    self._finish()
        return events

    def _take_text(self, index: int) -> str:
        return self._texts.pop(index).getvalue() if index in self._texts else ""

    def _add_call(self, call: ToolCall) -> None:
        self._calls.append((call, CachedSignatures(call.metadata, self._signed)))
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
        if signatures == _EMPTY:
            return
        *exact, id = make_call_keys(call, self._reasoning, number)
        entries = dict.fromkeys(exact, signatures) | (
            {id: CachedSignatures(signatures.metadata)} if signatures.metadata else {}
        )
        for key, entry in entries.items():
            self._cache.put(self._owner, key, entry)
        self._unshared |= entries

    async def share(self) -> None:
        """Writes the new entries to the store. Await it before the client can send the results of the calls."""
        if self._unshared:
            entries, self._unshared = self._unshared, {}
            await self._cache.share(self._owner, entries)
