"""Whether the server serves."""

from __future__ import annotations

from typing import Any

from handlers.base import Base


class HealthHandler(Base):
    """``GET /health``: 200 when serving, 503 while draining; never calls a provider (O6)."""

    access = "open"
    while_draining = True

    async def handle(self, body: dict[str, Any]) -> None:
        draining = self.context.running.draining
        self.write_json({"status": "draining" if draining else "ok"}, 503 if draining else 200)
