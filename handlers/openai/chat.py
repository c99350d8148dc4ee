"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time
from collections.abc import Sequence

from handlers.chat import ChatHandler
from llm.chat.reply import Reply
from llm.chat.request import ChatRequest
from llm.dialects import openai_chat
from llm.dialects.base import Writer
from llm.wire.json_codec import Json


class CompletionsHandler(ChatHandler):
    """Answers a chat with reasoning in the fields that the client reads."""

    def make_writer(self, request: ChatRequest) -> Writer:
        """Returns the writer of a streamed answer."""
        return openai_chat.create_writer(request, int(time.time()), self._reasoning_fields())

    def make_reply_body(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        """Returns the body of an answer that is not streamed."""
        return openai_chat.write_reply(reply, request, int(time.time()), self._reasoning_fields())

    def _reasoning_fields(self) -> Sequence[str]:
        configured = self.context.config.chat_reasoning_fields
        return openai_chat.choose_reasoning_fields(configured, self.request.headers.get("User-Agent", ""))
