"""Compaction of a conversation, for engines without an API for it: a summary by the same model, in one item.

Wire: https://platform.openai.com/docs/api-reference/responses/compact: the output has all messages of the user, and one
item in the place of everything else.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from secrets import token_hex
from typing import Any, Final

from llm.chat.events import failed_finish_error
from llm.chat.messages import Message, Text
from llm.chat.pipeline import CollectingSink
from llm.chat.provider_metadata import ProviderMetadata, decode_metadata, encode_metadata
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.engines.engine import Target
from llm.errors import EngineFailed, InvalidRequest
from llm.gateway.responses.items import write_listed_item
from llm.upstream.call_record import CallRecord
from llm.upstream.engine_client import EngineClient
from llm.upstream.translate import EngineRound
from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import as_dicts, as_list, as_text

_ISSUER: Final = "llm-server"  # in the sealed content of our items
COMPACTIONS: Final = ("compaction", "compaction_summary")  # types of items
_PROMPT: Final = (
    "The user message is the record of a conversation between a user and an assistant that works with tools. Write a "
    "summary from which the assistant can go on with its work without the record. Keep what the user wants, decisions "
    "and their reasons, facts, names, paths, values and code that later steps need, what was done and what it gave, "
    "and what is left to do. Do not answer the conversation and do not continue it. Write the summary only."
)
_INTRODUCTION: Final = "Summary of the conversation so far, in the place of what is not repeated here:"


async def summarize(
    items: Sequence[Mapping[str, Any]], instructions: str, target: Target, client: EngineClient, record: CallRecord
) -> tuple[ChatRequest, Reply]:
    """Requests a summary of a conversation. Returns the request and the answer; names what it leaves out in ``record``.

    Raises ``LLMError``.
    """
    dropped: dict[str, None] = {}
    text = "\n\n".join(_write_item(item, dropped) for item in items)
    if not text:
        raise InvalidRequest("input: has nothing to compact", param="input")
    if instructions:
        text = f"[instructions of the assistant]\n{instructions}\n\n{text}"
    messages = (Message("system", (Text(_PROMPT),)), Message("user", (Text(text),)))
    request, sink = ChatRequest(model=target.model, messages=messages), CollectingSink()
    sink.feed([await EngineRound(request, target, client, record, sink).run()])
    reply = sink.build_reply()
    if reply.finish.reason == "error":
        raise failed_finish_error(reply.finish)
    if not reply.text.strip():
        raise EngineFailed("The engine gave no summary of the conversation.", engine=target.engine.name)
    record.dropped = tuple(dict.fromkeys((*record.dropped, *dropped)))
    return request, reply


def write_compaction(items: Sequence[Mapping[str, Any]], summary: str) -> list[Json]:
    """Returns the output of a compaction: the messages of the user, and the item with the summary."""
    sealed = encode_metadata((ProviderMetadata(_ISSUER, None, {"summary": summary}),))
    item: dict[str, Json] = {
        "id": f"cmp_{token_hex(12)}",
        "type": "compaction",
        "encrypted_content": sealed,
        "created_by": _ISSUER,
    }
    return [*(write_listed_item(item) for item in items if item.get("role") == "user"), item]


def replace_compactions(items: Sequence[dict[str, Any]]) -> Sequence[dict[str, Any]]:
    """Returns the items with the summary in the place of our own compaction item, and of all that it stands for.

    The messages before it stay, but for those of the assistant. The last of several such items counts.
    """
    for place in range(len(items) - 1, -1, -1):
        summary = _read_summary(items[place])
        if summary is not None:
            text = f"{_INTRODUCTION}\n\n{summary}"
            message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}
            before = [item for item in items[:place] if item.get("role") not in (None, "assistant")]
            return [*before, message, *items[place + 1 :]]
    return items


def _read_summary(item: Mapping[str, Any]) -> str | None:
    if item.get("type") not in COMPACTIONS:
        return None
    for sealed in decode_metadata(as_text(item.get("encrypted_content"))) or ():
        if sealed.dialect == _ISSUER:
            return as_text(sealed.data.get("summary"))
    return None


def _write_item(item: Mapping[str, Any], dropped: dict[str, None]) -> str:
    """Writes an item as a part of the record; notes in ``dropped`` what has no text."""
    kind = as_text(item.get("type")) or "message"
    summary = _read_summary(item)
    if summary is not None:
        return f"[summary of what was before]\n{summary}"
    if kind == "message":
        return f"[{as_text(item.get('role'))}]\n{''.join(_read_texts(item.get('content'), dropped))}"
    if kind == "reasoning":
        return f"[reasoning]\n{''.join(as_text(part.get('text')) for part in as_dicts(item.get('summary')))}"
    if kind in ("function_call_output", "custom_tool_call_output"):
        return (
            f"[result of the call {as_text(item.get('call_id'))}]\n{''.join(_read_texts(item.get('output'), dropped))}"
        )
    if kind in COMPACTIONS:  # only its provider can read it
        dropped[kind] = None
        return ""
    fields = {name: value for name, value in item.items() if name not in ("type", "status", "encrypted_content")}
    return f"[{kind}]\n{dumps(fields)}"


def _read_texts(content: object, dropped: dict[str, None]) -> Iterator[str]:
    if isinstance(content, str):
        yield content
    for part in as_list(content):
        if isinstance(part, dict):
            text = part.get("text", part.get("refusal"))
            if isinstance(text, str):
                yield text
            else:
                name = as_text(part.get("type")).removeprefix("input_")
                dropped[name] = None
                yield f"[{name}]"
