"""Events to events: what stands between a reader and a writer."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Protocol

from llm.chat.events import (
    Cited,
    Event,
    PartEnded,
    ReasoningDelta,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    WholePart,
)
from llm.chat.provider_metadata import Keep


class Filter(Protocol):
    def feed(self, events: Iterable[Event]) -> list[Event]: ...


class InOrder:
    """One part at a time, for wires that cannot interleave (S3): a later part waits until the earlier has ended."""

    def __init__(self) -> None:
        self._current: int | None = None
        self._waiting: dict[int, list[Event]] = {}

    def feed(self, events: Iterable[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            # Progress is told of calls that have ended: it opens nothing.
            index = None if isinstance(event, ToolProgress) else getattr(event, "index", None)
            if index is None:
                out.append(event)
            elif self._current is None or index == self._current:
                self._pass(event, index, out)
            else:
                self._waiting.setdefault(index, []).append(event)
        return out

    def _pass(self, event: Event, index: int, out: list[Event]) -> None:
        out.append(event)
        if isinstance(event, PartEnded | WholePart):
            self._current = None
            self._release(out)
        else:
            self._current = index

    def _release(self, out: list[Event]) -> None:
        while self._current is None and self._waiting:
            index = next(iter(self._waiting))
            for event in self._waiting.pop(index):
                out.append(event)
                self._current = None if isinstance(event, PartEnded | WholePart) else index


_OPEN: Final = ("<think>", "<thinking>", "<thought>")
_CLOSE: Final = ("</think>", "</thinking>", "</thought>")
_IN_TEXT: Final = ("</think>", "<think>")


class ThinkTags:
    """Thoughts that a model puts into its text as tags become reasoning (S13).

    A tag opens only where text begins: at the start of a text part or right after an earlier thought, so that an answer
    which speaks of the tag keeps it. A closing tag that no opening one came before is dropped, since the opening one
    may have stood in the prompt. Without a closing tag the rest stays reasoning; nothing is swallowed but the tags and
    the blank space around them.
    """

    def __init__(self) -> None:
        self._next = 0
        self._indexes: dict[int, int] = {}  # of the parts that pass through unsplit
        self._texts: dict[int, _Tagged] = {}  # the open ones

    def feed(self, events: Iterable[Event]) -> list[Event]:
        out: list[Event] = []
        for event in events:
            match event:
                case TextDelta(index, text):
                    tagged = self._tagged(index)
                    out += self._emit(tagged, tagged.feed(text))
                case Cited(index, citation):
                    tagged = self._tagged(index)
                    out += self._emit(tagged, _as_text(tagged))
                    out.append(Cited(tagged.out or 0, citation))
                case PartEnded(index, keep) if index in self._texts:
                    tagged = self._texts.pop(index)
                    out += self._emit(tagged, tagged.close())
                    if keep and tagged.out is None:
                        out += self._emit(tagged, _as_text(tagged))
                    out += self._end(tagged, keep)
                case _:
                    out.append(self._renumbered(event))
        return out

    def _tagged(self, index: int) -> _Tagged:
        if index not in self._texts:
            self._texts[index] = _Tagged()
        return self._texts[index]

    def _emit(self, tagged: _Tagged, pieces: Sequence[tuple[str, str]]) -> Iterator[Event]:
        for kind, text in pieces:
            if tagged.out is None or tagged.kind != kind:
                yield from self._end(tagged)
                tagged.out, tagged.kind = self._new(), kind
            yield TextDelta(tagged.out, text) if kind == "text" else ReasoningDelta(tagged.out, text)

    def _end(self, tagged: _Tagged, keep: Keep = ()) -> Iterator[Event]:
        if tagged.out is not None:
            yield PartEnded(tagged.out, keep)
            tagged.out = None

    def _renumbered(self, event: Event) -> Event:
        match event:
            case ReasoningDelta(index, text):
                return ReasoningDelta(self._index(index), text)
            case ToolCallStarted(index, id, name, executor):
                return ToolCallStarted(self._index(index), id, name, executor)
            case ToolCallDelta(index, arguments):
                return ToolCallDelta(self._index(index), arguments)
            case ToolProgress(index, state, status):
                return ToolProgress(self._index(index), state, status)
            case PartEnded(index, keep, ran):
                return PartEnded(self._index(index), keep, ran)
            case WholePart(index, part):
                return WholePart(self._index(index), part)
        return event

    def _index(self, index: int) -> int:
        if index not in self._indexes:
            self._indexes[index] = self._new()
        return self._indexes[index]

    def _new(self) -> int:
        index, self._next = self._next, self._next + 1
        return index


class _Tagged:
    """One text part on its way: cuts it at the tags, holding back what may be the beginning of one."""

    __slots__ = ("_after_thought", "_at_start", "_held", "_inside", "_opened", "_thought_fresh", "kind", "out")

    def __init__(self) -> None:
        self.out: int | None = None  # index of the part that goes out
        self.kind = ""
        self._held = ""
        self._inside = False
        self._at_start = True  # only blank space so far: an opening tag may come
        self._opened = False  # there was an opening tag, or a closing one that must have had one
        self._thought_fresh = False  # only line ends since the opening tag
        self._after_thought = False  # blank space here only sets the answer off from the thought

    def feed(self, text: str) -> list[tuple[str, str]]:
        return self._cut(self._held + text, last=False)

    def close(self) -> list[tuple[str, str]]:
        return self._cut(self._held, last=True)

    def _cut(self, text: str, *, last: bool) -> list[tuple[str, str]]:
        pieces: list[tuple[str, str]] = []
        self._held = ""
        while text:
            if self._inside:
                text = self._cut_thought(text, last, pieces)
            elif self._at_start:
                text = self._cut_start(text, last)
            else:
                text = self._cut_text(text, last, pieces)
        return pieces

    def _cut_start(self, text: str, last: bool) -> str:
        begun = text.lstrip()
        for tag in (*_OPEN, *_CLOSE):
            if begun.startswith(tag):
                self._inside = self._thought_fresh = tag in _OPEN
                self._at_start = tag in _CLOSE
                self._opened = self._after_thought = True
                return begun[len(tag) :]
        if not last and (not begun or any(tag.startswith(begun) for tag in (*_OPEN, *_CLOSE))):
            self._held = text
            return ""
        self._at_start = False
        return begun if self._after_thought else text

    def _cut_thought(self, text: str, last: bool, pieces: list[tuple[str, str]]) -> str:
        if self._thought_fresh:
            text = text.lstrip("\n")
            self._thought_fresh = not text
        start, tag = _find(text, _CLOSE)
        if tag:
            thought = text[:start].rstrip("\n")
            if thought:
                pieces.append(("reasoning", thought))
            self._inside = False
            self._at_start = True
            return text[start + len(tag) :]
        self._hold(text, last, pieces, "reasoning", _CLOSE)
        return ""

    def _cut_text(self, text: str, last: bool, pieces: list[tuple[str, str]]) -> str:
        if self._opened:
            pieces.append(("text", text))
            return ""
        start, tag = _find(text, _IN_TEXT)
        if tag in _CLOSE:  # the opening tag stood in the prompt: what came before cannot be taken back
            if start:
                pieces.append(("text", text[:start]))
            self._opened = self._at_start = self._after_thought = True
            return text[start + len(tag) :]
        if tag:  # the answer speaks of tags
            self._opened = True
            return text
        self._hold(text, last, pieces, "text", _IN_TEXT)
        return ""

    def _hold(self, text: str, last: bool, pieces: list[tuple[str, str]], kind: str, tags: tuple[str, ...]) -> None:
        """Hands on all but what may be the beginning of a tag (inside a thought, with the line ends before it)."""
        keep = 0 if last else max(_overlap(text, tag) for tag in tags)
        cut = len(text) - keep
        if kind == "reasoning" and not last:
            cut = len(text[:cut].rstrip("\n"))
        if cut:
            pieces.append((kind, text[:cut]))
        self._held = text[cut:]


def _as_text(tagged: _Tagged) -> Sequence[tuple[str, str]]:
    """What makes an open text part of it, for what has to stand on one."""
    return () if tagged.out is not None and tagged.kind == "text" else (("text", ""),)


def _find(text: str, tags: tuple[str, ...]) -> tuple[int, str]:
    found = [(start, tag) for tag in tags if (start := text.find(tag)) >= 0]
    return min(found, default=(-1, ""))


def _overlap(text: str, tag: str) -> int:
    """Length of the longest end of ``text`` that begins ``tag``."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0
