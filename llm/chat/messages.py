"""The neutral model's messages: parts, messages and usage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from io import StringIO
from typing import Final, Literal, TypeAlias

from llm.chat.provider_metadata import Metadata
from llm.wire.json_codec import Json

_SOURCES: Final = "Sources given by the engine:"
_LISTED_SOURCES: Final = re.compile(rf"(?:\A|\n\n){_SOURCES}(?:\n- [^\n]*)+\Z")

Role: TypeAlias = Literal["system", "user", "assistant"]
Executor: TypeAlias = Literal["client", "server", "provider"]
Phase: TypeAlias = Literal["commentary", "final_answer"]  # a text about the work between calls, or the answer
PHASE_SEPARATOR: Final = "\n\n"  # between both, where they become one text


@dataclass(frozen=True, slots=True)
class Citation:
    """The source of a statement. Offsets count characters in the text of the part with the citation."""

    url: str | None = None
    title: str | None = None
    quote: str | None = None  # text of the source
    start: int | None = None
    end: int | None = None
    metadata: Metadata = ()


@dataclass(frozen=True, slots=True)
class Text:
    """A text part."""

    text: str
    citations: tuple[Citation, ...] = ()
    metadata: Metadata = ()
    phase: Phase | None = field(default=None, compare=False)  # of a text of the assistant, if it is known


def join_texts(texts: Sequence[Text], separator: str) -> str:
    """Joins texts; a blank line stands between a comment on the work and the answer."""
    joined = StringIO()
    for number, text in enumerate(texts):
        if number:
            joined.write(PHASE_SEPARATOR if texts[number - 1].phase == "commentary" else separator)
        joined.write(text.text)
    return joined.getvalue()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """A reasoning part. ``text`` is empty if the provider withholds it; the signature is in ``metadata``."""

    text: str = ""
    metadata: Metadata = ()
    # Restored by this server, and the messages before it are no longer those after which it was created.
    is_outdated: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderToolRun:
    """A tool run by the provider, in the form for clients. The form for the provider is in the part's ``metadata``."""

    id: str  # of the call
    name: str = ""  # "" if the call is a part of its own
    arguments: str = ""  # JSON text
    state: Literal["running", "completed", "error"]  # "running": a later part has the outcome
    result: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """An image, document, audio or video; exactly one of ``base64``, ``url``, ``file_id`` is set."""

    mime: str
    base64: str | None = None  # not decoded, because every wire uses base64
    url: str | None = None
    file_id: str | None = None  # valid only for the issuer in ``metadata``
    name: str | None = None
    metadata: Metadata = ()
    tool_run: ProviderToolRun | None = field(default=None, compare=False)  # set if a tool of the provider created it

    @property
    def kind(self) -> Literal["image", "document", "audio", "video"]:
        """The kind of media by its MIME type; "document" for everything that is no image, audio or video."""
        match self.mime.partition("/")[0]:
            case "image":
                return "image"
            case "audio":
                return "audio"
            case "video":
                return "video"
        return "document"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A tool call of the model."""

    id: str
    name: str
    arguments: str = "{}"  # JSON text, unchanged: it may be invalid, and prompt caches depend on its bytes
    executor: Executor = "client"
    metadata: Metadata = ()
    tool_run: ProviderToolRun | None = field(default=None, compare=False)
    freeform: str = ""  # the client's dialect, if the client sent the input as text (``llm.chat.freeform``)


@dataclass(frozen=True, slots=True)
class UnknownPart:
    """A block of a type that the neutral model does not have.

    Written only to the dialect of its metadata. Others refuse it by its type in a user message, and leave it out of an
    answer unless it is ``required``.
    """

    metadata: Metadata
    tool_run: ProviderToolRun | None = field(default=None, compare=False)
    summary: str | None = field(default=None, compare=False)  # replaces what stands before it; "": it does nothing
    required: bool = field(default=False, compare=False)
    text: str = field(default="", compare=False)  # says the same, for engines that do not know the block


@dataclass(frozen=True, slots=True)
class ToolResult:
    """The result of a tool call; a part of a user message."""

    call_id: str
    content: tuple[Text | Media | UnknownPart, ...] = ()
    is_error: bool = False
    name: str | None = None  # of the tool; Gemini matches results to calls by it
    metadata: Metadata = ()


def describe_media(media: Media) -> str:
    """Returns a sentence in place of media in an answer, for clients whose API has no form for them."""
    if media.url is not None:
        return f"[{media.mime}: {media.url}]"
    names = {"image": "A picture", "audio": "A recording", "video": "A video"}
    return f"[{names.get(media.kind, 'A file')} ({media.mime}) was made, which this API cannot carry.]"


def list_sources(citations: Iterable[Citation]) -> str:
    """Returns a text with the sources, each of them once, to be put behind an answer for clients whose API has no
    citations; "" if there are none. :func:`remove_sources` removes it again.
    """
    lines: dict[str, None] = {}
    for one in citations:
        if one.url:
            lines[f"- [{one.title}]({one.url})" if one.title else f"- {one.url}"] = None
        elif one.title or one.quote:
            lines[f"- {one.title or one.quote}"] = None
    return "\n".join((f"\n\n{_SOURCES}", *lines)) if lines else ""


def remove_sources(text: str) -> str:
    """Removes the list of sources that this server has put behind an answer: the model has not written it."""
    return _LISTED_SOURCES.sub("", text) if _SOURCES in text else text


Part: TypeAlias = Text | Reasoning | Media | ToolCall | ToolResult | UnknownPart


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a conversation."""

    role: Role  # "user" for a message with tool results
    parts: tuple[Part, ...]  # in the order of the wire, on which engines depend
    metadata: Metadata = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Token counts that do not overlap (E8), so that totals are sums. None: not reported."""

    fresh: int | None = None  # input tokens neither read from nor written to a cache
    cache_read: int = 0
    cache_write: int = 0
    text: int | None = None  # output tokens other than reasoning
    reasoning: int = 0
    other: Mapping[str, int] = field(
        default_factory=dict
    )  # details of the counts above: "audio_input", "cache_write_1h", …
    estimated: bool = False  # computed by this server, not reported by the engine

    @property
    def input(self) -> int | None:
        """All input tokens."""
        return None if self.fresh is None else self.fresh + self.cache_read + self.cache_write

    @property
    def output(self) -> int | None:
        """All output tokens."""
        return None if self.text is None else self.text + self.reasoning

    def __add__(self, other: Usage) -> Usage:
        """Returns the sum of two rounds of the tool loop."""
        return Usage(
            fresh=_sum(self.fresh, other.fresh),
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            text=_sum(self.text, other.text),
            reasoning=self.reasoning + other.reasoning,
            other={n: self.other.get(n, 0) + other.other.get(n, 0) for n in (*self.other, *other.other)},
            estimated=self.estimated or other.estimated,
        )


NO_USAGE: Final = Usage()


def _sum(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else a + b
