"""Towards an engine: a neutral request as the body of ``POST /responses``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, assert_never

from llm.chat.messages import Foreign, Media, Message, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import Keep, opaque_for
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.base import Outgoing
from llm.dialects.losses import lost_fields, unknown_block
from llm.dialects.openai_responses.engine_options import write_options
from llm.dialects.openai_responses.shared import CALLS, NAME, RESULTS, TEXTS
from llm.engines.engine import Engine
from llm.errors import Unsupported
from llm.wire.frames import Frame
from llm.wire.json_codec import Json
from llm.wire.json_lenient import dict_of, text_of
from llm.wire.schema_refs import step
from llm.wire.schema_subset import enforced

PATH: Final = "/responses"

_STORED: Final = ("store", "previous_response_id", "conversation", "background")
_NO_PARAMETERS: Final[Mapping[str, Json]] = {"type": "object", "properties": {}}
# Files are the same ones in the provider's other API.
_FILES_OF: Final = (NAME, "openai-chat")


def write_request(request: ChatRequest, engine: Engine) -> Outgoing:
    """Raises ``Unsupported`` naming the option or the part."""
    dropped = [*lost_fields(request, NAME)]
    own = dict(opaque_for(request.keep, NAME, engine.issuer))
    if not engine.quirks.unknown_fields:
        dropped += [name for name in own if name in request.hints]
        own = {name: value for name, value in own.items() if name not in request.hints}
    said = {**own, **request.options.extra}
    stateless = said.get("store") is False or not any(said.get(name) for name in _STORED)
    system, messages = _instructions(request.messages)
    items = _Items(engine, stateless, dropped)
    for message in messages:
        items.add(message)
    body: dict[str, Json] = {**own, "model": request.model}
    if system:
        body["instructions"] = "\n\n".join(system)
    body["input"] = [*_followed(items.written)]
    if stateless:
        body["store"] = False
    body |= write_options(request, engine, own, stateless, dropped)
    if request.tools:
        body["tools"] = [_write_tool(tool, engine, dropped) for tool in request.tools]
    if request.stream:
        body["stream"] = True
    return Outgoing(path=PATH, body={**body, **request.options.extra}, dropped=tuple(dict.fromkeys(dropped)))


def verbatim(body: Mapping[str, Any], model: str, engine: Engine) -> Outgoing:
    """A client's own body, with the engine's name for the model; usage comes unasked here."""
    return Outgoing(path=PATH, body={**body, "model": model})


def only_usage(frame: Frame) -> bool:
    return False


def _instructions(messages: Sequence[Message]) -> tuple[list[str], Sequence[Message]]:
    """The texts of the system messages that come first, and the other messages.

    One that a client of this wire put among the items stays there: it has its role kept. So does one that has more
    than text, which is refused then, and one with nothing behind it, since the wire wants some input.
    """
    texts: list[str] = []
    for number, message in enumerate(messages):
        plain = [part.text for part in message.parts if isinstance(part, Text)]
        listed = any(opaque.dialect == NAME and "role" in opaque.data for opaque in message.keep)
        if message.role != "system" or listed or len(plain) != len(message.parts):
            return texts, messages[number:]
        texts += plain
    return [], messages


def _followed(items: Sequence[dict[str, Json]]) -> list[dict[str, Json]]:
    """Without the thoughts that nothing came of (an answer cut off while thinking), which would be refused."""
    kept: list[dict[str, Json]] = []
    answered = False
    for item in reversed(items):
        type, role = text_of(item.get("type")), item.get("role", "assistant")
        if type != "reasoning":
            answered = role == "assistant" and not type.endswith("_output")
        elif not answered:
            continue
        kept.append(item)
    return kept[::-1]


def _write_tool(tool: ToolSpec, engine: Engine, dropped: list[str]) -> Json:
    wire = dict(opaque_for(tool.keep, NAME, engine.issuer))
    if tool.executor == "provider":
        return wire
    wire |= {"type": "function", "name": tool.name}
    if tool.description:
        wire["description"] = tool.description
    # Left out, strict is true here: a schema that was never meant to be would be refused.
    schema, strict = enforced(
        tool.parameters or _NO_PARAMETERS, bool(tool.strict), tool.wire, step("tools", tool.name), dropped
    )
    return {**wire, "parameters": schema, "strict": strict}


class _Items:
    """Messages as items: the parts of each in their order, neighbours that make one message together."""

    def __init__(self, engine: Engine, stateless: bool, dropped: list[str]) -> None:
        self.written: list[dict[str, Json]] = []
        self._engine = engine
        self._stateless = stateless
        self._dropped = dropped
        self._calls: dict[str, str] = {}  # type of each call by its id

    def add(self, message: Message) -> None:
        if message.role == "assistant":
            self._assistant(message)
        else:
            self._asked(message)

    def _asked(self, message: Message) -> None:
        """A message of user or system; results of tools and items of other kinds stand between its pieces."""
        kept = self._kept(message.keep)
        role = message.role if message.role == "user" else kept.get("role", self._engine.quirks.system_role)
        content: list[Json] = []

        def flush() -> None:
            if content:
                self.written.append({**kept, "type": "message", "role": role, "content": [*content]})
                content.clear()

        for part in message.parts:
            match part:
                case ToolResult():
                    flush()
                    self.written.append(self._result(part))
                case Foreign(keep) if (item := self._kept(keep)) and not _is_content(item):
                    flush()
                    self.written.append(dict(item))
                case Text() | Media() | Foreign():
                    content.append(self._content(part))
                case Reasoning() | ToolCall():
                    raise self._unsupported(f"{type(part).__name__} has no place in such a message.")
                case _:
                    assert_never(part)
        flush()

    def _content(self, part: Text | Media | Foreign) -> dict[str, Json]:
        match part:
            case Text(text, _, keep):
                rest = {name: value for name, value in self._kept(keep).items() if name not in ("item", "type")}
                return {**rest, "type": "input_text", "text": text}
            case Media():
                return self._media(part)
            case Foreign(keep):
                if (block := self._kept(keep)) and _is_content(block):
                    return dict(block)
                raise unknown_block(part, self._engine)

    def _media(self, media: Media) -> dict[str, Json]:
        kind, rest = media.kind, dict(self._kept(media.keep))
        data = f"data:{media.mime};base64,{media.base64}"
        if media.file_id is not None and not any(
            opaque.dialect in _FILES_OF and opaque.issuer in (None, self._engine.issuer) for opaque in media.keep
        ):
            raise self._unsupported(f"The file {media.file_id!r} was not uploaded to this engine.")
        if kind == "image":
            wire: dict[str, Json] = {"detail": "auto", **rest, "type": "input_image"}
            wire |= {"image_url": media.url or data} if media.file_id is None else {"file_id": media.file_id}
            return wire
        if kind != "document":
            raise self._unsupported(f"{self._engine.label} takes no {kind} in this API.")
        wire = {**rest, "type": "input_file"}
        if media.file_id is not None:
            return {**wire, "file_id": media.file_id}
        if media.url is not None:
            return {**wire, "file_url": media.url}
        return {**wire, "filename": media.name or "document.pdf", "file_data": data}

    def _result(self, result: ToolResult) -> dict[str, Json]:
        if result.is_error:
            self._dropped.append("is_error")  # the wire has no word for it: the text says so
        texts = [part.text for part in result.content if isinstance(part, Text)]
        plain = len(texts) == len(result.content)
        output: Json = "\n\n".join(texts) if plain else [self._content(part) for part in result.content]
        type = RESULTS[self._calls.get(result.call_id, "function_call")]
        return {"type": type, **self._kept(result.keep), "call_id": result.call_id, "output": output}

    def _assistant(self, message: Message) -> None:
        kept = self._kept(message.keep)
        # What came of a thought that stays behind is refused under its own id: the engine misses the thought.
        orphans = self._stateless and any(
            isinstance(part, Reasoning) and self._stays(self._kept(part.keep)) for part in message.parts
        )
        texts: list[Text] = []
        for part in (*message.parts, None):
            if texts and not (isinstance(part, Text) and self._item_of(part) == self._item_of(texts[0])):
                self._say(texts, kept, orphans)
                texts = []
            match part:
                case None:
                    pass
                case Text():
                    texts.append(part)
                case Reasoning(_, keep):
                    if (item := self._kept(keep)) and not self._stays(item):
                        self.written.append(dict(item))
                case ToolCall():
                    self._call(part, orphans)
                case ToolResult():  # our own loop keeps them beside the calls
                    self.written.append(self._result(part))
                case Media():
                    self._made(part)
                case Foreign(keep):
                    if (item := self._kept(keep)) and not _is_content(item):
                        self.written.append(dict(item))
                    else:
                        self._dropped.append("foreign block")
                case _:
                    assert_never(part)

    def _item_of(self, text: Text) -> Mapping[str, Any]:
        return dict_of(self._kept(text.keep).get("item"))

    def _say(self, texts: Sequence[Text], kept: Mapping[str, Json], orphans: bool) -> None:
        """Texts of one item; what came from elsewhere in the short spelling, which every host takes."""
        item = dict(self._item_of(texts[0]))
        if not item and not any(self._kept(text.keep) or text.citations for text in texts):
            said = "".join(text.text for text in texts)
            if said:
                self.written.append({**kept, "type": "message", "role": "assistant", "content": said})
            return
        if orphans:
            item.pop("id", None)
        content: list[Json] = [self._said(text) for text in texts]
        self.written.append({**kept, **item, "type": "message", "role": "assistant", "content": content})

    def _said(self, text: Text) -> dict[str, Json]:
        rest = {name: value for name, value in self._kept(text.keep).items() if name != "item"}
        kind = text_of(rest.get("type")) or "output_text"
        wire: dict[str, Json] = {**rest, "type": kind, TEXTS.get(kind, "text"): text.text}
        if kind == "output_text":
            cited = (self._kept(citation.keep) for citation in text.citations)
            wire["annotations"] = [dict(annotation) for annotation in cited if annotation]
        return wire

    def _call(self, call: ToolCall, orphans: bool) -> None:
        rest = dict(self._kept(call.keep))
        if call.executor == "provider":
            if rest:
                self.written.append(rest)
            else:
                self._dropped.append("hosted tool call")
            return
        type = text_of(rest.get("type"))
        type = type if type in CALLS else "function_call"
        if orphans:
            rest.pop("id", None)
        self._calls[call.id] = type
        self.written.append({**rest, "type": type, "call_id": call.id, "name": call.name, CALLS[type]: call.arguments})

    def _made(self, media: Media) -> None:
        rest = self._kept(media.keep)
        if rest.get("type") == "image_generation_call":
            self.written.append({**rest, "result": media.base64})
        else:
            self._dropped.append(f"{media.kind} in an assistant message")

    def _stays(self, item: Mapping[str, Any]) -> bool:
        """A thought that nobody stored and that is not in the item itself: there is nothing to give back."""
        return self._stateless and bool(item) and not (item.get("encrypted_content") or item.get("content"))

    def _kept(self, keep: Keep) -> Mapping[str, Json]:
        return opaque_for(keep, NAME, self._engine.issuer)

    def _unsupported(self, message: str) -> Unsupported:
        return Unsupported(message, param="messages", engine=self._engine.name)


def _is_content(block: Mapping[str, Any]) -> bool:
    """A part of a message, not an item of its own."""
    return text_of(block.get("type")).startswith(("input_", "output_"))
