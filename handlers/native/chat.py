"""``POST /llm/chat``."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from handlers.chat import ChatHandler, ClientAnswer
from llm.chat.request import ChatRequest
from llm.dialects import native
from llm.dialects.base import Writer
from llm.gateway.chat import ChatCall


class NativeChatHandler(ChatHandler):
    """Answers a native chat, with the tools that this server runs and the threads that it stores."""

    def answer(self, call: ChatCall, answer: ClientAnswer) -> Coroutine[Any, Any, None]:
        return self.context.chat.answer_native(call, self.caller, answer)

    def make_writer(self, request: ChatRequest) -> Writer:
        """Returns the native writer in the framing that the header ``Accept`` names."""
        return native.create_writer(request, 0, native.choose_framing(self.request.headers.get("Accept", "")))
