"""``POST /v1/chat/completions``."""

from __future__ import annotations

import time

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
        fields = openai_chat.choose_reasoning_fields(self.context.config.chat_reasoning_fields, self.request.headers)
        return openai_chat.create_writer(request, int(time.time()), fields)

    def make_reply_body(self, reply: Reply, request: ChatRequest) -> dict[str, Json]:
        """Returns the body of an answer that is not streamed."""
        fields = openai_chat.choose_reasoning_fields(self.context.config.chat_reasoning_fields, self.request.headers)
        return openai_chat.write_reply(reply, request, int(time.time()), fields)
