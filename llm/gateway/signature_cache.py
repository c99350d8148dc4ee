"""What engines want back beside a tool call, kept by the call for clients that bring back only what they know.

A signature of a thought stands on a call (Gemini's ``thoughtSignature``, OpenRouter's details); few client wires have a
field for it, and many clients drop fields that they do not know. Without it the next turn is refused (T2). So is one
of Anthropic's without the signed thoughts that its calls came of (T1).

Some hosts give one id again and again, so thoughts come back to the same call only: of that id, name and arguments. A
call whose client drops ids, as Ollama's own does, is known by what was thought in its answer.
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
from llm.chat.provider_metadata import Keep, seal
from llm.chat.request import ChatRequest
from llm.storage.message_json import read_message, write_message
from llm.storage.signatures import SignatureStore
from llm.wire.json_codec import Json, dump_bytes, dumps, loads

MAX_AGE: Final = 24 * 3600.0  # seconds
MAX_SIZE: Final = 16 * 1024 * 1024  # characters of all that is kept; the oldest go first


@dataclass(frozen=True, slots=True)
class Remembered:
    keep: Keep = ()  # of the call itself
    thoughts: tuple[Reasoning, ...] = ()  # signed ones that the call came of
    behind: tuple[Reasoning, ...] = ()  # those that no other call came of: of the last call of an answer


_NOTHING: Final = Remembered()


@dataclass(slots=True)
class Memo:
    """Bounded in time and size; what is forgotten costs the client a refused turn, nothing else.

    The next turn may reach another worker, which finds in the ``store`` what this one has put there. A server of one
    process has none: then nothing that was said gets to the disk unless a client asked for that.
    """

    store: SignatureStore | None = None
    max_age: float = MAX_AGE
    max_size: int = MAX_SIZE
    now: Callable[[], float] = time.monotonic
    _kept: OrderedDict[tuple[str, str], tuple[float, int, Remembered]] = field(default_factory=OrderedDict)
    _size: int = 0

    def remember(self, owner: str, id: str, what: Remembered) -> None:
        """``owner`` is whose call it was: ids are chosen by engines, and nobody else's is given away (X7).

        ``id``: of the call, or one of :func:`keys_of` it.
        """
        self._forget(owner, id)
        thoughts = (*what.thoughts, *what.behind)
        size = len(id) + len(seal(what.keep)) + sum(len(one.text) + len(seal(one.keep)) for one in thoughts)
        self._kept[owner, id] = (self.now(), size, what)
        self._size += size
        self._prune()

    async def share(self, owner: str, fresh: Mapping[str, Remembered]) -> None:
        """When it returns, other workers can :meth:`fetch` these."""
        if self.store is not None:
            await self.store.put(owner, {id: _write(what) for id, what in fresh.items()})

    async def fetch(self, owner: str, request: ChatRequest) -> None:
        """Remembers what another worker has shared of the calls in ``request``."""
        if self.store is None:
            return
        keys = {key for m in request.messages for _, keys in _calls_of(m) for key in keys}
        if missing := [key for key in keys if (owner, key) not in self._kept]:
            for id, text in (await self.store.get(owner, missing)).items():
                self.remember(owner, id, _read(text))

    def recall(self, owner: str, id: str) -> Remembered:
        self._prune()
        return self._kept[owner, id][2] if (owner, id) in self._kept else _NOTHING

    def completed(self, owner: str, request: ChatRequest) -> ChatRequest:
        """``request`` with what its bare calls, and the thoughts before them, once came with."""
        self._prune()
        if not self._kept or not any(isinstance(p, ToolCall) for m in request.messages for p in m.parts):
            return request
        return replace(request, messages=tuple(self._completed(owner, message) for message in request.messages))

    def close(self) -> None:
        if self.store is not None:
            self.store.close()

    def _completed(self, owner: str, message: Message) -> Message:
        calls = [*_calls_of(message)]
        brought = [part for part in message.parts if isinstance(part, Reasoning)]
        whole = any(_issued(part.keep) for part in brought)
        said = "".join(part.text for part in brought)
        parts: list[Part] = []
        first: tuple[Reasoning, ...] | None = None  # before whatever else was said
        for part in message.parts:
            if not isinstance(part, ToolCall):
                parts.append(part)
                continue
            kept = self._of(owner, calls.pop(0)[1])
            mine = not whole and _agrees(kept, said)
            if first is None:
                first = kept.thoughts if mine else ()
            elif mine:
                parts += kept.thoughts
            # Beside fields of its own (an ``index``), a client may have dropped the engine's.
            parts.append(part if _issued(part.keep) else replace(part, keep=(*kept.keep, *part.keep)))
            parts += kept.behind if mine else ()
        parts = [*(first or ()), *parts]
        if any(isinstance(part, Reasoning) and part not in brought for part in parts):
            parts = [part for part in parts if part not in brought]
        return message if tuple(parts) == message.parts else replace(message, parts=tuple(parts))

    def _of(self, owner: str, keys: Sequence[str]) -> Remembered:
        """The most exact that there is; by its id alone nothing but what a call itself came with."""
        *exact, id = keys
        found = next((self._kept[owner, key][2] for key in exact if (owner, key) in self._kept), None)
        return Remembered(self.recall(owner, id).keep) if found is None else found

    def _prune(self) -> None:
        while self._kept:
            key, (since, _, _) = next(iter(self._kept.items()))
            if self._size <= self.max_size and self.now() - since <= self.max_age:
                return
            self._forget(*key)

    def _forget(self, owner: str, id: str) -> None:
        kept = self._kept.pop((owner, id), None)
        if kept is not None:
            self._size -= kept[1]


def _calls_of(message: Message) -> Iterator[tuple[ToolCall, Sequence[str]]]:
    said = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
    calls = (part for part in message.parts if isinstance(part, ToolCall))
    return ((call, keys_of(call, said, number)) for number, call in enumerate(calls))


def keys_of(call: ToolCall, said: str, number: int) -> Sequence[str]:
    """What a call is known by, the most exact first: ``said`` is all that was thought in its answer, of whose calls it
    is the ``number``-th.
    """
    try:
        called = dump_bytes([call.name, _sorted(loads(call.arguments or "{}"))])  # however they are spelled
    except (ValueError, RecursionError):
        called = dump_bytes([call.name, call.arguments])
    keys = [f"{call.id}\0{sha256(called).hexdigest()}"]
    if said:
        keys.append(f"\0{number}\0{sha256(called + said.encode(errors='replace')).hexdigest()}")
    return (*keys, call.id)


def _sorted(value: Json) -> Json:
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(one) for one in value] if isinstance(value, list) else value


def _agrees(what: Remembered, said: str) -> bool:
    """Whether its thoughts can be those that a client tells of, in whatever words it joins them."""
    return not said or all(one.text in said for one in (*what.thoughts, *what.behind))


def _write(what: Remembered) -> str:
    call = ToolCall("", "", keep=what.keep)
    return dumps(write_message(Message("assistant", (*what.thoughts, call, *what.behind))))


def _read(text: str) -> Remembered:
    try:
        parts = read_message(loads(text)).parts
        [at] = [number for number, part in enumerate(parts) if isinstance(part, ToolCall)]
    except (ValueError, KeyError, TypeError):  # another version's
        return _NOTHING
    before, behind = (tuple(p for p in ps if isinstance(p, Reasoning)) for ps in (parts[:at], parts[at + 1 :]))
    return Remembered(parts[at].keep, before, behind)


def _issued(keep: Keep) -> bool:
    """Whether it was brought back: an engine's own, not a client's."""
    return any(opaque.issuer is not None for opaque in keep)


class Remembering:
    """The stage that caches what the calls of one answer came with."""

    def __init__(self, memo: Memo, owner: str) -> None:
        self._memo = memo
        self._owner = owner
        self._telling: dict[int, StringIO] = {}  # thoughts, and arguments of calls, under way
        self._started: dict[int, ToolCallStarted] = {}
        self._said = ""  # what was thought so far
        self._thoughts: tuple[Reasoning, ...] = ()  # signed ones that no call has come of yet
        self._calls: list[tuple[ToolCall, Remembered]] = []
        self._fresh: dict[str, Remembered] = {}

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns ``events``."""
        for event in events:
            match event:
                case ReasoningDelta(index, text) | ToolCallDelta(index, text):
                    if index not in self._telling:
                        self._telling[index] = StringIO()
                    self._telling[index].write(text)
                case ToolCallStarted(index, executor="client"):
                    self._started[index] = event
                case PartEnded(index, keep) if index in self._started:
                    start, arguments = self._started[index], self._told(index) or "{}"
                    self._called(ToolCall(start.id, start.name, arguments, keep=keep))
                case PartEnded(index, keep) if index in self._telling:
                    thought = Reasoning(self._told(index), keep)
                    self._said += thought.text
                    self._thoughts += (thought,) if keep else ()
                case Finished() if self._calls:
                    self._ended()
        return events

    def _told(self, index: int) -> str:
        return self._telling.pop(index).getvalue() if index in self._telling else ""

    def _called(self, call: ToolCall) -> None:
        self._calls.append((call, Remembered(call.keep, self._thoughts)))
        self._thoughts = ()
        self._remember(len(self._calls) - 1)

    def _ended(self) -> None:
        """All that was thought is known now, what came behind the last call too."""
        call, what = self._calls[-1]
        self._calls[-1] = call, replace(what, behind=self._thoughts)
        for number in range(len(self._calls)):
            self._remember(number)

    def _remember(self, number: int) -> None:
        call, what = self._calls[number]
        if what == _NOTHING:
            return
        *exact, id = keys_of(call, self._said, number)
        fresh = dict.fromkeys(exact, what) | ({id: Remembered(what.keep)} if what.keep else {})
        for key, kept in fresh.items():
            self._memo.remember(self._owner, key, kept)
        self._fresh |= fresh

    async def share(self) -> None:
        """To be awaited before the client can answer to a call that was observed."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            await self._memo.share(self._owner, fresh)
