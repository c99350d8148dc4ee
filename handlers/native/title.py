"""``POST /llm/title``."""

from __future__ import annotations

from typing import Any, Final

from handlers.chat import ChatHandler
from llm.chat.messages import Message, Text
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.engines.engine import Target
from llm.wire.json_codec import Json

_TITLE_SYSTEM: Final = "Find the best title of a few words for the conversation that follows, in its own language."
_TITLE_PROMPT: Final = (
    "Give the conversation above a title of a few words. Answer with the title and nothing else, without quotes."
)
_TITLE_LENGTH: Final = 200  # characters


class TitleHandler(ChatHandler):
    """``POST /llm/title``: a few words for a conversation, by one question without tools."""

    def target(self, body: dict[str, Any]) -> Target:
        return self.context.catalog.target(body["engine"], body["model"], self.caller)

    async def read(self, body: dict[str, Any]) -> ChatRequest:
        said = [(wire["role"], wire.get("content") or "") for wire in body["messages"] if wire["role"] != "system"]
        talk = tuple(Message(role, (Text(content),)) for role, content in said if content)
        messages = (Message("system", (Text(_TITLE_SYSTEM),)), *talk, Message("user", (Text(_TITLE_PROMPT),)))
        return ChatRequest(model=body["model"], messages=messages)

    def whole(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        return {"title": _title_of(reply.text)}


def _title_of(text: str) -> str:
    """The first line that says something, without the quotes and marks that models put around a title."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    bare = line.lstrip("#").removeprefix("Title:").strip().strip("\"'“”«»*` ").strip()
    return bare[:_TITLE_LENGTH]
