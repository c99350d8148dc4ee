"""What both sides share: names, words for the end, usage."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from llm.chat.events import FinishReason
from llm.chat.messages import Usage
from llm.wire.json_codec import Json
from llm.wire.json_lenient import count_of, dict_of

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
