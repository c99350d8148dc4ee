"""Puts what is kept in the place of ``previous_response_id`` and of item references in a request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm.chat.provider_metadata import decode_metadata
from llm.dialects.losses import REASONING
from llm.engines.api_choice import RESPONSES
from llm.engines.engine import Target
from llm.errors import InvalidRequest, NotFound, PreviousResponseNotFound
from llm.gateway.responses.compaction import COMPACTIONS, replace_compactions
from llm.gateway.responses.items import list_items, take_given_ids
from llm.storage.responses import ResponseStore, StoredItem, StoredResponse
from llm.storage.threads import Owner

_REFERENCE: Final = "item_reference"
RUNNING: Final = ("queued", "in_progress")  # states of a response that has not ended


@dataclass(frozen=True, slots=True)
class ResolvedInput:
    """The input of a request, for the engine and for the store."""

    body: dict[str, Any]  # the request for the engine
    items: list[dict[str, Any]]  # the whole conversation
    previous_id: str | None  # of the response before, as the client named it
    dropped: tuple[str, ...] = ()  # what of the conversation does not go to the engine


async def resolve_references(
    body: Mapping[str, Any], owner: Owner, target: Target, store: ResponseStore | None, *, keeps: bool
) -> ResolvedInput:
    """Returns the request without references to what its engine does not keep. ``store``: None keeps nothing.

    ``keeps``: the engine keeps its own responses and gets the client's own request. Then references to them stay, and
    so do those that this server does not know if the key is the caller's own: with the server's key they might be
    another caller's. Raises ``PreviousResponseNotFound``, and ``NotFound`` for an item.
    """
    sent, items = dict(body), list_items(body.get("input"))
    may_be_unknown = keeps and target.is_callers_key
    history: list[dict[str, Any]] = []
    dropped: list[str] = []
    id, stays, same = body.get("previous_response_id"), False, False
    if id is not None:
        if not isinstance(id, str):
            raise InvalidRequest("previous_response_id: is not text", param="previous_response_id")
        previous = await store.get(id, owner) if store is not None else None
        if previous is None and not may_be_unknown:
            raise make_previous_error(id)
        same = previous is not None and previous.engine == target.engine.name
        stays = previous is None or (keeps and previous.kept_by_engine and same)
        history = _list_conversation(id, previous)
        if not stays:
            _check_complete(id, previous, history)
            del sent["previous_response_id"]
    found = await _find_items(items, owner, store)
    for wanted in _list_references(items):
        if wanted not in found and not may_be_unknown:
            raise make_item_error(wanted)
    new: list[dict[str, Any]] = []
    for item in items:
        stored = found.get(_read_reference(item) or "")
        if stored is None or _stays(stored, target, keeps):
            new.append(item)
        else:
            new += _fit_items([stored.value], target, stored.engine == target.engine.name, dropped)
    whole = new if stays else [*_fit_items(history, target, same, dropped), *new]
    compacted = replace_compactions(whole)
    if found or (history and not stays) or compacted is not whole:
        sent["input"] = [take_given_ids(item) for item in compacted]
    known = [_get_item(item, found) for item in items]
    return ResolvedInput(sent, [*history, *known], id, tuple(dict.fromkeys(dropped)))


def _fit_items(
    items: Sequence[dict[str, Any]], target: Target, same_engine: bool, dropped: list[str]
) -> Sequence[dict[str, Any]]:
    """Returns kept items for an engine; appends to ``dropped`` what is left out.

    A Responses API that did not make a reasoning item refuses it, and what this server has sealed in an item of another
    engine. Engines of other wires get all items, translated.
    """
    engine = target.engine
    if engine.always_translate or (engine.dialect != RESPONSES and engine.responses is None):
        return items
    fitting = []
    for item in items:
        content = item.get("encrypted_content")
        sealed = isinstance(content, str) and decode_metadata(content) is not None
        if item.get("type") == "reasoning" and (sealed or not content or not same_engine):
            dropped.append(REASONING)
        elif sealed and item.get("type") not in COMPACTIONS:
            fitting.append({name: value for name, value in item.items() if name != "encrypted_content"})
        else:
            fitting.append(item)
    return fitting


def make_previous_error(id: str) -> PreviousResponseNotFound:
    """Returns the error for a response that is unknown, another caller's or gone, in OpenAI's words."""
    message = f"Previous response with id '{id[:100]}' not found."
    return PreviousResponseNotFound(message, param="previous_response_id")


def make_response_error(id: str) -> NotFound:
    """Returns the error for the path of a response that is unknown, another caller's or gone, in OpenAI's words."""
    return NotFound(f"Response with id '{id[:100]}' not found.")


def make_item_error(id: str) -> NotFound:
    """Returns the error for an item that is unknown, another caller's or gone, in OpenAI's words."""
    return NotFound(
        f"Item with id '{id[:100]}' not found. Items are not persisted when `store` is set to false. Try again with "
        "`store` set to true, or remove this item from your input.",
        param="input",
    )


def _list_conversation(id: str, response: StoredResponse | None) -> list[dict[str, Any]]:
    """Returns the items of a response and of all before it. A reference stands for what only its engine knows."""
    if response is None:
        return [{"type": _REFERENCE, "id": id}]
    output = response.value.get("output") if response.status not in RUNNING else [{"type": _REFERENCE, "id": id}]
    return [*response.input, *(item for item in output or () if isinstance(item, dict))]


def _check_complete(id: str, response: StoredResponse | None, history: Sequence[Mapping[str, Any]]) -> None:
    """Raises an error if something of the conversation is not known here."""
    if response is not None and response.status in RUNNING:
        message = f"Previous response with id '{id[:100]}' has not ended yet, as far as this server knows."
        raise InvalidRequest(message, param="previous_response_id")
    if _list_references(history):
        raise make_previous_error(id)


def _read_reference(item: Mapping[str, Any]) -> str | None:
    """Returns the id of an item reference, which clients may write without its type; None for any other item."""
    id = item.get("id")
    if not isinstance(id, str):
        return None
    kind = item.get("type")
    return id if kind == _REFERENCE or (kind is None and item.keys() <= {"id", "type"}) else None


def _list_references(items: Sequence[Mapping[str, Any]]) -> list[str]:
    return [id for item in items if (id := _read_reference(item)) is not None]


async def _find_items(
    items: Sequence[Mapping[str, Any]], owner: Owner, store: ResponseStore | None
) -> dict[str, StoredItem]:
    references = _list_references(items)
    return await store.find_items(references, owner) if references and store is not None else {}


def _get_item(item: dict[str, Any], found: Mapping[str, StoredItem]) -> dict[str, Any]:
    stored = found.get(_read_reference(item) or "")
    return item if stored is None else stored.value


def _stays(item: StoredItem, target: Target, keeps: bool) -> bool:
    """Whether the engine itself has the item."""
    return keeps and item.kept_by_engine and item.engine == target.engine.name
