"""Compares every recorded exchange of OpenAI Responses with a naive reading of its final response."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import pytest

from llm.chat.events import Event
from llm.chat.grammar import Grammar
from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, UnknownPart
from llm.chat.reply import Reply, collect, replay
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses as wire
from llm.engines.engine import Engine
from llm.engines.records import ENGINES
from llm.errors import LLMError
from tests.support.recordings import Response, recordings

# Providers whose last event has no output; only the item events have the answer.
EMPTY_OUTPUT = frozenset({"chatgpt"})
# Not answers of this API: a token count from the same URL.
NOT_ANSWERS = frozenset({"openai/responses-testthat-openai-count-tokens-e8e47a#0"})
# Providers whose reasoning item differs between the stream and its last event.
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


def parametrize(cases: Iterable[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def payloads(response: Response) -> list[dict[str, Any]]:
    lines = response.body.decode().replace("\r\n", "\n").split("\n")
    data = [line[5:].strip() for line in lines if line.startswith("data:")]
    return [json.loads(text) for text in data if text != "[DONE]"]


def final_response(case: Case) -> dict[str, Any]:
    """Returns the whole response, with the items of earlier events if its output is empty."""
    if not case.response.is_stream:
        whole: dict[str, Any] = json.loads(case.response.body)
        return whole
    event_payloads = payloads(case.response)
    last: dict[str, Any] = dict(event_payloads[-1]["response"])
    items = {
        event["output_index"]: event["item"] for event in event_payloads if event["type"] == "response.output_item.done"
    }
    if case.provider in EMPTY_OUTPUT:
        assert last["output"] == []
        last["output"] = [items[index] for index in sorted(items)]
    # The last event has the content encrypted again; either form may be sent back.
    encrypted_again = [{**item, **_encrypted(items[index])} for index, item in enumerate(last["output"])]
    return {**last, "output": encrypted_again}


def _encrypted(item: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in item.items() if name == "encrypted_content"}


def list_contents(response: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    """Lists the contents of a response, item by item."""
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


def list_parts(parts: Iterable[Part]) -> list[tuple[Any, ...]]:
    return [describe_part(part) for part in parts]


def describe_part(part: Part) -> tuple[Any, ...]:
    fields = part.metadata[0].data if part.metadata else {}
    match part:
        case Text(text, citations):
            return "text", text, [citation.url or citation.title for citation in citations]
        case Reasoning(text):
            return "reasoning", text, fields.get("encrypted_content")
        case ToolCall(id, name, arguments, "client"):
            return "call", id, name, json.loads(arguments)
        case ToolCall(id):
            return "hosted", fields["type"], id
        case Media():
            return "image", part.base64
        case UnknownPart():
            return "other", fields
        case _:
            raise AssertionError(part)


def read_tokens(usage: Mapping[str, Any]) -> tuple[int, int, int, int]:
    input_details, output_details = usage.get("input_tokens_details") or {}, usage.get("output_tokens_details") or {}
    counts = usage["input_tokens"], usage["output_tokens"]
    return (*counts, input_details.get("cached_tokens", 0), output_details.get("reasoning_tokens", 0))


def events(case: Case, pieces: Iterable[bytes]) -> list[Event]:
    framing, reader = wire.create_framing(), wire.create_reader(case.engine)
    frames = [frame for piece in pieces for frame in framing.feed(piece)]
    found = [event for frame in (*frames, *framing.close()) for event in reader.feed(frame)]
    return found + reader.close()


def read_reply(case: Case) -> Reply:
    if case.response.is_stream:
        return collect(events(case, [case.response.body]))
    return wire.read_reply(json.loads(case.response.body), case.engine)


def test_the_number_of_recordings_is_known() -> None:
    assert (len(ANSWERS), len(STREAMS), len(ERRORS)) == (137, 83, 12)


@parametrize(ANSWERS)
def test_the_reply_has_all_contents_of_the_final_response(case: Case) -> None:
    whole, reply = final_response(case), read_reply(case)
    assert list_parts(reply.message.parts) == list_contents(whole)
    first = payloads(case.response)[0]["response"] if case.response.is_stream else whole  # Copilot changes the id
    assert (reply.id, reply.model) == (first["id"], whole["model"])
    usage = reply.usage
    assert (usage.input, usage.output, usage.cache_read, usage.reasoning) == read_tokens(whole["usage"])
    called = any(item["type"] == "function_call" for item in whole["output"])
    length = (whole.get("incomplete_details") or {}).get("reason") == "max_output_tokens"
    assert reply.finish.reason == ("length" if length else "tool_calls" if called else "stop")
    for part in reply.message.parts:
        if isinstance(part, Text):
            for citation in part.citations:
                assert citation.end is None or (citation.start or 0) <= citation.end <= len(part.text)
    assert collect(replay(reply)) == reply


@parametrize(STREAMS)
def test_s9_a_stream_is_read_whatever_the_chunk_size_and_keeps_the_grammar(case: Case) -> None:
    body = case.response.body
    told = events(case, [body])
    grammar = Grammar()
    grammar.feed(told)
    grammar.close()
    assert events(case, case.response.pieces(1)) == told
    assert events(case, case.response.recorded_reads()) == told
    crlf = case.response.with_crlf()
    assert events(case, crlf.pieces(7)) == told


@parametrize(STREAMS)
def test_a_whole_response_reads_like_its_stream(case: Case) -> None:
    streamed, whole = read_reply(case), wire.read_reply(final_response(case), case.engine)
    if case.provider in OTHER_IDS:
        assert list_parts(streamed.message.parts) == list_parts(whole.message.parts)
    else:
        assert streamed == whole


@parametrize(STREAMS)
def test_s1_a_stream_without_its_last_event_is_an_error(case: Case) -> None:
    cut = case.response.body.rindex(b"data: {")
    with pytest.raises(LLMError) as failed:
        events(case, [case.response.body[:cut]])
    assert failed.value.code == "upstream_truncated"


@parametrize(ANSWERS)
def test_t1_an_answer_is_sent_back_unchanged(case: Case) -> None:
    """Except reasoning that was neither stored nor followed by an item, and empty texts."""
    reply, output = read_reply(case), final_response(case)["output"]
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


@parametrize(ERRORS)
def test_e2_an_error_has_the_message_of_its_provider(case: Case) -> None:
    body = json.loads(case.response.body)
    error_object = (
        body["error"] if isinstance(body["error"], dict) else {"message": body["error"], "code": body["code"]}
    )
    error = wire.read_error(case.response.status, case.response.body, case.engine)
    assert error.provider is not None
    assert (error.provider.status, error.provider.code) == (case.response.status, error_object["code"])
    if "api key" not in str(error_object["message"]).lower():  # keys are masked
        assert error.message == error.provider.message == error_object["message"]
    assert error.code == {
        "invalid_api_key": "provider_auth",
        "invalid-argument": "provider_auth",
        "context_length_exceeded": "context_length",
        "server_error": "provider_error",
    }.get(str(error_object["code"]), "bad_request")
