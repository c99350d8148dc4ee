"""Filters that change the events between a reader and a writer: part order, interrupted answers, reasoning tags."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from llm.chat.events import (
    Cited,
    Delta,
    Event,
    Failed,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    ToolProgress,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Usage
from llm.chat.provider_metadata import Metadata
from llm.wire.json_codec import Json


class Filter(Protocol):
    """Changes a stream of events."""

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Returns the events for the writer, which may be fewer, more or others than ``events``."""
        ...


class PartSequencer:
    """Puts interleaved parts one after another, for wires that cannot interleave (S3).

    The events of a later part are held back until the open part has ended.
    """

    def __init__(self) -> None:
        self._current: int | None = None
        self._waiting: dict[int, list[Event]] = {}

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Returns the events that can be sent now; keeps those of later parts."""
        out: list[Event] = []
        for event in events:
            # Progress belongs to a call that has already ended, so it does not open a part.
            index = None if isinstance(event, ToolProgress) else getattr(event, "index", None)
            if index is None:
                out.append(event)
            elif self._current is None or index == self._current:
                self._emit(event, index, out)
            else:
                self._waiting.setdefault(index, []).append(event)
        return out

    def _emit(self, event: Event, index: int, out: list[Event]) -> None:
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


class AnswerJoiner:
    """Joins the answers with which a provider goes on with one long answer (``Finished.continuation``) to one.

    The client gets one start, parts numbered on, the usage of all requests and one end. A text or reasoning part that
    an interruption has cut in two becomes one part again. Only answers after the first one pass :meth:`feed`.
    """

    def __init__(self) -> None:
        self.count = 0  # of interruptions so far
        self.fields: Mapping[str, Json] = {}  # of the last one
        self._base = 0  # index of the first part of this answer
        self._cut: int | None = None  # index of the part that may go on
        self._cut_kind: type[Event] | None = None
        self._joined: int | None = None  # index of the part that has gone on
        self._before = Usage()  # of the answers before this one

    def end_answer(self, events: Sequence[Event]) -> list[Event]:
        """Returns the last events of an interrupted answer without its end, which may be in the middle of a part."""
        finished = events[-1]
        assert isinstance(finished, Finished) and finished.continuation is not None
        found = finished.continuation
        last = self._base + found.part_count - 1
        out: list[Event] = [event for event in events if not isinstance(event, Finished)]
        if found.open_kind is not None and PartEnded(last) in out:
            out.remove(PartEnded(last))
            self._cut, self._cut_kind = last, found.open_kind
        self._before = next((e.usage for e in reversed(out) if isinstance(e, UsageReported)), self._before)
        self._base, self._joined = last + 1, None
        self.fields = found.fields
        self.count += 1
        return out

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events of an answer that goes on with the one before."""
        out: list[Event] = []
        for event in events:
            match event:
                case Started():
                    continue
                case UsageReported(usage):
                    out.append(UsageReported(self._before + usage))
                    continue
                case Finished() | Failed():
                    out += self._end_cut_part()
                    out.append(event)
                    continue
            if self._cut is not None:
                if type(event) is self._cut_kind:
                    self._base = self._joined = self._cut
                    self._cut = None
                else:
                    out += self._end_cut_part()
            index = self._base + event.index
            if isinstance(event, Cited) and index == self._joined:  # its offsets count from the interruption
                event = replace(event, citation=replace(event.citation, start=None, end=None))
            out.append(replace(event, index=index))
        return out

    def _end_cut_part(self) -> list[Event]:
        cut, self._cut = self._cut, None
        return [] if cut is None else [PartEnded(cut)]


_OPEN: Final = ("<think>", "<thinking>", "<thought>")
_CLOSE: Final = ("</think>", "</thinking>", "</thought>")
_IN_TEXT: Final = ("</think>", "<think>")


class ThinkTagFilter:
    """Turns reasoning that a model writes into its text between tags (``<think>``) into reasoning parts (S13).

    An opening tag counts only at the start of a text part or directly after earlier reasoning, so that an answer about
    the tag keeps it. A closing tag without an opening one is removed, because the opening one may be in the prompt.
    Without a closing tag the rest is reasoning. Only the tags and the blank space around them are removed.
    """

    def __init__(self) -> None:
        self._next = 0
        self._indexes: dict[int, int] = {}  # index in -> index out, of the parts that are not split
        self._texts: dict[int, _TagSplitter] = {}  # the open text parts

    def feed(self, events: Iterable[Event]) -> list[Event]:
        """Returns the events with tags replaced; holds back text that may be the beginning of a tag."""
        out: list[Event] = []
        for event in events:
            match event:
                case TextDelta(index, text):
                    splitter = self._splitter_of(index)
                    out += self._emit(splitter, splitter.feed(text))
                case Cited(index, citation):
                    splitter = self._splitter_of(index)
                    out += self._emit(splitter, _open_text(splitter))
                    out.append(Cited(splitter.out or 0, citation))
                case PartEnded(index, metadata) if index in self._texts:
                    splitter = self._texts.pop(index)
                    out += self._emit(splitter, splitter.close())
                    if metadata and splitter.out is None:
                        out += self._emit(splitter, _open_text(splitter))
                    out += self._end(splitter, metadata)
                case _:
                    out.append(self._renumber(event))
        return out

    def _splitter_of(self, index: int) -> _TagSplitter:
        if index not in self._texts:
            self._texts[index] = _TagSplitter()
        return self._texts[index]

    def _emit(self, splitter: _TagSplitter, pieces: Sequence[tuple[str, str]]) -> Iterator[Event]:
        for kind, text in pieces:
            if splitter.out is None or splitter.kind != kind:
                yield from self._end(splitter)
                splitter.out, splitter.kind = self._next_index(), kind
            yield TextDelta(splitter.out, text) if kind == "text" else ReasoningDelta(splitter.out, text)

    def _end(self, splitter: _TagSplitter, metadata: Metadata = ()) -> Iterator[Event]:
        if splitter.out is not None:
            yield PartEnded(splitter.out, metadata)
            splitter.out = None

    def _renumber(self, event: Event) -> Event:
        match event:
            case ReasoningDelta(index, text):
                return ReasoningDelta(self._index_out(index), text)
            case ToolCallStarted(index, id, name, executor):
                return ToolCallStarted(self._index_out(index), id, name, executor)
            case ToolCallDelta(index, arguments):
                return ToolCallDelta(self._index_out(index), arguments)
            case ToolProgress(index, state, status):
                return ToolProgress(self._index_out(index), state, status)
            case PartEnded(index, metadata, tool_run):
                return PartEnded(self._index_out(index), metadata, tool_run)
            case WholePart(index, part):
                return WholePart(self._index_out(index), part)
        return event

    def _index_out(self, index: int) -> int:
        if index not in self._indexes:
            self._indexes[index] = self._next_index()
        return self._indexes[index]

    def _next_index(self) -> int:
        index, self._next = self._next, self._next + 1
        return index


class _TagSplitter:
    """Splits one text part at its tags into pieces: (``"text"`` or ``"reasoning"``, text).

    Holds back text that may be the beginning of a tag.
    """

    __slots__ = (
        "_after_reasoning",
        "_at_start",
        "_held",
        "_inside",
        "_reasoning_is_blank",
        "_tags_are_text",
        "kind",
        "out",
    )

    def __init__(self) -> None:
        self.out: int | None = None  # index of the open part in the output
        self.kind = ""  # of the open part in the output
        self._held = ""  # may be the beginning of a tag
        self._inside = False  # between the tags
        self._at_start = True  # only blank space so far: an opening tag may follow
        self._tags_are_text = False  # a tag was found already, so later tags in the text are part of the answer
        self._reasoning_is_blank = False  # only line ends since the opening tag
        self._after_reasoning = False  # blank space here only separates the answer from the reasoning

    def feed(self, text: str) -> list[tuple[str, str]]:
        return self._split(self._held + text, last=False)

    def close(self) -> list[tuple[str, str]]:
        return self._split(self._held, last=True)

    def _split(self, text: str, *, last: bool) -> list[tuple[str, str]]:
        pieces: list[tuple[str, str]] = []
        self._held = ""
        while text:
            if self._inside:
                text = self._split_reasoning(text, last, pieces)
            elif self._at_start:
                text = self._split_start(text, last)
            else:
                text = self._split_text(text, last, pieces)
        return pieces

    def _split_start(self, text: str, last: bool) -> str:
        stripped = text.lstrip()
        for tag in (*_OPEN, *_CLOSE):
            if stripped.startswith(tag):
                self._inside = self._reasoning_is_blank = tag in _OPEN
                self._at_start = tag in _CLOSE
                self._tags_are_text = self._after_reasoning = True
                return stripped[len(tag) :]
        if not last and (not stripped or any(tag.startswith(stripped) for tag in (*_OPEN, *_CLOSE))):
            self._held = text
            return ""
        self._at_start = False
        return stripped if self._after_reasoning else text

    def _split_reasoning(self, text: str, last: bool, pieces: list[tuple[str, str]]) -> str:
        if self._reasoning_is_blank:
            text = text.lstrip("\n")
            self._reasoning_is_blank = not text
        start, tag = _find_tag(text, _CLOSE)
        if tag:
            reasoning = text[:start].rstrip("\n")
            if reasoning:
                pieces.append(("reasoning", reasoning))
            self._inside = False
            self._at_start = True
            return text[start + len(tag) :]
        self._hold(text, last, pieces, "reasoning", _CLOSE)
        return ""

    def _split_text(self, text: str, last: bool, pieces: list[tuple[str, str]]) -> str:
        if self._tags_are_text:
            pieces.append(("text", text))
            return ""
        start, tag = _find_tag(text, _IN_TEXT)
        if tag in _CLOSE:  # the opening tag was in the prompt; the text before this tag is already sent as text
            if start:
                pieces.append(("text", text[:start]))
            self._tags_are_text = self._at_start = self._after_reasoning = True
            return text[start + len(tag) :]
        if tag:  # an opening tag inside the text: the answer is about tags
            self._tags_are_text = True
            return text
        self._hold(text, last, pieces, "text", _IN_TEXT)
        return ""

    def _hold(self, text: str, last: bool, pieces: list[tuple[str, str]], kind: str, tags: tuple[str, ...]) -> None:
        """Emits ``text`` except an end that may begin a tag (in reasoning, with the line ends before it)."""
        size = 0 if last else max(_overlap(text, tag) for tag in tags)
        cut = len(text) - size
        if kind == "reasoning" and not last:
            cut = len(text[:cut].rstrip("\n"))
        if cut:
            pieces.append((kind, text[:cut]))
        self._held = text[cut:]


def _open_text(splitter: _TagSplitter) -> Sequence[tuple[str, str]]:
    """Returns the pieces that open a text part in the output, for a citation or metadata; none if one is open."""
    return () if splitter.out is not None and splitter.kind == "text" else (("text", ""),)


def _find_tag(text: str, tags: tuple[str, ...]) -> tuple[int, str]:
    found = [(start, tag) for tag in tags if (start := text.find(tag)) >= 0]
    return min(found, default=(-1, ""))


def _overlap(text: str, tag: str) -> int:
    """Returns the length of the longest end of ``text`` that is a beginning of ``tag``."""
    for size in range(min(len(tag) - 1, len(text)), 0, -1):
        if text.endswith(tag[:size]):
            return size
    return 0


# Half a surrogate pair: a text of Python may hold it, but it cannot be encoded.
HALF_PAIR: Final = re.compile("[\ud800-\udfff]")


class HalfPairFilter:
    """The stage that keeps half a surrogate pair at the end of a delta until its other half comes.

    Some hosts cut an emoji between two deltas; a client in Python can encode neither half. A half that stays alone
    becomes U+FFFD.
    """

    def __init__(self) -> None:
        self._halves: dict[int, Delta] = {}  # by part

    def feed(self, events: Sequence[Event]) -> Sequence[Event]:
        """Returns the events; a delta of which nothing is left is dropped."""
        out: list[Event] = []
        for event in events:
            match event:
                case TextDelta() | ReasoningDelta():
                    joined = self._join(event)
                    if joined.text or not event.text:
                        out.append(joined)
                case PartEnded(index) if index in self._halves:
                    out += (type(self._halves.pop(index))(index, "\ufffd"), event)
                case _:
                    out.append(event)
        return out

    def _join(self, delta: Delta) -> Delta:
        half = self._halves.pop(delta.index, None)
        text = delta.text if half is None else half.text + delta.text
        if text.isascii() or not HALF_PAIR.search(text):
            return delta if half is None else type(delta)(delta.index, text)
        if "\ud800" <= text[-1] <= "\udbff":
            self._halves[delta.index], text = type(delta)(delta.index, text[-1]), text[:-1]
        joined = text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
        return type(delta)(delta.index, joined)
