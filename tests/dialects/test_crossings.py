"""Every recorded answer through the running server to every client keeps the grammar and is complete (S7).

An answer that was recorded as a stream is requested as a stream, any other as a whole answer. Its expected content comes
from the oracle, which reads the provider's bytes with separate code; the client's content comes from the client's reader.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from llm.chat.events import Event, Finished, PartEnded, Started, TextDelta
from llm.chat.provider_metadata import decode_id
from llm.chat.reply import collect
from llm.chat.request import ChatRequest
from llm.dialects import ollama
from llm.dialects.registry import CLIENT_DIALECTS
from llm.errors import EngineFailed
from tests.support.crossing_clients import CLIENTS, CrossingClient
from tests.support.harness import Client, make_config, run_server
from tests.support.oracle import Answer, Call, Failure
from tests.support.recorded_server import make_case_id, make_transport, run_cases
from tests.support.recordings import Case, cases, read_expected

DIALECTS = {
    "/v1/chat/completions": "openai-chat",
    "/v1/responses": "openai-responses",
    "/v1/messages": "anthropic",
    "/v1beta": "gemini",
    "/api/chat": "ollama",
}


async def find_faults(client: CrossingClient) -> tuple[dict[str, str], int]:
    everything = cases()
    # ``translate`` forces translation where both have the same dialect, since passthrough changes nothing.
    engines = {
        make_case_id(case): replace(case.engine, base_url="https://provider.invalid", always_translate=True)
        for case in everything
    }
    enabled = frozenset(engine.name for engine in engines.values())
    configured = replace(make_config(MAX_RETRIES="0"), engines=engines, enabled=enabled)
    faults: dict[str, str] = {}

    async def one(server: Client, number: int, case: Case) -> None:
        try:
            await check_case(server, client, number, case)
        except Exception as broken:  # also raised by a client that cannot read its answer
            faults[case.name] = f"{type(broken).__name__}: {broken}"[:400]

    async with run_server(configured, https=make_transport(everything, "whole")) as server:
        await run_cases(server, everything, one)
    return faults, len(everything)


async def check_case(server: Client, client: CrossingClient, number: int, case: Case) -> None:
    body = client.ask(f"{make_case_id(case)}/case-{number}", case.streamed, ())
    answer = await server.post(client.url_of(body), body, client.headers)
    raw = await answer.body()
    wanted = read_expected(case)
    if answer.status != 200:
        assert isinstance(wanted, Failure) or wanted.finish == "error", f"{answer.status}: {raw!r}"
        error = json.loads(raw)["error"]
        assert error["message"] if isinstance(error, dict) else error
        return
    if case.streamed:
        client.check(raw)
        whole = client.assemble(raw)
    else:
        whole = json.loads(raw)
    if isinstance(wanted, Failure) or (wanted.finish == "error" and "error" not in client.finish_reasons):
        assert client.find_error(whole), "an error is told as a normal end"
        return
    assert not client.find_error(whole), f"an answer is told as an error: {client.find_error(whole)}"
    if not case.streamed:
        client.check_whole(whole)
    compare(client, client.read_content(whole), wanted)


def compare(client: CrossingClient, got: Answer, wanted: Answer) -> None:
    assert got.text in (wanted.text, wanted.apart), f"text: {got.text[:100]!r} is not {wanted.text[:100]!r}"
    assert got.reasoning == wanted.reasoning, f"reasoning: {got.reasoning[:100]!r} not {wanted.reasoning[:100]!r}"
    finish = client.finish_reasons.get(wanted.finish, wanted.finish)
    ours = [call for call in got.calls if not call.hosted]
    theirs = [call for call in wanted.calls if client.shows_hosted or not call.hosted]
    assert len(ours) == len(theirs), f"calls: {ours} are not {theirs}"
    for mine, given in zip(ours, theirs, strict=True):
        compare_call(client, mine, given)
    assert len({call.id for call in ours}) == len(ours), f"ids: {ours}"
    assert got.finish == finish, f"finish: {got.finish} is not {finish}"
    assert got.sources == wanted.sources, f"sources: {got.sources} are not {wanted.sources}"
    if wanted.tokens is not None and got.tokens is not None:
        before, after = wanted.tokens.input or 0, wanted.tokens.output or 0
        assert (got.tokens.input, got.tokens.output) == (before, after), f"{got.tokens} is not {wanted.tokens}"
        if client.counts_parts:
            parts = (min(wanted.tokens.cached, before), min(wanted.tokens.reasoning, after))
            assert (got.tokens.cached, got.tokens.reasoning) == parts, f"{got.tokens} is not {wanted.tokens}"


def compare_call(client: CrossingClient, mine: Call, given: Call) -> None:
    """Compares arguments as bytes if both wires have them as text."""
    assert mine.name == given.name and mine.id, f"{mine} is not {given}"
    assert given.id in (None, mine.id, decode_id(mine.id)), f"{mine} is not {given}"
    wanted = given.arguments
    if not isinstance(wanted, dict):  # a model wrote arguments that are not an object
        wanted = client.invalid_arguments(given.text or json.dumps(wanted), mine)
    assert mine.arguments == wanted, f"{mine} is not {given}"
    if mine.text is not None and given.text is not None:
        assert mine.text == (given.text or client.empty_arguments), f"{mine.text!r} is not {given.text!r}"


@pytest.mark.parametrize("name", CLIENTS)
async def test_s7_every_recorded_answer_is_complete_and_keeps_the_grammar(name: str) -> None:
    faults, total = await find_faults(CLIENTS[name])
    print(f"recorded answers to a client of {name}: {total - len(faults)} of {total}")
    assert not faults, f"{len(faults)} of {total}: {json.dumps(faults, indent=1)[:8000]}"
    assert total >= 866


ENDED_BADLY: list[Event] = [
    Started("r", "m"),
    TextDelta(0, "Half"),
    PartEnded(0),
    Finished("error", "MALFORMED_FUNCTION_CALL"),
]


@pytest.mark.parametrize("name", [name for name in CLIENTS if not name.startswith("native")])
def test_s1_an_answer_that_ends_with_an_error_is_an_error(name: str) -> None:
    """Only the native API has a finish reason for it, and Gemini's for its own."""
    client = CLIENTS[name]
    dialect = ollama.client_generate if name == "ollama generate" else CLIENT_DIALECTS[DIALECTS[client.path]]
    request = ChatRequest(model="m", messages=())
    raw = b"".join(dialect.create_writer(request, 7).feed(ENDED_BADLY))
    client.check(raw)
    error = client.find_error(client.assemble(raw))
    assert "MALFORMED_FUNCTION_CALL" in json.dumps(error)
    if name == "gemini":
        wire: Any = dialect.write_reply(collect(ENDED_BADLY), request, 7)
        assert wire["candidates"][0]["finishReason"] == "MALFORMED_FUNCTION_CALL"
        return
    with pytest.raises(EngineFailed, match="MALFORMED_FUNCTION_CALL"):
        dialect.write_reply(collect(ENDED_BADLY), request, 7)
