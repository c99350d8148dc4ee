"""Towards an engine: a neutral request as a body for ``POST /v1/messages``."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from hashlib import sha256
from typing import Any, Final

from llm.chat.messages import Foreign, Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import opaque_for
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.anthropic.engine_options import SCHEMAS, write_options
from llm.dialects.anthropic.prompt_caching import marked
from llm.dialects.anthropic.shared import NAME, Kept, spelling, write_citations, write_input
from llm.dialects.base import Outgoing
from llm.dialects.losses import lost_fields, unknown_block
from llm.engines.engine import Engine
from llm.errors import Unsupported
from llm.wire.frames import Frame
from llm.wire.json_codec import Json
from llm.wire.schema_refs import step
from llm.wire.schema_subset import fitted, told

PATH: Final = "/v1/messages"

IMAGES: Final = ("image/jpeg", "image/png", "image/gif", "image/webp")
_TEXTS: Final = re.compile(r"text/.*|application/(.*\+)?(json|xml|yaml|x-yaml|javascript|toml|sql)")
_ID: Final = re.compile(r"[a-zA-Z0-9_-]+")


def write_request(request: ChatRequest, engine: Engine) -> Outgoing:
    """Raises ``Unsupported`` for what this wire, or the model, cannot take."""
    kept: Kept = partial(opaque_for, dialect=NAME, issuer=engine.issuer)
    own = dict(kept(request.keep))
    dropped = [*lost_fields(request, NAME)]
    if not engine.quirks.unknown_fields:
        dropped += [name for name in own if name in request.hints]
        own = {name: value for name, value in own.items() if name not in request.hints}
    conversation = _Conversation(engine, kept, citations=request.options.citations is True)
    for message in request.messages:
        conversation.add(message)
    if request.options.citations and not conversation.citable:
        dropped.append("citations")
    body: dict[str, Json] = {**own, "model": request.model}
    body |= write_options(request, engine, dropped)
    if system := conversation.system:
        body["system"] = _content(system)
    body["messages"] = conversation.written()
    if request.tools:
        body["tools"] = [_write_tool(tool, kept, dropped) for tool in request.tools]
    if request.stream:
        body["stream"] = True
    if request.options.caching:
        body = marked(body)
    body |= request.options.extra
    return Outgoing(path=PATH, body=body, dropped=tuple(dict.fromkeys((*dropped, *conversation.dropped))))


def verbatim(body: Mapping[str, Any], model: str, engine: Engine) -> Outgoing:
    """A client's own body; usage is always told here."""
    return Outgoing(path=PATH, body={**body, "model": model})


def only_usage(frame: Frame) -> bool:
    return False


def _content(blocks: Sequence[dict[str, Json]]) -> Json:
    """The short spelling where there is nothing but one text."""
    if len(blocks) == 1 and blocks[0].keys() == {"type", "text"}:
        return blocks[0]["text"]
    return [*blocks]


def _write_tool(tool: ToolSpec, kept: Kept, dropped: list[str]) -> dict[str, Json]:
    if tool.executor == "provider":
        return dict(kept(tool.keep))
    wire = {**kept(tool.keep), "name": tool.name, "input_schema": {"type": "object", **tool.parameters}}
    if tool.description:
        wire["description"] = tool.description
    if tool.strict and tool.wire not in (None, NAME):
        place = step("tools", tool.name)
        whole = fitted({"type": "object", "properties": {}, **tool.parameters}, SCHEMAS, place)
        dropped += told(place, whole.lost)
        if whole.schema is None:
            dropped.append(f"{place}/strict")
            return wire
        wire["input_schema"] = whole.schema
    if tool.strict is not None:
        wire["strict"] = tool.strict
    return wire


class _Conversation:
    """Messages as this wire wants them: no system role among them, neighbours of one role in one message.

    The results of one turn's calls have to be in one user message, first in it; the wire takes no blank text.
    """

    def __init__(self, engine: Engine, kept: Kept, *, citations: bool) -> None:
        self.system: list[dict[str, Json]] = []
        self.dropped: list[str] = []
        self.citable = False  # there is a document
        self._engine = engine
        self._kept = kept
        self._citations = citations
        self._turns: list[_Turn] = []

    def add(self, message: Message) -> None:
        if message.role == "system" and spelling(message.keep).get("role") != "system":
            self.system += self._blocks(message.parts, "system")
            return
        extra = self._kept(message.keep)
        for role, parts in _by_role(message):
            blocks = self._blocks(parts, role)
            if not blocks:
                continue
            if not self._turns or self._turns[-1].role != role:
                self._turns.append(_Turn(role))
            self._turns[-1].extra |= extra
            self._turns[-1].blocks += blocks

    def written(self) -> list[Json]:
        if self._turns and self._turns[-1].role == "assistant":
            self._turns[-1].strip()
        return [turn.written() for turn in self._turns]

    def _blocks(self, parts: Sequence[Part], role: str) -> list[dict[str, Json]]:
        return [block for part in parts if (block := self._block(part, role)) is not None]

    def _block(self, part: Part, role: str) -> dict[str, Json] | None:
        match part:
            case Text():
                return self._text(part)
            case Reasoning(text, keep):
                return _thinking(text, self._kept(keep))
            case ToolCall():
                return self._call(part)
            case ToolResult():
                return self._result(part)
            case Media() if role == "assistant":
                self.dropped.append(f"{part.kind} in an assistant message")
                return None
            case Media():
                return self._media(part)
            case Foreign(keep):
                if wire := self._kept(keep):
                    return dict(wire)
                if role == "assistant":
                    self.dropped.append("foreign block")
                    return None
                raise unknown_block(part, self._engine)

    def _text(self, part: Text) -> dict[str, Json] | None:
        if not part.text.strip():
            return None
        rest, said = self._kept(part.keep), spelling(part.keep)
        if said.get("type") == "document":
            source = said.get("source")
            source = {**(source if isinstance(source, dict) else {}), "data": part.text}
            return self._cited({**rest, "type": "document", "source": source})
        wire: dict[str, Json] = {"type": "text", **rest, "text": part.text}
        if citations := write_citations(part.citations, self._kept):
            wire["citations"] = citations
        return wire

    def _call(self, call: ToolCall) -> dict[str, Json] | None:
        rest = self._kept(call.keep)
        if call.executor == "provider" and "type" not in rest:
            self.dropped.append("hosted tool call")
            return None
        return {"type": "tool_use", **rest, "id": _id(call.id), "name": call.name, "input": write_input(call.arguments)}

    def _result(self, result: ToolResult) -> dict[str, Json]:
        wire: dict[str, Json] = {**self._kept(result.keep), "type": "tool_result", "tool_use_id": _id(result.call_id)}
        if blocks := self._blocks(result.content, "tool"):
            wire["content"] = _content(blocks)
        if result.is_error:
            wire["is_error"] = True
        return wire

    def _media(self, part: Media) -> dict[str, Json]:
        kind = part.kind
        if kind not in ("image", "document"):
            raise self._unsupported(f"{self._engine.label} takes no {kind} here.")
        rest = dict(self._kept(part.keep))
        more = rest.get("source")
        wire: dict[str, Json] = {**rest, "type": kind}
        wire["source"] = {**(more if isinstance(more, dict) else {}), **self._source(part)}
        if kind == "document" and part.name:
            wire["title"] = part.name
        return self._cited(wire) if kind == "document" else wire

    def _source(self, part: Media) -> dict[str, Json]:
        mime = "image/jpeg" if part.mime == "image/jpg" else part.mime
        if part.url is not None:
            return {"type": "url", "url": part.url}
        if part.file_id is not None:
            if not any(o.dialect == NAME and o.issuer in (None, self._engine.issuer) for o in part.keep):
                raise self._unsupported(f"The file {part.file_id!r} was not uploaded to this engine.")
            return {"type": "file", "file_id": part.file_id}
        if mime in (*IMAGES, "application/pdf"):
            return {"type": "base64", "media_type": mime, "data": part.base64}
        if _TEXTS.fullmatch(mime):
            return {"type": "text", "media_type": "text/plain", "data": self._decoded(part)}
        raise self._unsupported(f"{self._engine.label} takes no {mime} here.")

    def _decoded(self, part: Media) -> str:
        try:
            return base64.b64decode(part.base64 or "", validate=True).decode("utf-8", "replace")
        except (binascii.Error, ValueError):
            raise self._unsupported(f"The {part.mime} document is not base64.") from None

    def _cited(self, document: dict[str, Json]) -> dict[str, Json]:
        """The wire wants citations for all documents of a request or for none."""
        self.citable = True
        if self._citations and "citations" not in document:
            document["citations"] = {"enabled": True}
        return document

    def _unsupported(self, message: str) -> Unsupported:
        return Unsupported(message, param="messages", engine=self._engine.name)


class _Turn:
    """One message on its way out."""

    __slots__ = ("blocks", "extra", "role")

    def __init__(self, role: str) -> None:
        self.role = role
        self.extra: dict[str, Json] = {}
        self.blocks: list[dict[str, Json]] = []

    def strip(self) -> None:
        """The text that the model is to go on from may not end in blank space."""
        last = self.blocks[-1]
        if last.get("type") == "text":
            self.blocks[-1] = {**last, "text": str(last["text"]).rstrip()}

    def written(self) -> dict[str, Json]:
        blocks = sorted(self.blocks, key=lambda block: block.get("type") != "tool_result")
        return {**self.extra, "role": self.role, "content": _content(blocks)}


def _by_role(message: Message) -> Iterator[tuple[str, list[Part]]]:
    """A message in pieces, since results of tools are always the user's: our own loop keeps them beside the calls."""
    pieces: list[tuple[str, list[Part]]] = []
    for part in message.parts:
        role = "user" if isinstance(part, ToolResult) else message.role
        if not pieces or pieces[-1][0] != role:
            pieces.append((role, []))
        pieces[-1][1].append(part)
    yield from pieces


def _thinking(text: str, rest: Mapping[str, Json]) -> dict[str, Json] | None:
    """Byte for byte as it came (T1). What this engine has not signed it would refuse, so that stays behind."""
    if rest.get("type") == "redacted_thinking":
        return dict(rest)
    return {"type": "thinking", "thinking": text, **rest} if rest.get("signature") else None


def _id(id: str) -> str:
    """The wire refuses other characters; the digest keeps apart what would become equal, the same in every request."""
    if _ID.fullmatch(id):
        return id
    return f"{re.sub(r'[^a-zA-Z0-9_-]', '_', id)}_{sha256(id.encode('utf-8', 'replace')).hexdigest()[:8]}"
