"""A native client gets a final state of every call: run by the provider, by the client or not at all."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from llm.chat.events import Event, Finished, PartEnded, Started, ToolCallDelta, ToolCallStarted
from llm.chat.reply import collect, replay
from llm.chat.request import ChatRequest
from llm.dialects import native
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines.engine import Engine
from llm.wire.frames import Frame
from tests.support import lanes
from tests.support.grammars import check_native
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.lanes import CASES
from tests.support.wires import WIRES

FINAL = {"completed", "canceled", "error"}
Tool = tuple[str, list[str], Any, Any]  # name, states without repetition, params and result in the end


@dataclass(frozen=True)
class Case:
    """One answer, streamed and whole, and the tools that a client gets."""

    dialect: str
    frames: Sequence[bytes]
    whole: Any
    tools: list[Tool]


RUN = ["preparing", "running", "completed"]
FAILED = ["preparing", "running", "error"]
LEFT = ["preparing", "canceled"]


def item(kind: str, status: str = "completed", **more: Any) -> dict[str, Any]:
    return {"type": kind, "id": f"{kind}_1", "status": status, **more}


def of_responses(wire: dict[str, Any], *tools: Tool, announced: bool = True) -> Case:
    begun = {name: value for name, value in wire.items() if name in ("type", "id", "name", "call_id")}
    events = [
        lanes.CREATED,
        *([lanes.added(0, begun)] if announced else []),
        lanes.done(0, wire),
        lanes.completed(wire),
    ]
    whole = {"id": "resp_1", "model": "m", "status": "completed", "output": [wire]}
    return Case("openai-responses", lanes.responses(*events), whole, [*tools])


def of_anthropic(*blocks: dict[str, Any], stop: str = "end_turn", tools: list[Tool]) -> Case:
    events = []
    for index, block in enumerate(blocks):
        begun = {**block, "input": {}} if "input" in block else block
        pieces = [lanes.json_of(index, json.dumps(block["input"]))] if "input" in block else []
        events += [lanes.make_block_start(index, **begun), *pieces, lanes.make_block_stop(index)]
    usage = {"input_tokens": 5, "output_tokens": 7}
    whole = {
        "id": "m",
        "type": "message",
        "role": "assistant",
        "content": [*blocks],
        "stop_reason": stop,
        "usage": usage,
    }
    return Case("anthropic", lanes.anthropic(*events, *lanes.make_message_stop(stop)), whole, tools)


def of_gemini(*parts: dict[str, Any], tools: list[Tool]) -> Case:
    whole = {"candidates": [{"content": {"parts": [*parts]}, "finishReason": "STOP"}], "responseId": "r"}
    return Case("gemini", lanes.gemini(*parts), whole, tools)


SEARCH = {"type": "search", "query": "q"}
SHELL = {"commands": ["ls"]}
SERVER_CALL = {"type": "server_tool_use", "id": "st_1", "name": "web_search", "input": {"query": "q"}}
FOUND = {"type": "web_search_result", "url": "https://a", "title": "A", "encrypted_content": "c2ln"}
CODE = {"executableCode": {"language": "PYTHON", "code": "1+1"}}
RAN_CODE = {"language": "PYTHON", "code": "1+1"}

ACTIONS: list[tuple[str, str, dict[str, Any]]] = [
    ("shell", "action", SHELL),
    ("local_shell", "action", SHELL),
    ("computer", "action", {"type": "click"}),
    ("apply_patch", "operation", {"type": "delete_file", "path": "a"}),
    ("some_later", "input", {"x": 1}),
]

HOSTED = {
    "web search": of_responses(item("web_search_call", action=SEARCH), ("web_search", RUN, SEARCH, None)),
    "web search, failed": of_responses(item("web_search_call", "failed"), ("web_search", FAILED, {}, None)),
    "web search, not announced": of_responses(
        item("web_search_call", action=SEARCH), ("web_search", RUN, SEARCH, None), announced=False
    ),
    "file search": of_responses(
        item("file_search_call", queries=["q"], results=[{"text": "t"}]),
        ("file_search", RUN, {"queries": ["q"]}, [{"text": "t"}]),
    ),
    "code interpreter": of_responses(
        item("code_interpreter_call", code="1+1", outputs=[{"type": "logs", "logs": "2"}]),
        ("code_interpreter", RUN, {"code": "1+1"}, [{"type": "logs", "logs": "2"}]),
    ),
    "mcp": of_responses(
        item("mcp_call", name="ask", arguments='{"a": 1}', output="No."), ("ask", RUN, {"a": 1}, "No.")
    ),
    "mcp, failed": of_responses(
        item("mcp_call", name="ask", arguments="{}", error="Gone."), ("ask", FAILED, {}, "Gone.")
    ),
    "image": of_responses(item("image_generation_call", result="iVBORw0KGgo="), ("image_generation", RUN, {}, None)),
    "image, failed": of_responses(
        item("image_generation_call", "failed", result=None), ("image_generation", FAILED, {}, None)
    ),
    **{
        kind: of_responses({**item(f"{kind}_call", call_id="c"), field: given}, (kind, RUN, given, None))
        for kind, field, given in ACTIONS
    },
    "shell, incomplete": of_responses(item("shell_call", "incomplete", action=SHELL), ("shell", FAILED, SHELL, None)),
    "Anthropic's search": of_anthropic(
        SERVER_CALL,
        {"type": "web_search_tool_result", "tool_use_id": "st_1", "content": [FOUND]},
        {"type": "text", "text": "A"},
        tools=[("web_search", RUN, {"query": "q"}, [{n: v for n, v in FOUND.items() if n != "encrypted_content"}])],
    ),
    "Anthropic's search, failed": of_anthropic(
        SERVER_CALL,
        {
            "type": "web_search_tool_result",
            "tool_use_id": "st_1",
            "content": {"type": "web_search_tool_result_error", "error_code": "unavailable"},
        },
        tools=[
            (
                "web_search",
                FAILED,
                {"query": "q"},
                {"type": "web_search_tool_result_error", "error_code": "unavailable"},
            )
        ],
    ),
    "Anthropic's MCP, failed": of_anthropic(
        {"type": "mcp_tool_use", "id": "mt_1", "name": "ask", "server_name": "s", "input": {"a": 1}},
        {"type": "mcp_tool_result", "tool_use_id": "mt_1", "is_error": True, "content": "No."},
        tools=[("ask", FAILED, {"a": 1}, "No.")],
    ),
    "Anthropic's call without a result": of_anthropic(SERVER_CALL, tools=[("web_search", RUN, {"query": "q"}, None)]),
    "Gemini's code": of_gemini(
        CODE,
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "2"}},
        {"text": "2"},
        tools=[("code_execution", RUN, RAN_CODE, "2")],
    ),
    "Gemini's code, failed": of_gemini(
        CODE,
        {"codeExecutionResult": {"outcome": "OUTCOME_FAILED", "output": "Oh."}},
        tools=[("code_execution", FAILED, RAN_CODE, "Oh.")],
    ),
    "Gemini's code, twice and with ids": of_gemini(
        {"executableCode": {**CODE["executableCode"], "id": "a"}},
        {"executableCode": {**CODE["executableCode"], "id": "b"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1", "id": "a"}},
        {"codeExecutionResult": {"outcome": "OUTCOME_DEADLINE_EXCEEDED", "id": "b"}},
        tools=[("code_execution", RUN, RAN_CODE, "1"), ("code_execution", FAILED, RAN_CODE, None)],
    ),
    "Gemini's code without a result": of_gemini(CODE, tools=[("code_execution", RUN, RAN_CODE, None)]),
}


def read_events(case: Case) -> list[Event]:
    engine = Engine(name="e", label="E", dialect=case.dialect, base_url="http://engine.test")
    dialect = ENGINE_DIALECTS[case.dialect]
    framing, reader = dialect.create_framing(), dialect.create_reader(engine)
    frames: list[Frame] = [frame for raw in case.frames for frame in framing.feed(raw)]
    events = [event for frame in frames for event in reader.feed(frame)]
    return events if reader.done else events + reader.close()


def write_objects(events: Sequence[Event]) -> list[dict[str, Any]]:
    writer = native.create_writer(ChatRequest(model="m", messages=()), 0, "ndjson")
    objects = [json.loads(line) for piece in writer.feed(events) for line in piece.splitlines()]
    check_native(objects)
    return objects


def collect_tools(objects: Sequence[dict[str, Any]]) -> list[Tool]:
    chunks = [one for one in objects if one["type"] == "tool"]
    tools = []
    for id in dict.fromkeys(chunk["id"] for chunk in chunks):
        mine = [chunk for chunk in chunks if chunk["id"] == id]
        last = mine[-1]["call"]
        tools.append((mine[0]["name"], [*dict.fromkeys(one["state"] for one in mine)], last["params"], last["result"]))
    return tools


@pytest.mark.parametrize("name", HOSTED)
def test_a_provider_run_is_shown_running_and_then_with_its_final_state(name: str) -> None:
    case = HOSTED[name]
    engine = Engine(name="e", label="E", dialect=case.dialect, base_url="http://engine.test")
    events = read_events(case)
    assert collect_tools(write_objects(events)) == case.tools
    whole = ENGINE_DIALECTS[case.dialect].read_reply(case.whole, engine)
    assert (
        collect_tools(write_objects([*replay(whole)])) == case.tools
    )  # an engine that answers a stream with one document
    for reply in (whole, collect(events)):
        wire = native.write_reply(reply, ChatRequest(model="m", messages=()), 0)
        calls: Any = wire["toolCalls"]
        assert [(one["name"], one["params"], one["result"]) for one in calls] == [
            (n, p, r) for n, _, p, r in case.tools
        ]


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.calls])
def test_a_call_that_is_not_run_here_ends_as_canceled(name: str) -> None:
    """`finishReason` leaves the call to the client; this server neither runs it nor waits for it."""
    case = CASES[name]
    objects = write_objects(read_events(Case(case.dialect, case.events, None, [])))
    assert [(name, states) for name, states, _, _ in collect_tools(objects)] == [(name, LEFT) for name, _ in case.calls]
    last = [one for one in objects if one["type"] == "tool"][-1]
    assert last["status"] and last["call"]["params"] and objects[-2]["finishReason"] == "tool_calls"


@pytest.mark.parametrize("reason", ["length", "filtered", "error"])
@pytest.mark.parametrize("executor", ["client", "server", "provider"])
def test_an_incomplete_call_ends_as_canceled(executor: Any, reason: Any) -> None:
    events: list[Event] = [Started("r", "m"), ToolCallStarted(0, "c", "f", executor), ToolCallDelta(0, '{"a":')]
    events += [PartEnded(0), Finished(reason)]
    [(_, states, _, _)] = collect_tools(write_objects(events))
    assert states[-1] == "canceled"


@pytest.mark.parametrize("name", ["web search", "shell", "image, failed"])
async def test_the_real_server_writes_the_same_states(name: str) -> None:
    case = HOSTED[name]

    async def script(request: Request, connection: Connection) -> None:
        await connection.stream()
        for frame in case.frames:
            await connection.chunk(frame)
        await connection.end()

    upstream = Upstream(script)
    async with upstream.run(), run_server(make_config(**WIRES["responses"].environ(upstream))) as server:
        objects = await server.chat({"Accept": lanes.NDJSON}, engine="responses", model="m")
    assert collect_tools(objects) == case.tools
    assert {[one["state"] for one in objects if one["type"] == "tool"][-1]} <= FINAL
