"""Compares every engine's whole requests with ``tests/golden`` (O11).

``tests/support/golden_cases.py`` has the requests. They go through the running server to an upstream that records
them; method, URL, the server's headers and the body are compared with the file. An intended difference is accepted by

    UPDATE_GOLDEN=1 pytest tests/dialects/test_golden.py

which rewrites the files. Read their diff: it is what providers will get. Refusals are recorded too.
"""

from __future__ import annotations

import difflib
import json
import os
from collections.abc import Mapping
from typing import Any, Final

import pytest

from llm.chat.pipeline import CollectingSink
from llm.config.engines import variable_name
from llm.config.settings import Config
from llm.engines.records import ENGINES
from llm.errors import LLMError
from llm.gateway.callers import Caller
from llm.transport.interface import HttpRequest
from llm.upstream.call_record import CallRecord
from llm.upstream.translate import EngineRound
from tests.support.golden_cases import SUBJECTS, Case, Subject, cases
from tests.support.harness import CLIENT, Client, ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.paths import GOLDEN
from tests.support.wires import WIRES

KEY: Final = "golden-key"


def configure_engines() -> Config:
    """Configures all engines with their own base URLs."""
    environ = {variable_name(name, "API_KEY"): KEY for name, engine in ENGINES.items() if engine.needs_key}
    environ |= {variable_name(name, "ENABLED"): "true" for name, engine in ENGINES.items() if engine.local}
    environ |= {
        variable_name(name, "BASE_URL"): f"https://{name}.example" for name, e in ENGINES.items() if not e.base_url
    }
    return make_config(**environ, MAX_RETRIES="0")


def answer(request: HttpRequest) -> ScriptedReply:
    """Answers with one word in the wire of the request."""
    address, body = request.url.partition("?")[0], json.loads(request.body or b"{}")
    ends = {"/responses": "responses", "/messages": "anthropic", "Content": "google", "/api/chat": "ollama"}
    wire = WIRES[next((name for end, name in ends.items() if address.endswith(end)), "openai")]
    if body.get("stream") or "stream" in address:
        return ScriptedReply(200, {"Content-Type": wire.content_type}, [wire.head + wire.delta("Hi") + wire.end])
    return ScriptedReply(200, {"Content-Type": "application/json"}, [json.dumps(wire.whole("Hi")).encode()])


async def outcome(case: Case, subject: Subject, client: Client, upstream: ScriptedTransport) -> dict[str, Any]:
    """The result of one case: the request that was sent, or a refusal."""
    upstream.requests.clear()
    if case.native is not None:
        result = await _send_native(case.native, case.model, subject.engine, client)
    else:
        result = await _send_neutral(case, subject.engine, client)
    if "refused" in result:
        assert upstream.requests == []
        return result
    [request] = upstream.requests
    headers = {name.lower(): value.replace(KEY, "<key>") for name, value in sorted(request.headers.items())}
    sent = {"method": request.method, "url": request.url, "headers": headers}
    return {**sent, "body": json.loads(request.body or b""), **result}


async def _send_native(native: Mapping[str, Any], model: str, engine: str, client: Client) -> dict[str, Any]:
    reply = await client.post("/llm/chat", {"engine": engine, "model": model, **native}, CLIENT)
    if reply.status != 200:
        said = await reply.json()
        assert reply.status == 400, said
        return {"refused": said["code"], "param": said.get("param")}
    said = (await reply.body()).decode()
    assert "Hi" in said and '"error"' not in said, said
    dropped = reply.headers.get("X-Dropped-Fields")
    return {"dropped": dropped.split(", ")} if dropped else {}


async def _send_neutral(case: Case, engine: str, client: Client) -> dict[str, Any]:
    assert case.request is not None
    context, trace = client.server.context, CallRecord()
    try:
        target = context.catalog.resolve_target(engine, case.model, Caller(trusted=True))
        await EngineRound(case.request, target, context.client, trace, CollectingSink()).run()
    except LLMError as error:
        assert error.status == 400, error
        return {"refused": error.code, "param": error.param}
    return {"dropped": [*trace.dropped]} if trace.dropped else {}


def format_case(case: Mapping[str, Any]) -> str:
    """Formats one line for each field of the request and its body, and for each message and tool."""
    return "{\n" + ",\n".join(f"    {json.dumps(n)}: {_field(n, v)}" for n, v in case.items()) + "\n  }"


def _field(name: str, value: Any) -> str:
    if name == "body":
        inner = [f"      {json.dumps(n)}: {_item(v)}" for n, v in value.items()]
        return "{\n" + ",\n".join(inner) + "\n    }"
    return json.dumps(value, ensure_ascii=False)


def _item(value: Any) -> str:
    if isinstance(value, list) and len(value) > 1 and isinstance(value[0], dict):
        return "[\n" + ",\n".join(f"        {json.dumps(one, ensure_ascii=False)}" for one in value) + "\n      ]"
    return json.dumps(value, ensure_ascii=False)


def format_file(outcomes: Mapping[str, Mapping[str, Any]]) -> str:
    """Formats the cases by name. Fields that all requests share are written once, at the top."""
    first = next(case for case in outcomes.values() if "body" in case)
    common = {name: first[name] for name in ("method", "headers")}
    entries = [f'  "always": {format_case(common)}']
    for name in sorted(outcomes):
        own = {field: value for field, value in outcomes[name].items() if common.get(field) != value}
        entries.append(f"  {json.dumps(name, ensure_ascii=False)}: {format_case(own)}")
    return "{\n" + ",\n".join(entries) + "\n}\n"


def list_differences(name: str, kept: str, now: str) -> list[str]:
    """Describes each case that differs from the file."""
    was, is_ = json.loads(kept or "{}"), json.loads(now)
    found = []
    for case in sorted({*was, *is_}):
        place = f"{name}: {case}"
        if case not in was:
            found.append(f"{place}: is new\n{format_case(is_[case])}")
        elif case not in is_:
            found.append(f"{place}: is missing\n{format_case(was[case])}")
        elif (before := format_case(was[case])) != (after := format_case(is_[case])):
            lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "kept", "now", lineterm="", n=1)
            found.append("\n".join([place, *lines]))
    return found or ([f"{name}: its cases are the same, but not its spelling"] if kept != now else [])


@pytest.mark.parametrize("name", SUBJECTS)
async def test_o11_engine_requests_equal_the_golden_files(name: str) -> None:
    subject, path = SUBJECTS[name], GOLDEN / f"{name}.json"
    upstream = ScriptedTransport(answer)
    outcomes: dict[str, dict[str, Any]] = {}
    async with run_server(configure_engines(), http=upstream, https=upstream) as client:
        for case in cases(subject):
            assert case.name not in outcomes, f"{case.name} is there twice"
            outcomes[case.name] = await outcome(case, subject, client, upstream)
    now = format_file(outcomes)
    assert KEY not in now
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(now)
        return
    found = list_differences(name, path.read_text() if path.exists() else "", now)
    if found:
        hint = "If this is meant: UPDATE_GOLDEN=1 pytest tests/dialects/test_golden.py"
        pytest.fail(
            "\n\n".join([f"{len(found)} requests to {name} are not as in {path.name}.", *found[:20], hint]), False
        )


def test_o11_every_engine_has_its_file_and_every_file_an_engine() -> None:
    assert {subject.engine for subject in SUBJECTS.values()} == {name for name, one in ENGINES.items() if one.chats} - {
        "demo"
    }
    assert {path.name for path in GOLDEN.iterdir()} == {f"{name}.json" for name in SUBJECTS}


def test_o11_a_difference_names_its_engine_and_case() -> None:
    kept = format_file({"chat": {"method": "POST", "headers": {}, "url": "u", "body": {"model": "m", "seed": 0}}})
    now = format_file({"chat": {"method": "POST", "headers": {}, "url": "u", "body": {"model": "m", "seed": None}}})
    [difference] = list_differences("box", kept, now)
    assert (
        difference.startswith("box: chat\n")
        and '-      "seed": 0' in difference
        and '+      "seed": null' in difference
    )
    assert list_differences("box", kept, kept) == []
    more = format_file({"more": {"refused": "unsupported", "param": "seed"}, **_read(kept)})
    assert list_differences("box", kept, more)[0].startswith("box: more: is new")
    assert list_differences("box", more, kept)[0].startswith("box: more: is missing")


def _read(text: str) -> dict[str, Any]:
    """Reads the cases of a file, with the shared fields merged in."""
    value = json.loads(text)
    always = value.pop("always")
    return {name: {**(always if "body" in case else {}), **case} for name, case in value.items()}
