"""``GET /health``: the state of the server; ``/api/hello``, which Claude Code asks before its first request."""

from __future__ import annotations

from typing import Any

from handlers.base import BaseHandler
from llm import log
from llm.wire.json_codec import Json


class HealthHandler(BaseHandler):
    """Answers 200 while the server serves and 503 while it drains; calls no provider (O6).

    ``lost``: numbers of log lines, thread answers and kept responses that this process could not write, if any (O2).
    """

    access = "open"
    serves_while_draining = True

    async def handle(self, body: dict[str, Any]) -> None:
        draining = self.context.active.draining
        state: dict[str, Json] = {"status": "draining" if draining else "ok"}
        lost: dict[str, Json] = {"log_lines": log.count_lost_lines(), "answers": self.context.threads.failed_appends}
        if self.context.responses.lost:
            lost["responses"] = self.context.responses.lost
        if any(lost.values()):
            state["lost"] = lost
        self.write_json(state, 503 if draining else 200)


class HelloHandler(BaseHandler):
    """``GET /api/hello``: answers as Anthropic's API does; Claude Code asks HEAD here before its first request."""

    access = "open"

    async def handle(self, body: dict[str, Any]) -> None:
        self.write_json({"message": "hello"})
