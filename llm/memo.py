"""What engines want back beside a tool call, kept by the call's id for clients that bring back only what they know.

A signature of a thought stands on a call (Gemini's ``thoughtSignature``, OpenRouter's details); few client wires have a
field for it, and many clients drop fields that they do not know. Without it the next turn is refused (T2). So is one
of Anthropic's without the signed thoughts that its calls came of (T1).
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from io import StringIO
from typing import Final

from llm.chat import ChatRequest, Message, Reasoning, ToolCall
from llm.codec import dumps, loads
from llm.events import Event, PartEnded, ReasoningDelta, ToolCallStarted
from llm.opaque import Keep, seal
from llm.shelf import Shelf
from llm.stored import read_message, write_message

MAX_AGE: Final = 24 * 3600.0  # seconds
MAX_SIZE: Final = 16 * 1024 * 1024  # characters of all that is kept; the oldest go first


@dataclass(frozen=True, slots=True)
class Remembered:
    keep: Keep = ()  # of the call itself
    thoughts: tuple[Reasoning, ...] = ()  # signed ones that the call came of; of the first call of an answer


_NOTHING: Final = Remembered()


@dataclass(slots=True)
class Memo:
    """Bounded in time and size; what is forgotten costs the client a refused turn, nothing else.

    The next turn may reach another worker, which finds on the ``shelf`` what this one has put there. A server of one
    process has none: then nothing that was said gets to the disk unless a client asked for that.
    """

    shelf: Shelf | None = None
    max_age: float = MAX_AGE
    max_size: int = MAX_SIZE
    now: Callable[[], float] = time.monotonic
    _kept: OrderedDict[tuple[str, str], tuple[float, int, Remembered]] = field(default_factory=OrderedDict)
    _size: int = 0

    def remember(self, owner: str, id: str, what: Remembered) -> None:
        """``owner`` is whose call it was: ids are chosen by engines, and nobody else's is given away (X7)."""
        self._forget(owner, id)
        size = len(id) + len(seal(what.keep)) + sum(len(one.text) + len(seal(one.keep)) for one in what.thoughts)
        self._kept[owner, id] = (self.now(), size, what)
        self._size += size
        self._prune()

    async def share(self, owner: str, fresh: Mapping[str, Remembered]) -> None:
        """When it returns, other workers can :meth:`fetch` these."""
        if self.shelf is not None:
            await self.shelf.put(owner, {id: _write(what) for id, what in fresh.items()})

    async def fetch(self, owner: str, request: ChatRequest) -> None:
        """Remembers what another worker has shared of the calls in ``request``."""
        if self.shelf is None:
            return
        calls = {part.id for m in request.messages for part in m.parts if isinstance(part, ToolCall)}
        if missing := [id for id in calls if (owner, id) not in self._kept]:
            for id, text in (await self.shelf.get(owner, missing)).items():
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
        if self.shelf is not None:
            self.shelf.close()

    def _completed(self, owner: str, message: Message) -> Message:
        calls = [part for part in message.parts if isinstance(part, ToolCall)]
        if not calls:
            return message
        parts = tuple(self._whole(owner, part) if isinstance(part, ToolCall) else part for part in message.parts)
        thoughts = self.recall(owner, calls[0].id).thoughts
        if thoughts and not any(isinstance(part, Reasoning) and _issued(part.keep) for part in parts):
            parts = (*thoughts, *(part for part in parts if not isinstance(part, Reasoning)))
        return message if parts == message.parts else replace(message, parts=parts)

    def _whole(self, owner: str, call: ToolCall) -> ToolCall:
        """Beside fields of its own (an ``index``), a client may have dropped the engine's."""
        kept = () if _issued(call.keep) else self.recall(owner, call.id).keep
        return replace(call, keep=(*kept, *call.keep)) if kept else call

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


def _write(what: Remembered) -> str:
    return dumps(write_message(Message("assistant", (*what.thoughts, ToolCall("", "", keep=what.keep)))))


def _read(text: str) -> Remembered:
    try:
        *thoughts, call = read_message(loads(text)).parts
    except (ValueError, KeyError, TypeError):  # another version's
        return _NOTHING
    return Remembered(call.keep, tuple(part for part in thoughts if isinstance(part, Reasoning)))


def _issued(keep: Keep) -> bool:
    """Whether it was brought back: an engine's own, not a client's."""
    return any(opaque.issuer is not None for opaque in keep)


class Remembering:
    """Looks at the events of one answer on their way to a client."""

    def __init__(self, memo: Memo, owner: str) -> None:
        self._memo = memo
        self._owner = owner
        self._calls: dict[int, str] = {}
        self._telling: dict[int, StringIO] = {}  # thoughts under way
        self._thoughts: tuple[Reasoning, ...] = ()  # signed ones that no call has come of yet
        self._fresh: dict[str, Remembered] = {}

    def observe(self, batch: Iterable[Event]) -> None:
        for event in batch:
            match event:
                case ReasoningDelta(index, text):
                    if index not in self._telling:
                        self._telling[index] = StringIO()
                    self._telling[index].write(text)
                case ToolCallStarted(index, id, _, "client"):
                    self._calls[index] = id
                case PartEnded(index, keep) if index in self._telling:
                    thought = Reasoning(self._telling.pop(index).getvalue(), keep)
                    self._thoughts += (thought,) if keep else ()
                case PartEnded(index, keep) if index in self._calls:
                    if keep or self._thoughts:
                        what = self._fresh[self._calls[index]] = Remembered(keep, self._thoughts)
                        self._memo.remember(self._owner, self._calls[index], what)
                    self._thoughts = ()

    async def share(self) -> None:
        """To be awaited before the client can answer to a call that was observed."""
        if self._fresh:
            fresh, self._fresh = self._fresh, {}
            await self._memo.share(self._owner, fresh)
