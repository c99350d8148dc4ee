"""The neutral model's messages: parts, messages and usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from llm.chat.provider_metadata import Keep
from llm.wire.json_codec import Json

Role: TypeAlias = Literal["system", "user", "assistant"]
Executor: TypeAlias = Literal["client", "server", "provider"]


@dataclass(frozen=True, slots=True)
class Citation:
    """Where a statement comes from. Offsets count characters into the text of the part that is cited for."""

    url: str | None = None
    title: str | None = None
    quote: str | None = None
    start: int | None = None
    end: int | None = None
    keep: Keep = ()


@dataclass(frozen=True, slots=True)
class Text:
    text: str
    citations: tuple[Citation, ...] = ()
    keep: Keep = ()


@dataclass(frozen=True, slots=True)
class Reasoning:
    """What the model thought. ``text`` is empty where the provider withholds it; the signature is in ``keep``."""

    text: str = ""
    keep: Keep = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """A tool that the provider ran, as clients are shown it; what goes back to it is in the part's ``keep``."""

    id: str  # of the call
    name: str = ""  # "": of a call that is a part of its own
    arguments: str = ""  # JSON text
    state: Literal["running", "completed", "error"]  # "running": what became of it comes later
    result: Json = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Media:
    """Image, document, audio or video; exactly one of base64, url, file_id is set."""

    mime: str
    base64: str | None = None  # stays base64: every wire wants it so
    url: str | None = None
    file_id: str | None = None  # means something only to the issuer in ``keep``
    name: str | None = None
    keep: Keep = ()
    ran: Ran | None = field(default=None, compare=False)  # where a tool of the provider made it

    @property
    def kind(self) -> Literal["image", "document", "audio", "video"]:
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
    id: str
    name: str
    arguments: str = "{}"  # JSON text as it came: may be broken, and caches depend on its bytes
    executor: Executor = "client"
    keep: Keep = ()
    ran: Ran | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class Foreign:
    """A block this model has no word for. Written only to its own dialect, refused by name elsewhere."""

    keep: Keep
    ran: Ran | None = field(default=None, compare=False)


@dataclass(frozen=True, slots=True)
class ToolResult:
    call_id: str
    content: tuple[Text | Media | Foreign, ...] = ()
    is_error: bool = False
    name: str | None = None  # Gemini pairs results by name
    keep: Keep = ()


Part: TypeAlias = Text | Reasoning | Media | ToolCall | ToolResult | Foreign


@dataclass(frozen=True, slots=True)
class Message:
    role: Role  # tool results are parts of a user message
    parts: tuple[Part, ...]  # order is meaning: reasoning, text and calls stay as they came
    keep: Keep = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Tokens, in counters that do not overlap (E8); totals are sums. ``None``: not reported."""

    fresh: int | None = None  # input that came from no cache
    cache_read: int = 0
    cache_write: int = 0
    text: int | None = None  # output other than reasoning
    reasoning: int = 0
    other: Mapping[str, int] = field(default_factory=dict)  # "audio_input", "cache_write_1h", …: parts of the above
    estimated: bool = False

    @property
    def input(self) -> int | None:
        return None if self.fresh is None else self.fresh + self.cache_read + self.cache_write

    @property
    def output(self) -> int | None:
        return None if self.text is None else self.text + self.reasoning

    def __add__(self, other: Usage) -> Usage:
        """The sum over tool rounds."""
        return Usage(
            fresh=_sum(self.fresh, other.fresh),
            cache_read=self.cache_read + other.cache_read,
            cache_write=self.cache_write + other.cache_write,
            text=_sum(self.text, other.text),
            reasoning=self.reasoning + other.reasoning,
            other={n: self.other.get(n, 0) + other.other.get(n, 0) for n in (*self.other, *other.other)},
            estimated=self.estimated or other.estimated,
        )


def _sum(a: int | None, b: int | None) -> int | None:
    return b if a is None else a if b is None else a + b
