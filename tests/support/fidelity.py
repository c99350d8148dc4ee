"""Determines what becomes of each feature between every client wire and every engine wire, and writes it as a page."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from llm.chat.events import (
    Cited,
    Event,
    Failed,
    Finished,
    PartEnded,
    ReasoningDelta,
    Started,
    TextDelta,
    ToolCallDelta,
    ToolCallStarted,
    UsageReported,
    WholePart,
)
from llm.chat.messages import Citation, Media, Usage
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, Options
from llm.dialects import ollama
from llm.dialects.base import ClientDialect
from llm.dialects.gemini.shared import pack_request_form
from llm.dialects.registry import passthrough_target
from llm.engines.api_choice import choose_api
from llm.engines.engine import Engine, Target
from llm.engines.records import ENGINES
from llm.errors import LLMError, Overloaded, ProviderErrorDetails
from llm.upstream.translate import write_engine_request
from tests.support.fidelity_clients import CLIENTS

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
PDF = "JVBERi0xLjQKJSVFT0YK"


@dataclass(frozen=True)
class Destination:
    """One engine of each wire, with a model that supports most features."""

    name: str  # heading in the table
    engine: Engine
    model: str
    issuer: str = ""


_OPENAI = ENGINES["openai"]
ENGINES_OF: tuple[Destination, ...] = (
    Destination("Chat Completions", _OPENAI, "gpt-5.4-mini"),
    Destination("Responses", replace(_OPENAI, dialect="openai-responses"), "gpt-5.4-mini"),
    Destination("Anthropic", ENGINES["anthropic"], "claude-sonnet-4-5"),
    Destination("Gemini", ENGINES["google"], "gemini-3.5-flash"),
    Destination("Ollama", ENGINES["ollama"], "qwen3:8b"),
)


@dataclass(frozen=True)
class Feature:
    """A feature. ``marks`` have to be in the engine request; of a tuple, one of them."""

    name: str
    marks: tuple[str | tuple[str, ...], ...]
    alternatives: tuple[tuple[str, str], ...] = ()  # (word, mark) of other forms that it may have in the request
    in_result: str = ""  # mark that has to be inside the tool result; else it follows it


@dataclass(frozen=True)
class Outcome:
    """A cell of the table: ``exact``, ``yes``, ``left out`` (and reported), ``no``, another word, or ``–`` if there is none."""

    word: str
    error: LLMError | None = None
    dropped: tuple[str, ...] = ()  # names in ``X-Dropped-Fields``

    def __str__(self) -> str:
        if self.error is not None:
            return f"no, `{self.error.param}`"
        return f"{self.word}, `{'`, `'.join(self.dropped)}`" if self.word == "left out" else self.word


FEATURES: tuple[Feature, ...] = (
    Feature("text", ("Hello there",)),
    Feature("system prompt", ("Be brief.",)),
    Feature("picture", (PNG,)),
    Feature("picture by address", ("https://example.org/a.png",)),
    Feature("PDF", (PDF,)),
    Feature("tool", ("get_weather",)),
    Feature("call and result", ("get_weather", "Paris", "Sunny")),
    Feature(
        "failed result",
        ("Sunny", ('"is_error": true', '"error"')),
    ),
    Feature("picture as a result", ("Sunny", PNG), in_result=PNG),
    Feature("a tool that must be called", ("get_weather", ("tool_choice", "ANY", '"format": {'))),
    Feature("no parallel calls", (("parallel",),)),
    Feature("answer by a schema", ("degrees",)),
    Feature(
        "any JSON",
        (("json_object", "application/json", '"format": "json"'),),
    ),
    Feature("token limit", ("1234",)),
    Feature("temperature 0", ('"temperature": 0',)),
    Feature("top_p", ("0.123",)),
    Feature("top_k", (('"top_k": 7', '"topK": 7'),)),
    Feature("stop", ("HALT",)),
    Feature("seed", ("4321",)),
    Feature("effort", (("high", "HIGH"),), (("as a budget", "budget_tokens"),)),
    Feature(
        "thinking budget",
        ("2345",),
        (("as an effort", '"reasoning_effort": "low"'), ("as an effort", '"effort": "low"'), ("on", '"think": true')),
    ),
    Feature("log probabilities", (("logprobs", "responseLogprobs"),)),
    Feature("service tier", ("flex",)),
    Feature(
        "caching", ("cache_control",), (("unasked", '"messages"'), ("unasked", '"input"'), ("unasked", '"contents"'))
    ),
    Feature("cache mark", ("cache_control",)),
    Feature("cache key", ("key-1",)),
    Feature("reasoning of an earlier answer", ("Earlier thought",)),
    Feature("compaction of the conversation", (("Summary of before", "c2VjcmV0"),)),
    Feature("custom tool", ("run_code",)),
    Feature("custom call and result", ("run_code", "print(1)", "Printed")),
    Feature("a choice of allowed tools", ("get_time",)),
    Feature("hosted web search", (("web_search", "google_search", "googleSearch"),)),
    Feature("user", ("user-1",)),
    Feature("a field that nobody knows", (("x_unknown", "xUnknown"),)),
)


def evaluate(feature: Feature, client: str, towards: Destination) -> Outcome:
    """Returns the cell of one feature."""
    spoken = CLIENTS[client]
    body = spoken.bodies(PNG, PDF).get(feature.name)
    if body is None:
        return Outcome("–")
    target = Target(engine=towards.engine, model=towards.model, key="k")
    request = replace(spoken.dialect.read_request({**body}), model=towards.model)
    if passthrough_target(spoken.dialect.NAME, request, target) is not None:
        return Outcome("exact")
    try:
        out = write_engine_request(request, choose_api(request, target))
    except LLMError as error:
        return Outcome("no", error)
    sent = json.dumps(out.body)
    if all(any(one in sent for one in ((mark,) if isinstance(mark, str) else mark)) for mark in feature.marks):
        inside = not feature.in_result or any(feature.in_result in json.dumps(one) for one in _results(out.body))
        return Outcome("yes" if inside else "behind it")
    if out.dropped:
        return Outcome("left out", dropped=out.dropped)
    return Outcome(next((word for word, mark in feature.alternatives if mark in sent), "LOST"))


def _results(wire: Any) -> Iterator[Any]:
    """Returns the tool results of a request body of any wire."""
    if isinstance(wire, list):
        for one in wire:
            yield from _results(one)
    elif isinstance(wire, Mapping):
        kinds = ("tool_result", "function_call_output")
        if wire.get("type") in kinds or wire.get("role") == "tool" or "functionResponse" in wire:
            yield wire
        else:
            yield from _results([*wire.values()])


# --- answers ---

_KEEP = (ProviderMetadata("gemini", "google", {"thoughtSignature": "c2ln"}),)
_SAID = ProviderErrorDetails(529, "too_busy", "overloaded_error", "Too busy.")
_WHOLE: tuple[Event, ...] = (
    Started("r", "model-1"),
    ReasoningDelta(0, "Thinking of it"),
    PartEnded(0, _KEEP),
    TextDelta(1, "Answer 🦊"),
    Cited(1, Citation("https://example.org", "Source", start=0, end=6)),
    PartEnded(1),
    ToolCallStarted(2, "c1", "get_weather"),
    ToolCallStarted(3, "c2", "get_time"),
    ToolCallDelta(2, '{"city":'),
    ToolCallDelta(3, '{"zone":"CET"}'),
    ToolCallDelta(2, '"Paris"}'),
    PartEnded(3),
    PartEnded(2, _KEEP),
    WholePart(4, Media(mime="image/png", base64=PNG)),
    UsageReported(Usage(fresh=50, cache_read=30, text=20, reasoning=7)),
    Finished("tool_calls"),
)
# No list of sources stands behind a call.
_CITED: tuple[Event, ...] = (
    _WHOLE[0],
    TextDelta(0, "Answer"),
    Cited(0, Citation("https://example.org", "Source", start=0, end=6)),
    PartEnded(0),
    Finished("stop"),
)
ANSWERS: tuple[tuple[str, tuple[Event, ...], tuple[str, ...]], ...] = (
    ("text", _WHOLE, ("Answer 🦊",)),
    ("thoughts", _WHOLE, ("Thinking of it",)),
    ("what the engine signed, on a thought", _WHOLE, ()),
    ("parallel calls", _WHOLE, ("get_weather", "get_time", "Paris", "CET")),
    ("source", _CITED, ("https://example.org", "Source")),
    ("picture", _WHOLE, (PNG,)),
    ("tokens from a cache", _WHOLE, ("30",)),
    ("tokens of thinking", _WHOLE, ("7",)),
    (
        "cut off by the limit",
        (_WHOLE[0], TextDelta(0, "x"), PartEnded(0), Finished("length")),
        ("length", "max_tokens"),
    ),
    (
        "why it was refused",
        (_WHOLE[0], Finished("filtered", "refusal", explanation="Because of X.", category="cyber")),
        ("Because of X.", "cyber"),
    ),
    (
        "an end for an unknown reason",
        (_WHOLE[0], TextDelta(0, "x"), PartEnded(0), Finished("other", "SOMETHING_NEW")),
        ("SOMETHING_NEW",),
    ),
    (
        "the stop sequence that ended it",
        (_WHOLE[0], TextDelta(0, "x"), PartEnded(0), Finished("stop", stop_sequence="HALT")),
        ("HALT",),
    ),
    (
        "an error in mid-stream",
        (_WHOLE[0], TextDelta(0, "x"), Failed(Overloaded("Too busy.", provider=_SAID))),
        ("Too busy.", "too_busy"),
    ),
)


def evaluate_answer(name: str, events: tuple[Event, ...], marks: tuple[str, ...], dialect: ClientDialect) -> str:
    asked = ChatRequest(
        model="m",
        messages=(),
        show_usage=True,
        options=Options(reasoning=True),
        metadata=pack_request_form(includeThoughts=True),
    )
    raw = b"".join(dialect.create_writer(asked, 1).feed(events)).decode()
    text = raw.replace("\\u002d", "-").replace('\\"', '"')
    if name == "cut off by the limit":
        return "yes" if any(mark in text for mark in (*marks, "max_output_tokens", "MAX_TOKENS")) else "no"
    if name.startswith("what the engine signed"):
        sealed = "llm-server.1." in text or "bGxtLXNlcnZlci4x" in text or "c2ln" in text
        return "yes" if sealed else "kept here"
    if all(mark in text for mark in marks):
        return "as text" if "Sources given by the engine:" in text and name == "source" else "yes"
    if name == "tokens from a cache" and dialect is ollama:
        return "in the sum"  # this wire counts the whole prompt
    return "named in a text" if "which this API cannot carry" in text else "no"


def _refusals(feature: Feature, towards: Destination) -> list[str]:
    """Returns the distinct error messages of a feature for one engine, over all clients."""
    outcomes = (evaluate(feature, client, towards) for client in CLIENTS)
    return [*dict.fromkeys(str(one.error) for one in outcomes if one.error is not None)]


def write_page() -> str:
    lines = [
        "# What is carried between which APIs",
        "",
        "Written by `UPDATE_DOCS=1 python -m pytest tests/dialects/test_fidelity_page.py`, which also checks that it is true: every",
        "cell is asked of the code.",
        "",
        "| word | what becomes of it |",
        "| --- | --- |",
        "| exact | client and engine speak alike: the body goes through as it is, and so does the answer |",
        "| yes | it is carried, in the engine's own words |",
        "| as …, on, unasked | the engine gets it in those words; unasked: it caches by itself |",
        "| left out, `x` | it cannot be carried and does not change the answer: the name is in `X-Dropped-Fields` |",
        "| as text, in the sum | the client's API has no field of its own for it |",
        "| named in a text | it cannot be carried; a short text in its place says so |",
        "| behind it | it stands in the message behind the result, under the id of its call |",
        "| no, `x` | it cannot be carried: 400 `unsupported` with `x` as its `param`, before anything is asked |",
        "| – | the client's API has no word for it |",
        "",
        "## Requests",
        "",
    ]
    for client, spoken in CLIENTS.items():
        lines += [f"### From {spoken.label}", "", f"| | {' | '.join(t.name for t in ENGINES_OF)} |"]
        lines += [f"| --- |{' --- |' * len(ENGINES_OF)}"]
        for feature in FEATURES:
            cells = [str(evaluate(feature, client, towards)) for towards in ENGINES_OF]
            if set(cells) != {"–"}:
                lines.append(f"| {feature.name} | {' | '.join(cells)} |")
        lines.append("")
    lines += [
        "### What a refusal says",
        "",
        f"| | {' | '.join(t.name for t in ENGINES_OF)} |",
        f"| --- |{' --- |' * len(ENGINES_OF)}",
    ]
    for feature in FEATURES:
        cells = ["<br>".join(_refusals(feature, towards)) for towards in ENGINES_OF]
        if any(cells):
            lines.append(f"| {feature.name} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Answers",
        "",
        "From any engine. What it signed and a client's API has no field for is kept here by the id of the call that it",
        "belongs to, for a day; the native API needs none of it back, since tools run and threads are kept here. As text:",
        "listed behind the answer. Told: a sentence stands in its place.",
        "",
        f"| | {' | '.join(spoken.label for spoken in CLIENTS.values())} |",
        f"| --- |{' --- |' * len(CLIENTS)}",
    ]
    for name, events, marks in ANSWERS:
        cells = [evaluate_answer(name, events, marks, spoken.dialect) for spoken in CLIENTS.values()]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
