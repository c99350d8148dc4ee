"""What a WebSocket connection keeps of its conversations, for ``previous_response_id`` without any store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from llm.errors import InvalidRequest

_MAX_LANES: Final = 16  # conversations of one connection
_CALL_END: Final = "_call"
_RESULT_END: Final = "_call_output"


class Sockets:
    """What all WebSocket connections have together: their number, and the bytes that they keep."""

    def __init__(self, limit: int) -> None:
        """``limit``: bytes of what they may keep."""
        self._limit = limit
        self.used = 0
        self.open = 0

    def take(self, size: int) -> bool:
        """Reserves ``size`` bytes; a negative size gives them back. Returns False if there is no room."""
        if size > 0 and self.used + size > self._limit:
            return False
        self.used += size
        return True


@dataclass(frozen=True, slots=True)
class _Kept:
    id: str  # of the response
    items: bytes  # JSON of the whole conversation, its answer included


class ConnectionMemory:
    """The last response of each conversation (lane) of one connection; a newer one replaces it.

    Without room for it nothing is kept: the client then sends the conversation again.
    """

    def __init__(self, sockets: Sockets) -> None:
        self._sockets = sockets
        self._kept: dict[str, _Kept] = {}  # by lane, the oldest first

    def find(self, id: str) -> bytes | None:
        """Returns the items of the conversation up to this response as JSON; None if it is not kept."""
        return next((kept.items for kept in self._kept.values() if kept.id == id), None)

    def keep(self, lane: str, id: str, items: bytes) -> None:
        """Keeps a conversation, as JSON, in place of the one that the lane had."""
        self._drop(lane)
        while len(self._kept) >= _MAX_LANES:
            self._drop(next(iter(self._kept)))
        if id and self._sockets.take(len(items)):
            self._kept[lane] = _Kept(id, items)

    def evict(self, id: str) -> None:
        """Forgets a response that could not be continued."""
        for lane in [lane for lane, kept in self._kept.items() if kept.id == id]:
            self._drop(lane)

    def close(self) -> None:
        """Forgets everything."""
        for lane in [*self._kept]:
            self._drop(lane)

    def _drop(self, lane: str) -> None:
        if (kept := self._kept.pop(lane, None)) is not None:
            self._sockets.take(-len(kept.items))


def join_json(first: bytes, second: bytes) -> bytes:
    """Joins two JSON arrays."""
    separator = b"," if len(first) > 2 and len(second) > 2 else b""
    return first[:-1] + separator + second[1:]


def join_conversation(history: Sequence[Any], new: Sequence[Any], *, stored_reasoning: bool) -> list[Any]:
    """Returns the items of a kept conversation with the new ones.

    ``stored_reasoning``: reasoning items without their encrypted content stay. An engine that keeps no answers refuses
    them, since it does not know their ids. Raises ``InvalidRequest`` for the result of a call that was not made.
    """
    items: list[Any] = [item for item in history if stored_reasoning or _is_complete(item)]
    items += new
    calls = {item.get("call_id") for item in items if str(item.get("type")).endswith(_CALL_END)}
    for item in new:
        if str(item.get("type")).endswith(_RESULT_END) and (id := item.get("call_id")) and id not in calls:
            message = f"No tool call found for function call output with call_id {str(id)[:100]}."
            raise InvalidRequest(message, param="input")
    return items


def _is_complete(item: Mapping[str, Any]) -> bool:
    return item.get("type") != "reasoning" or bool(item.get("encrypted_content"))
