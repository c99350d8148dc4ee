"""The open item of a streamed response, and the citations in it."""

from __future__ import annotations

from collections.abc import Mapping
from io import StringIO
from secrets import token_hex
from typing import Final

from llm.chat.messages import Citation
from llm.chat.provider_metadata import metadata_for_client
from llm.dialects.openai_responses.shared import NAME
from llm.wire.json_codec import Json


class OpenItem:
    """An item of a response that is not complete yet: a message, reasoning or a call."""

    __slots__ = (
        "annotations", "buffer", "delta_prefix", "extra_fields", "id", "index_field", "is_refusal", "output_index",
        "type",
    )  # fmt: skip

    _PREFIXES: Final[Mapping[str, str]] = {
        "message": "msg",
        "reasoning": "rs",
        "function_call": "fc",
        "custom_tool_call": "ctc",
    }

    def __init__(self, type: str, output_index: int, extra_fields: Mapping[str, Json], is_refusal: bool) -> None:
        self.type = type
        self.is_refusal = is_refusal
        self.id = f"{self._PREFIXES[type]}_{token_hex(12)}"
        self.output_index = output_index
        self.extra_fields: dict[str, Json] = dict(extra_fields)
        self.index_field = ""  # the name of its part index field; "" before its part is open
        self.buffer = StringIO()
        self.annotations: list[Json] = []
        self.delta_prefix = b""  # first bytes of all its deltas

    def write_part(self) -> dict[str, Json]:
        """Writes the only part of a message or of reasoning, as of now."""
        text = self.buffer.getvalue()
        if self.type == "reasoning":
            return {"type": "summary_text", "text": text}
        if self.is_refusal:
            return {"type": "refusal", "refusal": text}
        return {"type": "output_text", "text": text, "annotations": [*self.annotations], "logprobs": []}

    def write(self, status: str) -> dict[str, Json]:
        """Writes the item with a status."""
        wire: dict[str, Json] = {"id": self.id, "type": self.type}
        parts: list[Json] = [self.write_part()] if self.index_field else []
        match self.type:
            case "message":
                wire |= {"status": status, "role": "assistant", "content": parts}
            case "reasoning":
                wire |= {"status": status, "summary": parts}
            case "custom_tool_call":
                wire |= {"status": status, "input": self.buffer.getvalue() if status == "completed" else ""}
            case _:
                done = self.buffer.getvalue() or "{}"
                wire |= {"status": status, "arguments": done if status == "completed" else ""}
        return {**wire, **self.extra_fields}


def write_citation(citation: Citation) -> Json:
    """Writes a citation. Offsets are written only if the engine sent them, since clients rely on them."""
    if fields := metadata_for_client(citation.metadata, NAME):
        return dict(fields)
    wire: dict[str, Json] = {"type": "url_citation", "url": citation.url or "", "title": citation.title or ""}
    if citation.start is not None and citation.end is not None:
        wire |= {"start_index": citation.start, "end_index": citation.end}
    return wire
