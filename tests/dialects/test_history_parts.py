"""Histories with parts that only one wire has, sent to engines of every other wire."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.support.crossings import Crossed, cross
from tests.support.field_cases import field_case

OTHERS = ["anthropic", "google", "ollama", "cerebras"]  # engines that are not passed through to a Responses client
FOR_MESSAGES = ["google", "ollama", "cerebras", "responses"]
QUESTION = {"role": "user", "content": "What was it?"}


def own_request(case: dict[str, Any]) -> dict[str, Any]:
    """Returns the case's request without its model."""
    return {name: value for name, value in case["request"].items() if name != "model"}


def sent_text(told: Crossed) -> str:
    return json.dumps(told.sent[0], ensure_ascii=False)


def assert_no_empty_message(told: Crossed) -> None:
    body = told.sent[0]
    for message in body.get("messages") or body.get("contents") or body["input"]:
        if message.get("type", "message") == "message":
            assert message.get("content") or message.get("parts") or message.get("tool_calls"), message


def engine_calls(told: Crossed) -> list[tuple[str, str, str]]:
    """Returns name, arguments and result of each call that the engine was sent, whatever its wire."""
    calls: dict[str, tuple[str, Any]] = {}
    results: dict[str, str] = {}
    body = told.sent[0]
    for message in body.get("messages") or body.get("contents") or body["input"]:
        parts = message.get("parts") or message.get("content")
        for part in [message, *(parts if isinstance(parts, list) else ())]:
            if part.get("type") == "tool_use":
                calls[part["id"]] = part["name"], part["input"]
            elif part.get("type") == "tool_result":
                results[part["tool_use_id"]] = part.get("content", "")
            elif part.get("type") == "function_call":
                calls[part["call_id"]] = part["name"], json.loads(part["arguments"])
            elif part.get("type") == "function_call_output":
                results[part["call_id"]] = part["output"]
            elif called := part.get("functionCall"):
                calls[called["id"]] = called["name"], called["args"]
            elif response := part.get("functionResponse"):
                value = response["response"]
                result = value.get("result", value)
                results[response["id"]] = result if isinstance(result, str) else json.dumps(result)
        for call in message.get("tool_calls") or ():
            arguments = call["function"]["arguments"]
            arguments = json.loads(arguments) if isinstance(arguments, str) else arguments
            calls[call["id"]] = call["function"]["name"], arguments
        if message.get("role") == "tool":
            results[message["tool_call_id"]] = message["content"]
    return [(name, json.dumps(arguments), results[id]) for id, (name, arguments) in calls.items()]


# --- Responses items ---


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", ["nw-30", "gw-04"])
async def test_a_case_of_a_shell_call_reaches_the_engine_with_its_output(name: str, engine: str) -> None:
    told = await cross("responses", engine, own_request(field_case(name)))
    assert told.status == 200, told.raw
    [(tool, arguments, result)] = engine_calls(told)
    assert tool in ("shell", "local_shell") and "ls" in arguments
    assert "FILE_A" in result or "a.txt" in result
    assert_no_empty_message(told)
    assert "foreign block" not in told.dropped


CALLS: dict[str, tuple[list[dict[str, Any]], str, str]] = {  # items, in the arguments, in the result
    "local_shell": (
        [
            {"type": "local_shell_call", "id": "lsh_1", "call_id": "c1", "action": {"type": "exec", "command": ["ls"]}},
            {"type": "local_shell_call_output", "id": "c1", "output": "a.txt"},
        ],
        "ls",
        "a.txt",
    ),
    "shell": (
        [
            {"type": "shell_call", "call_id": "c1", "action": {"commands": ["ls"]}},
            {"type": "shell_call_output", "call_id": "c1", "output": [{"stdout": "a.txt", "stderr": ""}]},
        ],
        "ls",
        "a.txt",
    ),
    "apply_patch": (
        [
            {"type": "apply_patch_call", "call_id": "c1", "operation": {"type": "delete_file", "path": "x.py"}},
            {"type": "apply_patch_call_output", "call_id": "c1", "status": "completed", "output": "deleted"},
        ],
        "x.py",
        "deleted",
    ),
    "tool_search": (
        [
            {"type": "tool_search_call", "call_id": "c1", "execution": "client", "arguments": {"goal": "weather"}},
            {
                "type": "tool_search_output",
                "call_id": "c1",
                "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
            },
        ],
        "weather",
        "get_weather",
    ),
    "tool_search without ids": (
        [
            {"type": "tool_search_call", "id": "ts_1", "call_id": None, "execution": "server", "arguments": {"q": "w"}},
            {
                "type": "tool_search_output",
                "id": "tso_1",
                "call_id": None,
                "tools": [{"type": "function", "name": "get_weather", "parameters": {"type": "object"}}],
            },
        ],
        "w",
        "get_weather",
    ),
    "mcp": (
        [{"type": "mcp_call", "id": "m1", "server_label": "docs", "name": "find", "arguments": '{"q":"x"}', "output": "page 7"}],
        "x",
        "page 7",
    ),
    "mcp approval": (
        [
            {"type": "mcp_approval_request", "id": "ma1", "server_label": "docs", "name": "find", "arguments": '{"q":"x"}'},
            {"type": "mcp_approval_response", "approval_request_id": "ma1", "approve": False, "reason": "private"},
        ],
        "x",
        "private",
    ),
    "code_interpreter": (
        [
            {
                "type": "code_interpreter_call", "id": "ci1", "code": "print(6*7)", "container_id": "x", "status": "completed",
                "outputs": [{"type": "logs", "logs": "42"}],
            }
        ],
        "6*7",
        "42",
    ),
    "file_search": (
        [{"type": "file_search_call", "id": "fs1", "queries": ["rent"], "results": [{"text": "900 euros"}]}],
        "rent",
        "900 euros",
    ),
    "program": (
        [
            {"type": "program", "id": "p1", "call_id": "cp", "code": "sum([1, 2])", "fingerprint": "f"},
            {"type": "program_output", "id": "po1", "call_id": "cp", "result": "3", "status": "completed"},
        ],
        "sum",
        "3",
    ),
    "custom": (
        [
            {"type": "custom_tool_call", "call_id": "c1", "name": "sql", "input": "select 1"},
            {"type": "custom_tool_call_output", "call_id": "c1", "output": "one row"},
        ],
        "select 1",
        "one row",
    ),
}  # fmt: skip


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize("name", CALLS)
async def test_nw_29_calls_of_the_responses_api_are_carried_with_their_results(name: str, engine: str) -> None:
    items, argument, output = CALLS[name]
    answer = {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Done."}]}
    told = await cross("responses", engine, {"input": [{"role": "user", "content": "Go"}, *items, answer, QUESTION]})
    assert told.status == 200, told.raw
    [(_, arguments, result)] = engine_calls(told)
    assert argument in arguments and output in result
    text = sent_text(told)
    assert text.index(output) < text.index("Done.") < text.index("What was it?")
    assert_no_empty_message(told)
    if name.startswith("tool_search"):
        assert json.dumps(told.sent[0]["tools"]).count("get_weather") == 1


async def test_a_screenshot_is_carried_as_a_picture() -> None:
    items = [
        {"type": "computer_call", "id": "cu", "call_id": "c1", "action": {"type": "click", "x": 1, "y": 2}},
        {
            "type": "computer_call_output",
            "call_id": "c1",
            "output": {"type": "computer_screenshot", "image_url": "data:image/png;base64,iVBORw0KGgo="},
        },
    ]
    told = await cross("responses", "anthropic", {"input": [{"role": "user", "content": "Go"}, *items]})
    assert told.status == 200, told.raw
    assert "click" in sent_text(told) and "iVBORw0KGgo=" in sent_text(told)


async def test_results_of_calls_that_ran_together_follow_all_of_them() -> None:
    mcp = {"type": "mcp_call", "id": "m1", "server_label": "d", "name": "find", "arguments": "{}", "output": "page"}
    items = [
        {"type": "function_call", "call_id": "a", "name": "f", "arguments": "{}"},
        mcp,
        {"type": "function_call", "call_id": "b", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "1"},
        {"type": "function_call_output", "call_id": "b", "output": "2"},
    ]
    told = await cross("responses", "anthropic", {"input": [{"role": "user", "content": "Go"}, *items]})
    [_, calls, results] = told.sent[0]["messages"]
    assert [block["id"] for block in calls["content"]] == ["a", "m1", "b"]
    assert {block["tool_use_id"] for block in results["content"]} == {"a", "m1", "b"}


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize(
    "item",
    [
        {"type": "web_search_call", "id": "ws", "status": "failed", "action": {"type": "search"}},
        {"type": "mcp_list_tools", "id": "ml", "server_label": "docs", "tools": []},
    ],
    ids=lambda item: item["type"],
)
async def test_what_the_answer_does_not_need_is_left_out_by_its_name(item: dict[str, Any], engine: str) -> None:
    told = await cross("responses", engine, {"input": [{"role": "user", "content": "Go"}, item, QUESTION]})
    assert told.status == 200, told.raw
    assert told.dropped == [item["type"]]
    assert_no_empty_message(told)


@pytest.mark.parametrize("engine", OTHERS)
@pytest.mark.parametrize(
    "item",
    [
        {"type": "compaction_trigger"},
        {"type": "compaction", "encrypted_content": "x"},
        {"type": "configuration_update", "reasoning": {"effort": "low", "summary": "auto"}},
        {"type": "new_tool_output", "call_id": "c", "output": "x"},
        {"type": "program", "id": "p1", "call_id": "cp", "code": "f()", "fingerprint": "f"},
    ],
    ids=lambda item: item["type"],
)
async def test_nw_27_what_the_answer_depends_on_is_refused_by_its_name(item: dict[str, Any], engine: str) -> None:
    told = await cross("responses", engine, {"input": [{"role": "user", "content": "Go"}, item]})
    assert told.status == 400 and item["type"] in told.raw.decode()
    assert not told.sent


@pytest.mark.parametrize("engine", OTHERS)
async def test_gw_02_tools_of_an_item_are_offered_like_others(engine: str) -> None:
    told = await cross("responses", engine, own_request(field_case("gw-02")))
    assert told.status == 200, told.raw
    text = json.dumps(told.sent[0]["tools"])
    assert '"shell"' in text and '"collaboration__spawn"' in text
    assert "additional_tools" not in told.dropped and "foreign block" not in told.dropped


async def test_tools_of_an_item_are_added_once() -> None:
    tool = {"type": "function", "name": "f", "parameters": {"type": "object", "properties": {}}}
    items = [{"type": "additional_tools", "role": "developer", "tools": [tool, {**tool, "name": "g"}]}, QUESTION]
    told = await cross("responses", "anthropic", {"input": items, "tools": [tool]})
    assert [one["name"] for one in told.sent[0]["tools"]] == ["f", "g"]


async def test_nw_28_an_update_of_the_configuration_is_applied() -> None:
    case = field_case("nw-28")
    told = await cross("responses", "anthropic", case["request"])
    assert told.status == 200, told.raw
    assert told.sent[0]["output_config"] == {"effort": "high"} and not told.dropped


async def test_the_last_update_of_each_setting_counts() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "string"}},
        "required": ["a"],
        "additionalProperties": False,
    }
    format_ = {"type": "json_schema", "name": "r", "schema": schema, "strict": True}
    items = [
        {"type": "configuration_update", "reasoning": {"effort": "low"}, "text": {"format": format_}},
        {"role": "user", "content": "x"},
        {"type": "configuration_update", "id": "cu_2", "reasoning": {"effort": "high"}},
    ]
    body = {"model": "anthropic/claude-opus-5-5", "reasoning": {"effort": "medium"}, "input": items}
    told = await cross("responses", "anthropic", body)
    config = told.sent[0]["output_config"]
    assert config["effort"] == "high" and config["format"]["type"] == "json_schema"


@pytest.mark.parametrize("engine", OTHERS)
async def test_ids_and_states_of_items_and_the_developer_s_role_are_no_losses(engine: str) -> None:
    items = [
        {"type": "message", "role": "developer", "content": "Be kind."},
        {"type": "message", "role": "user", "content": "Go", "id": "msg_1", "status": "completed"},
        {"type": "function_call", "id": "fc_1", "status": "completed", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "id": "fco_1", "status": "completed", "call_id": "c", "output": "r"},
    ]
    told = await cross("responses", engine, {"input": items})
    assert told.status == 200 and told.dropped == []
    if engine != "cerebras":
        messages = [{"role": "developer", "content": "Be kind."}, {"role": "user", "content": "Go"}]
        assert (await cross("chat", engine, {"messages": messages})).dropped == []


# --- Anthropic's blocks ---


@pytest.mark.parametrize("engine", FOR_MESSAGES)
async def test_nw_26_a_summary_takes_the_place_of_what_stands_before_it(engine: str) -> None:
    told = await cross("anthropic", engine, own_request(field_case("nw-26")))
    assert told.status == 200, told.raw
    text = sent_text(told)
    assert text.count("SUMMARY: the user is called Kim") == 1 and "What is my name?" in text
    assert "earlier" not in text and told.dropped == ["messages before compaction"]
    assert_no_empty_message(told)


@pytest.mark.parametrize("engine", FOR_MESSAGES)
async def test_nw_26_what_follows_a_summary_and_the_system_prompt_stay(engine: str) -> None:
    messages = [
        {"role": "user", "content": "earlier"},
        {
            "role": "assistant",
            "content": [
                {"type": "compaction", "content": "SUMMARY"},
                {"type": "text", "text": "I look."},
                {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
            ],
        },
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "found"}]},
    ]
    told = await cross("anthropic", engine, {"system": "Be kind.", "messages": messages})
    assert told.status == 200, told.raw
    text = sent_text(told)
    assert text.index("SUMMARY") < text.index("I look.") < text.index("found")
    assert "Be kind." in text and engine_calls(told) == [("f", '{"a": 1}', "found")]


@pytest.mark.parametrize("engine", FOR_MESSAGES)
async def test_nw_26_a_summary_that_only_its_provider_can_read_is_refused(engine: str) -> None:
    block = {"type": "compaction", "content": None, "encrypted_content": "x"}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [block]}, QUESTION]
    told = await cross("anthropic", engine, {"messages": messages})
    assert told.status == 400 and b"compaction" in told.raw and not told.sent


@pytest.mark.parametrize("engine", FOR_MESSAGES)
async def test_nw_26_a_failed_summary_is_left_out_by_its_name(engine: str) -> None:
    messages = [
        {"role": "user", "content": "earlier"},
        {"role": "assistant", "content": [{"type": "compaction", "content": None}, {"type": "text", "text": "Hi"}]},
        QUESTION,
    ]
    told = await cross("anthropic", engine, {"messages": messages})
    assert told.status == 200 and told.dropped == ["compaction"]
    assert "earlier" in sent_text(told) and "Hi" in sent_text(told)


@pytest.mark.parametrize("engine", FOR_MESSAGES)
async def test_gw_19_calls_that_anthropic_ran_are_carried_with_their_results(engine: str) -> None:
    blocks = [
        {"type": "mcp_tool_use", "id": "mcptoolu_1", "name": "find", "server_name": "docs", "input": {"q": "rent"}},
        {"type": "mcp_tool_result", "tool_use_id": "mcptoolu_1", "content": [{"type": "text", "text": "900 euros"}]},
        {"type": "text", "text": "It is 900."},
    ]
    messages = [{"role": "user", "content": "Rent?"}, {"role": "assistant", "content": blocks}, QUESTION]
    told = await cross("anthropic", engine, {"messages": messages})
    assert told.status == 200, told.raw
    assert engine_calls(told) == [("find", '{"q": "rent"}', "900 euros")]
    text = sent_text(told)
    assert text.index("900 euros") < text.index("It is 900.")
    assert not told.dropped


@pytest.mark.parametrize("engine", FOR_MESSAGES)
async def test_a_message_of_nothing_but_dropped_blocks_leaves_no_empty_message(engine: str) -> None:
    block = {"type": "container_upload_result", "file_id": "f"}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "content": [block]}, QUESTION]
    told = await cross("anthropic", engine, {"messages": messages})
    assert told.status == 200 and told.dropped == ["container_upload_result"]
    assert_no_empty_message(told)


# --- searches ---

ANSWER = {"type": "text", "text": "It is 4.0."}
SEARCHED: dict[str, tuple[str, list[dict[str, Any]]]] = {  # by client: the content of the assistant's turn
    "anthropic": (
        "anthropic",
        [
            {"type": "text", "text": "I search."},
            {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "newest Ruby"}},
            {
                "type": "web_search_tool_result",
                "tool_use_id": "srvtoolu_1",
                "content": [
                    {
                        "type": "web_search_result",
                        "url": "https://a.example",
                        "title": "Downloads",
                        "encrypted_content": "c2VjcmV0",
                        "page_age": None,
                    }
                ],
            },
            ANSWER,
        ],
    ),
    "responses": (
        "responses",
        [
            {
                "type": "web_search_call",
                "id": "ws_1",
                "status": "completed",
                "action": {"type": "search", "query": "newest Ruby", "queries": ["newest Ruby"]},
            },
            {
                "type": "message",
                "role": "assistant",
                "content": [
                    {
                        "type": "output_text",
                        "text": "It is 4.0.",
                        "annotations": [
                            {
                                "type": "url_citation",
                                "url": "https://a.example",
                                "title": "Downloads",
                                "start_index": 0,
                                "end_index": 5,
                            }
                        ],
                    }
                ],
            },
        ],
    ),
}


@pytest.mark.parametrize("engine", ["google", "ollama", "cerebras", "responses", "anthropic"])
@pytest.mark.parametrize("client", SEARCHED)
async def test_gw_10_a_past_search_is_a_text_with_its_sources(client: str, engine: str) -> None:
    if client == engine:
        return  # passed through
    _, turn = SEARCHED[client]
    if client == "anthropic":
        body: dict[str, Any] = {"messages": [QUESTION, {"role": "assistant", "content": turn}, QUESTION]}
    else:
        body = {"input": [QUESTION, *turn, QUESTION]}
    told = await cross(client, engine, body)
    assert told.status == 200 and told.dropped == [], told.raw
    text = sent_text(told)
    for part in ("Searched the web for", "newest Ruby", "https://a.example", "Downloads", "It is 4.0."):
        assert part in text
    assert "c2VjcmV0" not in text and engine_calls(told) == []
    assert_no_empty_message(told)


@pytest.mark.parametrize("engine", ["google", "cerebras"])
async def test_gw_10_a_failed_search_and_a_fetched_page_are_texts_too(engine: str) -> None:
    error = {"type": "web_search_tool_result_error", "error_code": "max_uses_exceeded"}
    source = {"type": "text", "media_type": "text/plain", "data": "The page says 42."}
    page = {"type": "web_fetch_result", "url": "https://b.example", "content": {"type": "document", "source": source}}
    turn = [
        {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}},
        {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": error},
        {"type": "server_tool_use", "id": "srvtoolu_2", "name": "web_fetch", "input": {"url": "https://b.example"}},
        {"type": "web_fetch_tool_result", "tool_use_id": "srvtoolu_2", "content": page},
        ANSWER,
    ]
    told = await cross("anthropic", engine, {"messages": [QUESTION, {"role": "assistant", "content": turn}, QUESTION]})
    text = sent_text(told)
    assert told.status == 200 and told.dropped == []
    assert "max_uses_exceeded" in text and "Fetched https://b.example" in text and "The page says 42." in text
