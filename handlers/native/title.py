"""``POST /llm/title``."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from handlers.chat import ChatHandler, ClientAnswer
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.gateway.chat import ChatCall
from llm.gateway.prompts import clean_title
from llm.wire.json_codec import Json


class TitleHandler(ChatHandler):
    """Names a conversation in a few words, by one model request without tools."""

    def answer(self, call: ChatCall, answer: ClientAnswer) -> Coroutine[Any, Any, None]:
        return self.context.chat.answer_title(call, self.caller, answer)

    def make_reply_body(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        """Returns ``{"title": …}``."""
        return {"title": clean_title(reply.text)}
