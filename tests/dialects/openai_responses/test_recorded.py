"""Every recorded exchange of OpenAI's Responses, against a naive reading of the final response as a whole."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from llm.chat.events import Event
from llm.chat.grammar import Grammar
from llm.chat.messages import Foreign, Media, Message, Part, Reasoning, Text, ToolCall
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses as wire
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.errors import LLMError
from tests.support.recordings import Response, recordings

# The last event of the ChatGPT backend has no output: what was in the answer is told by the items alone.
EMPTY_OUTPUT = frozenset({"chatgpt"})
# Not answers of this API: a count of tokens, which came of the same address.
NOT_ANSWERS = frozenset({"openai/responses-testthat-openai-count-tokens-e8e47a#0"})
# Where the stream and its last event tell two things under the id of a thought.
OTHER_IDS = frozenset({"openrouter", "github-copilot"})


@dataclass(frozen=True)
class Case:
    name: str
    provider: str
    engine: Engine
    response: Response


def _engine(provider: str) -> Engine:
    known = ENGINES.get(provider)
    quirks = {"quirks": known.quirks, "models": known.models} if known else {}
    return Engine(name=provider, label=provider, dialect=wire.NAME, base_url="https://localhost", **quirks)  # type: ignore[arg-type]


@lru_cache(maxsize=1)
def _cases() -> tuple[Case, ...]:
    found = (
        Case(f"{recording.name}#{number}", recording.provider, _engine(recording.provider), response)
        for recording in recordings()
        if recording.api == "responses"
        for number, (_, response) in enumerate(recording.exchanges)
    )
    return tuple(case for case in found if case.name not in NOT_ANSWERS)


ANSWERS = [case for case in _cases() if case.response.status == 200]
STREAMS = [case for case in ANSWERS if case.response.is_stream]
ERRORS = [case for case in _cases() if case.response.status >= 400]


def named(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def payloads(response: Response) -> list[dict[str, Any]]:
    lines = response.body.decode().replace("\r\n", "\n").split("\n")
    data = [line[5:].strip() for line in lines if line.startswith("data:")]
    return [json.loads(text) for text in data if text != "[DONE]"]


def final(case: Case) -> dict[str, Any]:
    """The response as a whole; the items told before where it leaves them out."""
    if not case.response.is_stream:
        whole: dict[str, Any] = json.loads(case.response.body)
        return whole
    told = payloads(case.response)
    last: dict[str, Any] = dict(told[-1]["response"])
    items = {event["output_index"]: event["item"] for event in told if event["type"] == "response.output_item.done"}
    if case.provider in EMPTY_OUTPUT:
        assert last["output"] == []
        last["output"] = [items[place] for place in sorted(items)]
    # What is encrypted is so anew in the last event: either may go back.
    anew = [{**item, **_encrypted(items[place])} for place, item in enumerate(last["output"])]
    return {**last, "output": anew}


def _encrypted(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name == "encrypted_content"}


def naive(response: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """What is in it, item by item."""
    found: list[tuple[Any, ...]] = []
    for item in response["output"]:
        match item["type"]:
            case "message":
                for part in item["content"]:
                    cited = [a.get("url") or a.get("filename") for a in part.get("annotations") or ()]
                    if text := part.get("text", part.get("refusal")):
                        found.append(("text", text, cited))
            case "reasoning":
                texts = [part["text"] for part in (*item["summary"], *(item.get("content") or ()))]
                found.append(("reasoning", "\n\n".join(texts), item.get("encrypted_content")))
            case "function_call":
                found.append(("call", item["call_id"], item["name"], json.loads(item["arguments"] or "{}")))
            case "image_generation_call":
                found.append(("image", item["result"]))
            case "web_search_call" | "file_search_call" | "code_interpreter_call" | "mcp_call":
                found.append(("hosted", item["type"], item["id"]))
            case _:
                found.append(("other", item))
    return found


def seen(parts: Iterable[Part]) -> list[tuple[Any, ...]]:
    return [_seen(part) for part in parts]


def _seen(part: Part) -> tuple[Any, ...]:
    kept = part.keep[0].data if part.keep else {}
    match part:
        case Text(text, citations):
            return "text", text, [citation.url or citation.title for citation in citations]
        case Reasoning(text):
            return "reasoning", text, kept.get("encrypted_content")
        case ToolCall(id, name, arguments, "client"):
            return "call", id, name, json.loads(arguments)
        case ToolCall(id):
            return "hosted", kept["type"], id
        case Media():
            return "image", part.base64
        case Foreign():
            return "other", kept
        case _:
            raise AssertionError(part)


def tokens(usage: Mapping[str, Any]) -> tuple[int, int, int, int]:
    before, after = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    counts = usage["input_tokens"], usage["output_tokens"]
    return (*counts, before.get("cached_tokens", 0), after.get("reasoning_tokens", 0))


def events(case: Case, pieces: Iterable[bytes]) -> list[Event]:
    framing, reader = wire.framing(), wire.reader(case.engine)
    frames = [frame for piece in pieces for frame in framing.feed(piece)]
    found = [event for frame in (*frames, *framing.close()) for event in reader.feed(frame)]
    return found + reader.close()


def reply_of(case: Case) -> Reply:
    if case.response.is_stream:
        return collect(events(case, [case.response.body]))
    return wire.read_reply(json.loads(case.response.body), case.engine)


def test_the_recordings_are_these() -> None:
    assert (len(ANSWERS), len(STREAMS), len(ERRORS)) == (137, 83, 12)


@named(ANSWERS)
def test_what_is_in_the_final_response_is_in_the_reply(case: Case) -> None:
    whole, reply = final(case), reply_of(case)
    assert seen(reply.message.parts) == naive(whole)
    first = payloads(case.response)[0]["response"] if case.response.is_stream else whole  # Copilot changes the id
    assert (reply.id, reply.model) == (first["id"], whole["model"])
    usage = reply.usage
    assert (usage.input, usage.output, usage.cache_read, usage.reasoning) == tokens(whole["usage"])
    called = any(item["type"] == "function_call" for item in whole["output"])
    length = (whole.get("incomplete_details") or {}).get("reason") == "max_output_tokens"
    assert reply.finish.reason == ("length" if length else "tool_calls" if called else "stop")
    for part in reply.message.parts:
        if isinstance(part, Text):
            for citation in part.citations:
                assert citation.end is None or (citation.start or 0) <= citation.end <= len(part.text)
    assert collect(replay(reply)) == reply


@named(STREAMS)
def test_s9_a_stream_is_the_same_in_any_pieces_and_keeps_the_grammar(case: Case) -> None:
    body = case.response.body
    told = events(case, [body])
    grammar = Grammar()
    grammar.feed(told)
    grammar.close()
    assert events(case, case.response.pieces(1)) == told
    assert events(case, case.response.reads()) == told
    crlf = case.response.crlf()
    assert events(case, crlf.pieces(7)) == told


@named(STREAMS)
def test_the_whole_of_a_stream_reads_like_the_stream(case: Case) -> None:
    streamed, whole = reply_of(case), wire.read_reply(final(case), case.engine)
    if case.provider in OTHER_IDS:
        assert seen(streamed.message.parts) == seen(whole.message.parts)
    else:
        assert streamed == whole


@named(STREAMS)
def test_s1_a_stream_without_its_last_event_is_an_error(case: Case) -> None:
    cut = case.response.body.rindex(b"data: {")
    with pytest.raises(LLMError) as failed:
        events(case, [case.response.body[:cut]])
    assert failed.value.code == "upstream_truncated"


@named(ANSWERS)
def test_t1_what_was_answered_goes_back_as_it_came(case: Case) -> None:
    """Except thoughts that nobody stored or that nothing came of, and a text that is empty."""
    reply, output = reply_of(case), final(case)["output"]
    request = ChatRequest(model="m", messages=(reply.message, Message("user", (Text("And now?"),))))
    body = wire.write_request(request, case.engine).body or {}
    assert isinstance(body["input"], list)
    back = [item for item in body["input"][:-1] if isinstance(item, dict)]
    thoughts = [item for item in output if item["type"] == "reasoning"]
    lost = [item for item in thoughts if not item.get("encrypted_content") and not item.get("content")]
    stay = [*lost, *(output if output == thoughts else ()), *(item for item in output if _is_empty(item))]
    without_ids = bool(lost) or case.provider in OTHER_IDS
    expected = [_plain(item, without_ids) for item in output if item not in stay]
    assert [_plain(item, without_ids) for item in back] == expected


def _is_empty(item: Mapping[str, Any]) -> bool:
    return item["type"] == "message" and not any(part.get("text", part.get("refusal")) for part in item["content"])


def _plain(item: Mapping[str, Any], without_ids: bool) -> dict[str, Any]:
    plain = {name: value for name, value in item.items() if not without_ids or name != "id"}
    if plain["type"] == "message":
        plain["content"] = [
            {name: value for name, value in part.items() if value or name == "text"} for part in plain["content"]
        ]
    return plain


@named(ERRORS)
def test_e2_an_error_keeps_the_words_of_its_provider(case: Case) -> None:
    body = json.loads(case.response.body)
    said = body["error"] if isinstance(body["error"], dict) else {"message": body["error"], "code": body["code"]}
    error = wire.read_error(case.response.status, case.response.body, case.engine)
    assert error.provider is not None
    assert (error.provider.status, error.provider.code) == (case.response.status, said["code"])
    if "api key" not in str(said["message"]).lower():  # which is masked
        assert error.message == error.provider.message == said["message"]
    assert error.code == {
        "invalid_api_key": "provider_auth",
        "invalid-argument": "provider_auth",
        "context_length_exceeded": "context_length",
        "server_error": "provider_error",
    }.get(str(said["code"]), "bad_request")
