"""What both sides share: names, words for the end, reasoning details, usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.events import FinishReason
from llm.chat.messages import Usage
from llm.wire.json_codec import Json
from llm.wire.json_lenient import count_of, dict_of, text_of

NAME: Final = "openai-chat"
REASONING_FIELD: Final = "reasoning_content"  # where our own clients find what was thought (T3)
SEALED: Final = "reasoning.encrypted"  # kind of the ``reasoning_details`` that say nothing to a client
THOUGHT: Final = "thought"  # in a seal of ours, the text of what was thought
READ_REASONING: Final = ("reasoning_content", "reasoning")  # where engines and clients put it

AUDIO: Final[Mapping[str, str]] = {  # ``input_audio.format`` to what it is
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "m4a": "audio/mp4",
}

FINISH: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",  # before there were tools
    "content_filter": "filtered",
    "error": "error",  # OpenRouter, Mistral
    "insufficient_system_resource": "error",  # DeepSeek
}

# Where the details of a thought that come piece by piece have their text.
_DETAIL_TEXTS: Final[Mapping[str, str]] = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReasoningDetails:
    """Reasoning details on their way. They go back as one list, in which the pieces of one text are one (OpenRouter).

    What is encrypted comes whole: two of them are never one, even under one index.
    """

    __slots__ = ("_details", "_pieces")

    def __init__(self) -> None:
        self._details: list[dict[str, Json]] = []
        self._pieces: list[str] = []  # of the text of the last one

    def __bool__(self) -> bool:
        return bool(self._details)

    def add(self, detail: Mapping[str, Any], whole: bool) -> None:
        name = _DETAIL_TEXTS.get(text_of(detail.get("type")))
        last = self._details[-1] if self._details else None
        if whole or name is None or last is None or not self._one(last, detail):
            self._join()
            self._details.append(dict(detail))
        else:
            last |= {field: value for field, value in detail.items() if value is not None and field != name}
        if name is not None:
            self._pieces.append(text_of(detail.get(name)))

    def take(self) -> list[Json]:
        self._join()
        details, self._details = self._details, []
        return [*details]

    @staticmethod
    def _one(last: Mapping[str, Any], detail: Mapping[str, Any]) -> bool:
        alike = all(last.get(name) == detail.get(name) for name in ("type", "index"))
        return alike and (last.get("id") is None or detail.get("id") in (None, last["id"]))

    def _join(self) -> None:
        if len(self._pieces) > 1:
            last = self._details[-1]
            last[_DETAIL_TEXTS[str(last["type"])]] = "".join(self._pieces)
        self._pieces = []


def read_usage(wire: Mapping[str, Any], *, reasoning_inside: bool = True) -> Usage:
    """``prompt_tokens`` holds the cached ones; ``completion_tokens`` holds reasoning, unless the total says not."""
    prompt, completion = count_of(wire.get("prompt_tokens")), count_of(wire.get("completion_tokens"))
    before, after = dict_of(wire.get("prompt_tokens_details")), dict_of(wire.get("completion_tokens_details"))
    read = count_of(before.get("cached_tokens")) or count_of(wire.get("prompt_cache_hit_tokens")) or 0
    written = count_of(before.get("cache_write_tokens")) or 0
    if prompt is not None:  # some hosts tell more cached tokens than there were
        read = min(read, prompt)
        written = min(written, prompt - read)
    reasoning = count_of(after.get("reasoning_tokens")) or 0
    if prompt is not None and completion is not None and reasoning:
        reasoning_inside = reasoning_inside and wire.get("total_tokens") != prompt + completion + reasoning
    if reasoning_inside and completion is not None:
        reasoning = min(reasoning, completion)
    other = {
        name: count
        for name, value in (
            ("audio_input", before.get("audio_tokens")),
            ("audio_output", after.get("audio_tokens")),
            ("accepted_prediction", after.get("accepted_prediction_tokens")),
            ("rejected_prediction", after.get("rejected_prediction_tokens")),
        )
        if (count := count_of(value))
    }
    return Usage(
        fresh=None if prompt is None else prompt - read - written,
        cache_read=read,
        cache_write=written,
        text=None if completion is None else completion - (reasoning if reasoning_inside else 0),
        reasoning=reasoning,
        other=other,
    )


def write_usage(usage: Usage) -> dict[str, Json]:
    # Where a whole was not told it is at least what its parts are.
    prompt = (usage.fresh or 0) + usage.cache_read + usage.cache_write
    completion = (usage.text or 0) + usage.reasoning
    before: dict[str, Json] = {"cached_tokens": usage.cache_read}
    after: dict[str, Json] = {"reasoning_tokens": usage.reasoning}
    if usage.cache_write:
        before["cache_write_tokens"] = usage.cache_write
    if audio := usage.other.get("audio_input"):
        before["audio_tokens"] = audio
    if audio := usage.other.get("audio_output"):
        after["audio_tokens"] = audio
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": before,
        "completion_tokens_details": after,
    }
