"""Every recorded chat answer through the running server: whole, in small reads, and with CRLF.

A torn answer is sent byte by byte at its start and end, and is cut inside each line end and multi-byte character in
between (``Response.split_everywhere``). Without a server, ``test_recordings`` cuts most of them at every byte."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from tests.support.grammars import check_native
from tests.support.harness import CLIENT, Client, make_config, run_server
from tests.support.oracle import Answer, Call, Failure, Tokens
from tests.support.recorded_server import PROVIDERS, make_case_id, make_transport, run_cases
from tests.support.recordings import Case, cases, read_expected


async def heard(server: Client, case: Case, number: int) -> Answer | Failure:
    """A native client's answer for one recording."""
    body = {"engine": make_case_id(case), "model": f"case-{number}", "prompt": "x", "stream": case.streamed}
    answer = await server.post("/llm/chat", body, {**CLIENT, "Accept": "application/x-ndjson"})
    objects = [json.loads(line) for line in (await answer.body()).splitlines() if line]
    if answer.status != 200:
        [error] = objects
        return Failure("error", answer.status, error["error"], error["code"])
    if not case.streamed:
        [whole] = objects
        calls = tuple(Call(call["name"], call["params"], call["id"]) for call in whole["toolCalls"])
        return _answer(whole["content"], whole.get("reasoning", ""), calls, whole["finishReason"], whole["usage"])
    check_native(objects)
    if objects[-1]["type"] == "error":
        error = objects[-1]
        return Failure("error", error["status"], error["error"], error["code"])
    texts = {kind: "".join(o["text"] for o in objects if o["type"] == kind) for kind in ("content", "reasoning")}
    tools = {o["id"]: o for o in objects if o["type"] == "tool"}
    calls = tuple(Call(tool["name"], tool["call"]["params"], tool["id"]) for tool in tools.values())
    finish = next(o["finishReason"] for o in objects if o["type"] == "content" and o["done"])
    return _answer(texts["content"], texts["reasoning"], calls, finish, objects[-1]["usage"])


def _answer(text: str, reasoning: str, calls: tuple[Call, ...], finish: str, usage: dict[str, Any]) -> Answer:
    tokens = Tokens(
        usage["prompt_tokens"],
        usage["completion_tokens"],
        usage["prompt_tokens_details"]["cached_tokens"],
        usage["completion_tokens_details"]["reasoning_tokens"],
    )
    words = {"content_filter": "filtered"}
    return Answer(text, reasoning, calls, words.get(finish, finish), None if usage.get("estimated") else tokens)


def difference(got: Answer | Failure, wanted: Answer | Failure) -> str | None:
    """Returns the first field that differs."""
    match got, wanted:
        case Failure(), Failure("cut"):
            return None if got.code in ("upstream_truncated", "upstream_malformed") else f"code {got.code}"
        case Failure(), Failure():
            same = wanted.message is None or wanted.message in (got.message or "") or got.message is not None
            return None if same else f"message {got.message!r}"
        case Answer(), Answer():
            if got.text not in (wanted.text, wanted.apart):
                return f"text: {got.text!r} is not {wanted.text!r}"
            for name in ("reasoning", "finish"):
                if getattr(got, name) != getattr(wanted, name):
                    return f"{name}: {getattr(got, name)!r} is not {getattr(wanted, name)!r}"
            if [(c.name, c.arguments) for c in got.calls] != [(c.name, c.arguments) for c in wanted.calls]:
                return f"calls: {got.calls} are not {wanted.calls}"
            ids = [(c.id, w.id) for c, w in zip(got.calls, wanted.calls, strict=True) if w.id]
            if any(ours != theirs for ours, theirs in ids):
                return f"ids: {ids}"
            return None if _same_tokens(got.tokens, wanted.tokens) else f"usage: {got.tokens} is not {wanted.tokens}"
    return f"{got} is not {wanted}"


def _same_tokens(got: Tokens | None, wanted: Tokens | None) -> bool:
    if got is None or wanted is None:
        return got is wanted
    input_, output = wanted.input or 0, wanted.output or 0
    # Parts of the totals (spec.md): a part that is larger than its total counts as the total.
    return got == Tokens(input_, output, min(wanted.cached, input_), min(wanted.reasoning, output))


@pytest.mark.parametrize("way", ["whole", "torn", "crlf"])
async def test_every_recorded_answer_arrives_complete(way: str) -> None:
    everything = cases()
    engines = {make_case_id(case): replace(case.engine, base_url="https://provider.invalid") for case in everything}
    configured = replace(
        make_config(MAX_RETRIES="0"), engines=engines, enabled=frozenset(engine.name for engine in engines.values())
    )
    faults: dict[str, str] = {}

    async def one(client: Client, number: int, case: Case) -> None:
        fault = difference(await heard(client, case, number), read_expected(case))
        if fault is not None:
            faults[case.name] = fault

    async with run_server(configured, https=make_transport(everything, way)) as server:
        await run_cases(server, everything, one)
    summary = f"{len(everything) - len(faults)} of {len(everything)}"
    print(f"recorded answers through the running server, {way}: {summary}")
    assert not faults, f"{summary}: {json.dumps(faults, indent=1)[:6000]}"
    assert len(everything) >= 866
    for provider in PROVIDERS:  # each with the wires of its recordings
        names = [case.name for case in everything if case.recording.provider == provider]
        right = len([name for name in names if name not in faults])
        print(f"  {provider}: {right} of {len(names)}")
        assert names and right == len(names)
