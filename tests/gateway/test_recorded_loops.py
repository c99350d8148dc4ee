"""The recorded tool loops, replayed turn by turn through the running server with their tools scripted.

What the provider was sent added_messages the first round of a recording is what this server has to send there too: the same
thoughts, texts, calls and results in the same order, with the same ids and signatures. Where it is not, the client that
made the recording had a way of its own; ``EXCEPTIONS`` says which.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pytest

from llm.chat.request import ToolSpec
from llm.tools.base import ToolFailed, ToolState
from llm.transport.interface import HttpRequest
from llm.wire.json_codec import Json
from tests.support.harness import CLIENT, ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.recordings import Case, cases

MESSAGES = {"openai-responses": "input", "gemini": "contents"}  # other dialects: messages
SHARE = 143  # of 181 loops that have to be equal
Mark = tuple[Any, ...]

# Why a loop was otherwise then, and which.
EXCEPTIONS: Mapping[str, tuple[str, ...]] = {
    "its client left out ids that the wire does not need": (
        "google/gen-multimodal-tool-attachments-gemini-gemini-3-flash-preview-de-f14b7f#0",
        "google/gen-multimodal-tool-attachments-gemini-gemini-3-flash-preview-re-7daa7a#0",
        "google-vertex/gen-function-calling-thought-signatures-vertexai-gemini-3-1-pro-f8fc81#0",
        "openai/responses-stream-function-calling-openai-gpt-5-nano-can-use-tools-with-multi-fd6e0c#0",
        "openai/responses-stream-function-calling-openai-gpt-5-nano-can-use-tools-with-multi-fd6e0c#2",
        "xai/responses-function-calling-xai-grok-4-1-fast-non-reasoning-can-handle-f9037f#0",
        "xai/responses-function-calling-xai-grok-4-1-fast-non-reasoning-can-use-par-50b192#0",
        "xai/responses-function-calling-xai-grok-4-1-fast-non-reasoning-can-use-too-8c66da#0",
        "xai/responses-stream-function-calling-xai-grok-4-1-fast-non-reasoning-can-use-too-e76139#0",
        "xai/responses-stream-function-calling-xai-grok-4-1-fast-non-reasoning-can-use-too-e76139#2",
    ),
    "its client named calls by the ids of their items": (
        "openai/responses-stream-chat-test-chat-callbacks-556d62#0",
        "openai/responses-stream-chat-test-chat-tool-request-reject-09d528#0",
        "openai/responses-stream-chat-tool-request-reject2-e537ca#0",
        "openai/responses-testthat-chat-tools-reject-callback-b30c64#0",
        "openai/responses-vignettes-programming-turns-1abc41#0",
    ),
    "its client left out a text or thought of the model": (
        "azure/chat-deepseek-r1-0528-tool-round-trip-1-66c270#0",
        "cerebras/chat-gpt-oss-120b-tool-round-trip-1-8fb443#0",
        "ollama/chat-stream-agent-functions-with-streaming-783399#0",
        "anthropic/messages-claude-sonnet-4-computer-use-888962#0",
        "anthropic/messages-stream-claude-sonnet-4-computer-use-streaming-0f2059#0",
        "anthropic/messages-testthat-anthropic-tool-e9cfe6#2",
        "azure/responses-azure-gpt-5-mini-thinking-50959a#0",
        "azure/responses-stream-azure-gpt-5-mini-thinking-streaming-2114a5#0",
    ),
    "its client changed the signed details of the thoughts": (
        "openrouter/chat-grok-multi-tool-575dbc#0",
        "openrouter/chat-stream-glm-multi-tool-streaming-6ab603#0",
        "openrouter/chat-stream-glm-tool-streaming-5bf1ea#0",
        "openrouter/chat-stream-grok-multi-tool-streaming-e0f461#0",
        "openrouter/chat-stream-kimi-multi-tool-streaming-340adc#0",
        "vercel-gateway/chat-stream-gemini-3-pro-preview-thinking-streaming-03e3eb#0",
    ),
    "its client sent thoughts as text where details had come": (
        "avian/chat-stream-avian-kimi-thinking-streaming-e6eb23#0",
        "avian/chat-stream-avian-kimi-tool-streaming-f70e28#0",
        "doubleword/chat-conformance-tool-output-serialization-caa871#0",
        "doubleword/chat-stream-streaming-tools-streaming-tools-smoke-5b8514#0",
    ),
    "its client referred to a thought that the provider had stored, which ours is asked not to": (
        "github-copilot/responses-prompt-typed-with-tool-call-roundtrip-f0f907#0",
        "xai/responses-stream-permission-control-streaming-example-012c3e#0",
    ),
    "its client put the id in the place of the name": ("google/gen-stream-e2e-testexec-gemini-toolcall-3c498f#0",),
    "its client gave a broken call of the model back to it, which came as an error": (
        "groq/chat-groq-test-tool-use-failed-error-8119fa#0",
        "groq/chat-stream-tool-use-failed-error-streaming-8282cc#0",
    ),
}


@dataclass(frozen=True)
class Loop:
    """Exchanges of one recording; each continues the one before with the results of its tools."""

    rounds: tuple[Case, ...]

    @property
    def name(self) -> str:
        return self.rounds[0].name


def sent(case: Case) -> list[Any]:
    body = case.request.body
    messages = body.get(MESSAGES.get(case.engine.dialect, "messages")) if isinstance(body, dict) else None
    return messages if isinstance(messages, list) else [{"role": "user", "content": messages}]


def added_messages(case: Case, before: Case) -> list[Any]:
    """Returns the messages that a request adds to those of the request before."""
    return sent(case)[len(sent(before)) :]


def loops() -> Iterator[Loop]:
    """Yields the loops: sequences in which each request adds exactly an answer and the results of its calls."""
    rounds: list[Case] = []
    for case in [case for case in cases() if "tool-loop" in case.recording.features]:
        goes_on = rounds and rounds[-1].recording is case.recording and _is_next(case, rounds[-1])
        if not goes_on:
            if len(rounds) > 1:
                yield Loop(tuple(rounds))
            rounds = []
        rounds.append(case)
    if len(rounds) > 1:
        yield Loop(tuple(rounds))


def _is_next(case: Case, before: Case) -> bool:
    body = case.request.body
    if not isinstance(body, dict) or "previous_response_id" in body or before.response.status != 200:
        return False
    marks = list(marks_of(added_messages(case, before), case.engine.dialect))
    asked = any(message.get("role") == "user" and not _has_result(message) for message in added_messages(case, before))
    return not asked and any(mark[0] == "call" for mark in marks) and any(mark[0] == "result" for mark in marks)


def _has_result(message: Mapping[str, Any]) -> bool:
    parts = message.get("content") if "content" in message else message.get("parts")
    return isinstance(parts, list) and any(
        part.get("type") == "tool_result" or "functionResponse" in part for part in parts if isinstance(part, dict)
    )


# --- the contents of messages of a dialect, in order ---


def marks_of(messages: Sequence[Any], wire: str) -> Iterator[Mark]:
    for message in messages:
        match wire:
            case "openai-chat":
                yield from _chat(message)
            case "anthropic":
                for block in _blocks(message.get("content")):
                    yield _anthropic(block)
            case "gemini":
                for part in message["parts"]:
                    yield _gemini(part)
            case "openai-responses":
                yield _item(message)
            case "ollama":
                yield from _ollama(message)


def _blocks(content: Any) -> list[Any]:
    if isinstance(content, str):
        return [{"type": "text", "text": content}] if content else []
    return content or []


def _text(content: Any) -> str:
    """The text of a result, in any form."""
    return "".join(block.get("text", "") if isinstance(block, dict) else str(block) for block in _blocks(content))


def _value(text: Any) -> Any:
    """The value of a JSON text, so that white space does not matter."""
    try:
        return json.loads(text) if isinstance(text, str) else text
    except ValueError:
        return text


def _chat(message: Mapping[str, Any]) -> Iterator[Mark]:
    if message["role"] == "tool":
        yield "result", message["tool_call_id"], _value(_text(message["content"]))
        return
    for name in ("reasoning_content", "reasoning"):
        if message.get(name):
            yield "thought", message[name]
            break
    if message.get("reasoning_details"):
        yield "signature", message["reasoning_details"]
    for block in _blocks(message.get("content")):
        if block.get("text", "x").strip():
            yield block.get("type"), block.get("text", block)
    for call in message.get("tool_calls") or ():
        function = call["function"]
        yield (
            "call",
            call["id"],
            function["name"],
            _value(function.get("arguments") or "{}") or {},
            call.get("extra_content"),
        )


def _anthropic(block: Mapping[str, Any]) -> Mark:
    match block["type"]:
        case "tool_use":
            return "call", block["id"], block["name"], block["input"]
        case "tool_result":
            return "result", block["tool_use_id"], _value(_text(block.get("content")))
        case "text":
            return "text", block["text"]
    return block["type"], {name: value for name, value in block.items() if name != "cache_control"}


def _gemini(part: Mapping[str, Any]) -> Mark:
    signature = part.get("thoughtSignature")
    if "functionCall" in part:
        call = part["functionCall"]
        return "call", call.get("id"), call["name"], call.get("args") or {}, signature
    if "functionResponse" in part:
        answer = part["functionResponse"]
        return "result", answer.get("id"), answer["name"], _unwrap(answer["response"])
    if part.get("thought"):
        return "thought", part.get("text"), signature
    return "text", part.get("text"), signature


def _unwrap(response: Any) -> Any:
    """The result inside of the object that the dialect requires; clients use different names for it."""
    match response:
        case {"result": value} | {"output": value} | {"content": value} | {"return_value": value}:
            return _value(value) if len(response) == 1 or "name" in response else response
    return response


def _item(item: Mapping[str, Any]) -> Mark:
    match item.get("type", "message"):
        case "function_call":
            return "call", item["call_id"], item["name"], _value(item["arguments"])
        case "function_call_output":
            return "result", item["call_id"], _value(_text_of_output(item["output"]))
        case "reasoning":
            return "reasoning", item.get("id"), item.get("encrypted_content"), item.get("summary")
        case "message":
            return "text", _text(item.get("content"))
    return item["type"], dict(item)


def _text_of_output(output: Any) -> Any:
    return "".join(part.get("text", "") for part in output) if isinstance(output, list) else output


def _ollama(message: Mapping[str, Any]) -> Iterator[Mark]:
    if message["role"] == "tool":
        yield "result", message.get("tool_name"), _value(message["content"])
        return
    if message.get("thinking"):
        yield "thought", message["thinking"]
    if message.get("content"):
        yield "text", message["content"]
    for call in message.get("tool_calls") or ():
        yield "call", call["function"]["name"], call["function"]["arguments"]


# --- the replay ---


class Scripted:
    """A tool with recorded results, in the order of its calls."""

    def __init__(self, name: str, results: list[Any]) -> None:
        self.spec = ToolSpec(name, "", {"type": "object"}, executor="server")
        self.paid = False
        self._results = results

    def describe(self, state: ToolState, arguments: Mapping[str, Json]) -> str:
        return ""

    async def __call__(self, arguments: Mapping[str, Json]) -> Json:
        if not self._results:
            raise ToolFailed("There is no more of it in the recording.")
        value: Json = self._results.pop(0)
        return value


def tools_of(loop: Loop) -> dict[str, Scripted]:
    """Returns the tools by name, with their results matched by id, or by order if there are no ids."""
    results: dict[str, list[Any]] = {}
    wire = loop.rounds[0].engine.dialect
    for before, case in zip(loop.rounds, loop.rounds[1:], strict=False):
        marks = list(marks_of(added_messages(case, before), wire))
        answers = [mark for mark in marks if mark[0] == "result"]
        for call in [mark for mark in marks if mark[0] == "call"]:
            name = call[1] if wire == "ollama" else call[2]
            id = call[1]
            own = [answer for answer in answers if answer[1] == id] if id is not None else []
            answer = (own or answers)[0] if answers else None
            if answer is not None:
                answers.remove(answer)
                results.setdefault(name, []).append(answer[-1])
    return {name: Scripted(name, given) for name, given in results.items()}


async def replayed(loop: Loop) -> list[list[Any]]:
    """Returns the messages that this server sends to the provider in each round."""
    first = loop.rounds[0]
    engine = replace(first.engine, base_url="https://provider.invalid")
    requests: list[Any] = []

    def answer(request: HttpRequest) -> ScriptedReply:
        response = loop.rounds[min(len(requests), len(loop.rounds) - 1)].response
        requests.append(json.loads(request.body or b""))
        return ScriptedReply(response.status, response.headers, [response.body])

    configured = replace(make_config(MAX_RETRIES="0"), engines={engine.name: engine}, enabled=frozenset({engine.name}))
    async with run_server(configured, https=ScriptedTransport(answer), tools=tools_of(loop)) as server:
        # The API of the recorded client decides which of the engine's two APIs is used.
        body = {"engine": engine.name, "model": first.recording.model or "model", "prompt": "x", "tools": True}
        body |= {"stream": first.streamed}
        reply = await server.post("/llm/chat", body, {**CLIENT, "Accept": "application/x-ndjson"})
        output = await reply.body()  # may end with an error, as the recording
    assert requests, output
    field = MESSAGES.get(engine.dialect, "messages")
    return [request[field] for request in requests]


def comparable(marks: Iterator[Mark], loop: Loop) -> list[Mark]:
    """Removes what has two spellings, and ids that a client generated."""
    engine = loop.rounds[0].engine
    answers = "".join(case.response.body.decode(errors="replace") for case in loop.rounds)
    out: list[Mark] = []
    for mark in marks:
        if mark[0] == "text" and not (mark[1] or "").strip() and not (mark[2:] and mark[2]):
            continue  # Anthropic refuses blank text with 400; Gemini sends it at the end
        if mark[0] in ("call", "result") and engine.dialect != "ollama":
            id = mark[1] if mark[1] and json.dumps(mark[1]) in answers else None
            mark = (mark[0], id, *mark[2:])
        if engine.dialect == "gemini" and isinstance(mark[-1], str) and mark[0] != "result":
            mark = (*mark[:-1], mark[-1].replace("-", "+").replace("_", "/"))  # both alphabets of base64
        out.append(mark)
    return out


async def difference(loop: Loop) -> str | None:
    """Returns the first difference from the recording."""
    ours = await replayed(loop)
    wire = loop.rounds[0].engine.dialect
    if len(ours) < len(loop.rounds):
        return f"{len(ours)} rounds instead of {len(loop.rounds)}"
    for number, (before, case) in enumerate(zip(loop.rounds, loop.rounds[1:], strict=False), 1):
        theirs = comparable(marks_of(added_messages(case, before), wire), loop)
        mine = comparable(marks_of(ours[number][len(ours[number - 1]) :], wire), loop)
        if mine != theirs:
            extra = [mark for mark in mine if mark not in theirs]
            missing = [mark for mark in theirs if mark not in mine]
            return f"round {number}: only here {extra}, only there {missing}"[:2000]
    return None


async def test_t1_recorded_tool_loops_are_sent_back_as_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    everything = [*loops()]
    faults = {loop.name: fault for loop in everything if (fault := await difference(loop)) is not None}
    summary = f"{len(everything) - len(faults)} of {len(everything)}"
    with capsys.disabled():
        print(f"\nrecorded tool loops that are sent as recorded: {summary}")
    exceptional = {name for names in EXCEPTIONS.values() for name in names}
    new = {name: fault for name, fault in faults.items() if name not in exceptional}
    assert not new, json.dumps(new, indent=1)
    assert not exceptional - set(faults), "no longer exceptional: take them off the list"
    assert len(everything) - len(faults) >= SHARE
