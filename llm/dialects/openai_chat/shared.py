"""Names, finish reasons, reasoning details and usage, shared by both sides of the dialect."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from llm.chat.events import FinishReason
from llm.chat.messages import Citation, Usage
from llm.chat.provider_metadata import Metadata, ProviderMetadata
from llm.wire.json_codec import Json
from llm.wire.json_lenient import as_count, as_dict, as_dicts, as_list, as_text

NAME: Final = "openai-chat"
# In each chunk that this server makes: Cerebras' client takes a chunk without the field for a whole completion.
SYSTEM_FINGERPRINT: Final = "fp_llm_server"
ENCRYPTED_DETAIL: Final = "reasoning.encrypted"  # type of the ``reasoning_details`` that clients cannot read
SEALED_TEXT: Final = "thought"  # in provider metadata sealed by this server: the reasoning text
SEALED_PLACE: Final = "place"  # the same: ``[characters of text, calls]`` before the reasoning in its answer
REASONING_FIELDS: Final = ("reasoning_content", "reasoning")  # fields with reasoning text, in order of preference
CONTENT_PARTS: Final = "content"  # as a reasoning field: thinking parts in the content (Mistral)
THINK_TAGS: Final = "think_tags"  # the same: in the text, in <think> tags
CAME_IN: Final = "reasoning_field"  # in provider metadata of reasoning: the field that its engine sent it in

AUDIO_MIME_TYPES: Final[Mapping[str, str]] = {  # ``input_audio.format`` to MIME type
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
    "aiff": "audio/aiff",
    "m4a": "audio/mp4",
}

# ``finish_reason`` of engines to the neutral finish reason.
FINISH_REASONS: Final[Mapping[str, FinishReason]] = {
    "stop": "stop",
    "eos": "stop",  # Together
    "end_turn": "stop",
    "stop_sequence": "stop",
    "length": "length",
    "max_tokens": "length",
    "model_length": "length",  # Mistral
    "tool_calls": "tool_calls",
    "tool_call": "tool_calls",
    "function_call": "tool_calls",  # the older API, ``functions``
    "content_filter": "filtered",
    "tool_use": "tool_calls",
    "error": "error",  # OpenRouter, Mistral
    "insufficient_system_resource": "error",  # DeepSeek
    "complete": "stop",  # Cohere
    "eos_token": "stop",  # text-generation-inference
}
# Parts of other hosts' own words, of which the first one found counts: Zhipu's ``sensitive`` and ``network_error``,
# vLLM's ``abort``, Bedrock's ``content_filtered``, ``guardrail_intervened``, ``malformed_tool_use``.
_FINISH_PARTS: Final[tuple[tuple[FinishReason, tuple[str, ...]], ...]] = (
    ("filtered", ("filter", "guardrail", "safety", "sensitive", "moderat", "policy", "prohibited", "refus", "block")),
    ("error", ("error", "abort", "malformed", "cancel", "timeout", "timed_out", "fail", "interrupt")),
    ("length", ("length", "max_tokens", "max_new_tokens", "context_window", "token_limit")),
)


def read_finish_reason(word: str) -> FinishReason:
    """Returns the neutral finish reason for an engine's own word; "other" for one that says nothing."""
    low = word.lower()
    if (known := FINISH_REASONS.get(low)) is not None:
        return known
    return next((reason for reason, parts in _FINISH_PARTS if any(part in low for part in parts)), "other")


# The neutral finish reason to that of clients; ``error`` has none.
CLIENT_FINISH_REASONS: Final[Mapping[FinishReason, str]] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "filtered": "content_filter",
    "paused": "length",  # this wire has no reason for it, and the answer is not complete
    "other": "stop",
}

# Types of reasoning details that are streamed, and the field with their text.
_DETAIL_TEXTS: Final[Mapping[str, str]] = {"reasoning.text": "text", "reasoning.summary": "summary"}


class ReasoningDetails:
    """Collects what has to go back with a reasoning part: its details, or the field in which its text came.

    The deltas of one text become one detail, as OpenRouter wants them back. Encrypted details are not streamed: two of
    them are never merged, even with the same index.
    """

    __slots__ = ("_details", "_fragments", "field")

    def __init__(self) -> None:
        self.field = ""  # in which the text of the open part came; one of ``REASONING_FIELDS`` or ``CONTENT_PARTS``
        self._details: list[dict[str, Json]] = []
        self._fragments: list[str] = []  # text of the last detail

    def __bool__(self) -> bool:
        return bool(self._details)

    def note_content_part(self) -> None:
        """Notes that the text of the open part came as a part of the content."""
        self.field = CONTENT_PARTS

    def add(self, detail: Mapping[str, Any], whole: bool) -> None:
        """Adds a detail. ``whole``: it is complete and never merged with the last one."""
        name = _DETAIL_TEXTS.get(as_text(detail.get("type")))
        last = self._details[-1] if self._details else None
        if whole or name is None or last is None or not self._continues(last, detail):
            self._join_fragments()
            self._details.append(dict(detail))
        else:
            last |= {field: value for field, value in detail.items() if value is not None and field != name}
        if name is not None:
            self._fragments.append(as_text(detail.get(name)))

    def take(self, issuer: str) -> Metadata:
        """Returns what was collected for the open part as its metadata, and clears it."""
        self._join_fragments()
        details, field = self._details, self.field
        self._details, self.field = [], ""
        if details:
            return (ProviderMetadata(NAME, issuer, {"reasoning_details": [*details]}),)
        return (ProviderMetadata(NAME, issuer, {CAME_IN: field}),) if field else ()

    @staticmethod
    def _continues(last: Mapping[str, Any], detail: Mapping[str, Any]) -> bool:
        same = all(last.get(name) == detail.get(name) for name in ("type", "index"))
        return same and (last.get("id") is None or detail.get("id") in (None, last["id"]))

    def _join_fragments(self) -> None:
        if len(self._fragments) > 1:
            last = self._details[-1]
            last[_DETAIL_TEXTS[str(last["type"])]] = "".join(self._fragments)
        self._fragments = []


def read_citation(wire: Mapping[str, Any], part_start: int, issuer: str | None) -> Citation | None:
    """Reads an annotation; None if it is no citation. ``part_start``: where its part starts in the whole text.

    Offsets of the wire count in the whole text, neutral ones in the part.
    """
    kind = as_text(wire.get("type"))
    cited = as_dict(wire.get(kind or "url_citation"))
    if kind not in ("", "url_citation", "document_citation", "function_citation") or not cited:
        return None
    start, end = as_count(cited.get("start_index")), as_count(cited.get("end_index"))
    if start is None or end is None or not part_start <= start <= end:
        start = end = None
    else:
        start, end = start - part_start, end - part_start
    titles = (as_text(cited.get(name)) for name in ("title", "document_id", "tool_call_id"))  # Groq has the last two
    return Citation(
        url=as_text(cited.get("url")) or None,
        title=next((title for title in titles if title), None),
        quote=as_text(cited.get("content")) or None,
        start=start,
        end=end,
        metadata=(ProviderMetadata(NAME, issuer, dict(wire)),),
    )


def read_executed_tools(tools: Iterable[Mapping[str, Any]]) -> Iterator[Citation]:
    """Yields what the hosted tools of Groq's compound models have found and opened."""
    for tool in tools:
        found = as_dicts(as_dict(tool.get("search_results")).get("results"))
        yield from read_found((*found, *as_dicts(tool.get("browser_results"))))


def read_found(results: Iterable[Mapping[str, Any]]) -> Iterator[Citation]:
    """Yields the results of a search that have an address or a title."""
    for one in results:
        url, title = as_text(one.get("url")) or None, as_text(one.get("title")) or None
        if url or title:
            yield Citation(url, title, as_text(one.get("content")) or None)


def read_reference(part: Mapping[str, Any]) -> Citation | None:
    """Reads a reference of Mistral: to a source of a hosted tool, or by the ids of a tool's result; else None."""
    match part.get("type"):
        case "tool_reference":
            url, title = as_text(part.get("url")) or None, as_text(part.get("title")) or None
            return Citation(url, title, as_text(part.get("description")) or None)
        case "reference":
            ids = [str(id) for id in as_list(part.get("reference_ids"))]
            return Citation(title=f"reference {', '.join(ids)}") if ids else None
    return None


def read_usage(wire: Mapping[str, Any], *, reasoning_in_output: bool = True) -> Usage:
    """Reads ``usage``, whose ``prompt_tokens`` include cached tokens.

    ``reasoning_in_output``: ``completion_tokens`` include reasoning, unless ``total_tokens`` shows the opposite.
    """
    prompt, completion = as_count(wire.get("prompt_tokens")), as_count(wire.get("completion_tokens"))
    input_details = as_dict(wire.get("prompt_tokens_details"))
    output_details = as_dict(wire.get("completion_tokens_details"))
    read = as_count(input_details.get("cached_tokens")) or as_count(wire.get("prompt_cache_hit_tokens")) or 0
    written = as_count(input_details.get("cache_write_tokens")) or 0
    if prompt is not None:  # some hosts report more cached tokens than input tokens
        read = min(read, prompt)
        written = min(written, prompt - read)
    reasoning = as_count(output_details.get("reasoning_tokens")) or 0
    if prompt is not None and completion is not None and reasoning:
        reasoning_in_output = reasoning_in_output and wire.get("total_tokens") != prompt + completion + reasoning
    if reasoning_in_output and completion is not None:
        reasoning = min(reasoning, completion)
    other = {
        name: count
        for name, value in (
            ("audio_input", input_details.get("audio_tokens")),
            ("audio_output", output_details.get("audio_tokens")),
            ("accepted_prediction", output_details.get("accepted_prediction_tokens")),
            ("rejected_prediction", output_details.get("rejected_prediction_tokens")),
        )
        if value and (count := as_count(value))
    }
    return Usage(
        fresh=None if prompt is None else prompt - read - written,
        cache_read=read,
        cache_write=written,
        text=None if completion is None else completion - (reasoning if reasoning_in_output else 0),
        reasoning=reasoning,
        other=other,
    )


def write_usage(usage: Usage) -> dict[str, Json]:
    """Writes ``usage``. An unknown total is the sum of its known parts."""
    prompt = (usage.fresh or 0) + usage.cache_read + usage.cache_write
    completion = (usage.text or 0) + usage.reasoning
    input_details: dict[str, Json] = {"cached_tokens": usage.cache_read}
    output_details: dict[str, Json] = {"reasoning_tokens": usage.reasoning}
    if usage.cache_write:
        input_details["cache_write_tokens"] = usage.cache_write
    if audio := usage.other.get("audio_input"):
        input_details["audio_tokens"] = audio
    if audio := usage.other.get("audio_output"):
        output_details["audio_tokens"] = audio
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": input_details,
        "completion_tokens_details": output_details,
    }
