"""Whether the server serves."""

from __future__ import annotations

from typing import Any

from handlers.base import Base
from llm import log
from llm.wire.json_codec import Json


class HealthHandler(Base):
    """``GET /health``: 200 when serving, 503 while draining; never calls a provider (O6).

    ``lost`` says what this process could not write, if anything: lines of the log, answers in threads (O2).
    """

    access = "open"
    while_draining = True

    async def handle(self, body: dict[str, Any]) -> None:
        draining = self.context.running.draining
        told: dict[str, Json] = {"status": "draining" if draining else "ok"}
        lost: dict[str, Json] = {"log_lines": log.lost_lines(), "answers": self.context.threads.lost}
        if any(lost.values()):
            told["lost"] = lost
        self.write_json(told, 503 if draining else 200)
