"""An answer that a client sends back as history reaches the engine unchanged (T1, T2).

Each recorded answer is sent to each client, which puts it into its next request as clients of its wire do. The engine
must then get the same messages as from the server's own tool loop, which keeps the neutral answer
(``test_recorded_loops`` compares that loop with the recorded requests), with every signature of the recorded bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import pytest

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult, UnknownPart
from llm.chat.provider_metadata import decode_id
from llm.chat.reply import Reply, collect
from llm.chat.request import ChatRequest, ToolSpec
from llm.dialects.gemini.shared import WEB_RUN
from llm.dialects.openai_chat.shared import CAME_IN
from llm.dialects.registry import ENGINE_DIALECTS
from llm.transport.interface import HttpRequest
from tests.dialects.test_recordings import events_of
from tests.gateway.test_recorded_loops import MESSAGES
from tests.support.crossing_clients import CLIENTS, Wire
from tests.support.harness import Client, ScriptedReply, ScriptedTransport, make_config, run_server
from tests.support.oracle import Answer, _values, arguments_of
from tests.support.recorded_server import make_case_id
from tests.support.recordings import Case, cases, read_expected

Turn = Callable[[Wire], list[Wire]]  # whole answer to the messages of the next request
FIELDS = {"responses": "input", "gemini": "contents"}  # other wires: messages


# --- what clients make of an answer ---


def chat(whole: Wire) -> list[Wire]:
    """Sends the whole message back, as OpenAI's client does."""
    return [whole["choices"][0]["message"]]


def chat_strict(whole: Wire) -> list[Wire]:
    """Sends only documented fields back."""
    message = whole["choices"][0]["message"]
    turn: Wire = {"role": "assistant", "content": message.get("content")}
    if calls := message.get("tool_calls"):
        turn["tool_calls"] = [
            {"id": c["id"], "type": "function", "function": {n: c["function"][n] for n in ("name", "arguments")}}
            for c in calls
        ]
    return [turn]


def responses(whole: Wire) -> list[Wire]:
    return list(whole["output"])


_ITEMS = {
    "message": ("type", "role", "content"),
    "reasoning": ("type", "summary", "encrypted_content"),
    "function_call": ("type", "call_id", "name", "arguments"),
}


def responses_strict(whole: Wire) -> list[Wire]:
    """Sends only known fields back, and no ids, since the items were not stored."""
    items = [item for item in whole["output"] if item["type"] in _ITEMS]
    return [{name: item[name] for name in _ITEMS[item["type"]] if name in item} for item in items]


def anthropic(whole: Wire) -> list[Wire]:
    blocks = [{name: value for name, value in block.items() if name != "_text"} for block in whole["content"]]
    return [{"role": "assistant", "content": blocks}] if blocks else []


def ollama(whole: Wire) -> list[Wire]:
    return [whole["message"]]


def ollama_strict(whole: Wire) -> list[Wire]:
    """Sends calls without ids, as Ollama's own client does."""
    message = dict(whole["message"])
    if calls := message.get("tool_calls"):
        functions = [{n: call["function"][n] for n in ("name", "arguments")} for call in calls]
        message["tool_calls"] = [{"function": function} for function in functions]
    return [message]


def gemini(whole: Wire) -> list[Wire]:
    """Sends the content back, as the chats of Google's SDKs do."""
    content = whole["candidates"][0].get("content")
    return [content] if content else []


def gemini_strict(whole: Wire) -> list[Wire]:
    """Sends text and calls alone, without ids and signatures, one content for each part."""
    [content] = gemini(whole) or [{"parts": []}]
    parts = [part for part in content["parts"] if not part.get("thought")]
    calls = [one["functionCall"] for one in parts if "functionCall" in one]
    texts = [{"text": part["text"]} for part in parts if part.get("text")]
    written = [*texts, *({"functionCall": {n: call[n] for n in ("name", "args")}} for call in calls)]
    return [{"role": "model", "parts": [part]} for part in written]


# --- what they send with it ---


def write_result(wire: str, id: str, name: str) -> Wire:
    match wire:
        case "chat completions":
            return {"role": "tool", "tool_call_id": id, "content": f"of {name}"}
        case "responses":
            return {"type": "function_call_output", "call_id": id, "output": f"of {name}"}
        case "ollama chat":
            return {"role": "tool", "tool_name": name, "content": f"of {name}"}
        case "gemini":
            return {"functionResponse": {"name": name, "response": {"result": f"of {name}"}}}
    return {"type": "tool_result", "tool_use_id": id, "content": f"of {name}"}


def write_next_turn(wire: str, results: Sequence[Wire]) -> list[Wire]:
    if wire == "gemini":
        return [{"role": "user", "parts": [*results] or [{"text": "And?"}]}]
    if not results:
        return [{"role": "user", "content": "And?"}]
    return [{"role": "user", "content": [*results]}] if wire == "anthropic" else [*results]


@dataclass(frozen=True)
class HistoryClient:
    """A client that sends history: its wire and its form of an answer."""

    wire: str
    turn: Turn
    dialect: str
    ids: bool = True  # it sends the ids of calls back


# The client that sends the fewest fields comes first, so that the server can know the rest only from the first answer.
BACK: Mapping[str, HistoryClient] = {
    "chat completions, strict": HistoryClient("chat completions", chat_strict, "openai-chat"),
    "chat completions": HistoryClient("chat completions", chat, "openai-chat"),
    "responses, strict": HistoryClient("responses", responses_strict, "openai-responses"),
    "responses": HistoryClient("responses", responses, "openai-responses"),
    "anthropic": HistoryClient("anthropic", anthropic, "anthropic"),
    "gemini, strict": HistoryClient("gemini", gemini_strict, "gemini", ids=False),
    "gemini": HistoryClient("gemini", gemini, "gemini"),
    "ollama, strict": HistoryClient("ollama chat", ollama_strict, "ollama", ids=False),
    "ollama": HistoryClient("ollama chat", ollama, "ollama"),
}


# --- what the engine is to be sent ---


@cache
def read_replies() -> Mapping[str, Reply]:
    """Returns the recorded answers that a conversation can continue from, by case name."""
    wanted = ((case, read_expected(case)) for case in cases())
    ended = [case for case, answer in wanted if isinstance(answer, Answer) and answer.finish != "error"]
    return {case.name: collect(events_of(case, case.response, (case.response.body,))) for case in ended}


def get_crossing_reply(back: HistoryClient, case: Case) -> Reply | None:
    """Returns the recorded answer; None if client and engine have the same dialect, so that nothing is translated."""
    return None if case.engine.dialect == back.dialect else read_replies().get(case.name)


def get_calls(reply: Reply) -> list[ToolCall]:
    return [call for call in reply.calls if call.executor == "client"]


def write_expected(case: Case, reply: Reply, number: int, ids: Sequence[str], named_results: bool = False) -> Any:
    """Returns the messages of the server's own tool loop. Generated call ids are replaced by those of the client."""
    named = dict(zip([call.id for call in get_calls(reply)], ids, strict=True))
    parts = [replace(p, id=named.get(p.id, p.id)) if isinstance(p, ToolCall) else p for p in reply.message.parts]
    reply = replace(reply, message=replace(reply.message, parts=tuple(parts)))
    calls = get_calls(reply)
    names = [call.name if named_results else None for call in calls]
    results = tuple(ToolResult(c.id, (Text(f"of {c.name}"),), name=n) for c, n in zip(calls, names, strict=True))
    request = ChatRequest(
        model=f"case-{number}",
        messages=(
            Message("user", (Text("x"),)),
            reply.message,
            Message("user", results or (Text("And?"),)),
        ),
        tools=tuple(ToolSpec(name, "", {"type": "object", "properties": {}}) for name in {call.name for call in calls}),
    )
    engine = replace(case.engine, base_url="https://provider.invalid")
    return get_messages(ENGINE_DIALECTS[engine.dialect].write_request(request, engine).body, case)


def get_messages(body: Any, case: Case) -> list[Any]:
    messages: list[Any] = json.loads(json.dumps(body))[MESSAGES.get(case.engine.dialect, "messages")]
    return messages


# --- what cannot come back, and why ---


def _hosted(case: Case, reply: Reply) -> bool:
    return any(
        isinstance(p, UnknownPart) or (isinstance(p, ToolCall) and p.executor == "provider")
        for p in _parts(reply)
        if not any(WEB_RUN in opaque.data for opaque in p.metadata)  # Gemini needs its searches not back
    )


def _signed_text(case: Case, reply: Reply) -> bool:
    return case.engine.dialect == "gemini" and any(isinstance(part, Text) and part.metadata for part in _parts(reply))


def _cited(case: Case, reply: Reply) -> bool:
    return case.engine.dialect == "anthropic" and any(isinstance(p, Text) and p.citations for p in _parts(reply))


def _silent(case: Case, reply: Reply) -> bool:
    text = [part for part in _parts(reply) if not isinstance(part, Text) or part.text]
    return case.engine.dialect == "openai-chat" and not text


def _phase(case: Case, reply: Reply) -> bool:
    kept = [opaque.data.get("item") for part in _parts(reply) if isinstance(part, Text) for opaque in part.metadata]
    return any(isinstance(item, dict) and "phase" in item for item in kept)


def _picture(case: Case, reply: Reply) -> bool:
    return any(isinstance(part, Media) for part in _parts(reply))


def _no_object(case: Case, reply: Reply) -> bool:
    return any(not isinstance(arguments_of(call.arguments), dict) for call in get_calls(reply))


def _thought(case: Case, reply: Reply) -> bool:
    """True if the engine needs its reasoning back."""
    kept = tuple(part for part in _parts(reply) if not isinstance(part, Reasoning))
    ids = [call.id for call in get_calls(reply)]
    without = replace(reply, message=replace(reply.message, parts=kept))
    return is_different(case, reply, without, ids)


def _thought_alone(case: Case, reply: Reply) -> bool:
    return not get_calls(reply) and _thought(case, reply)


def _signed_alone(case: Case, reply: Reply) -> bool:
    """Returns True unless the answer is a thought alone whose engine needs no more than its text."""
    parts = _parts(reply)
    fields = {name for part in parts if isinstance(part, Reasoning) for one in part.metadata for name in one.data}
    is_more = bool(fields - {CAME_IN}) or not all(isinstance(part, Reasoning) for part in parts)
    return is_more and _thought_alone(case, reply)


def is_different(case: Case, one: Reply, other: Reply, ids: Sequence[str]) -> bool:
    mine, theirs = (write_expected(case, reply, 0, ids) for reply in (one, other))
    return [*map(normalise, mine)] != [*map(normalise, theirs)]


def _parts(reply: Reply) -> tuple[Part, ...]:
    return reply.message.parts


OLLAMA, STRICT = ("ollama", "ollama, strict"), "chat completions, strict"
GEMINI = ("gemini", "gemini, strict")
# Answers that differ when these clients send them back. An entry that no longer differs fails.
EXCEPTIONS: Mapping[str, tuple[Sequence[str], Callable[[Case, Reply], bool]]] = {
    "what the provider ran itself has no word on another wire": ([*BACK], _hosted),
    "no wire has a place for a signature on text; Google wants none back but on calls": ([*BACK], _signed_text),
    "Anthropic's citations have no words on another wire": ([*BACK], _cited),
    "the phase of an answer has no word on another wire": ([one for one in BACK if one != "gemini"], _phase),
    "what a client of another wire sends back holds no picture of the model's": ([*BACK], _picture),
    "an answer of nothing is no item, and no block": (
        ["responses", "responses, strict", "anthropic", *GEMINI],
        _silent,
    ),
    "these wires have objects only, whatever the model wrote": (["anthropic", *GEMINI, *OLLAMA], _no_object),
    "this client sends no thought, and there is no call to know the answer by": ([STRICT], _thought_alone),
    "these clients have no field for a signature, and no call to know the answer by": (
        [*OLLAMA, "gemini, strict"],
        _signed_alone,
    ),
}


def list_exceptions(name: str, case: Case) -> list[str]:
    return [why for why, (clients, _) in EXCEPTIONS.items() if name in clients and _covered(why, case.name)]


@cache
def _covered(why: str, name: str) -> bool:
    [case] = (case for case in cases() if case.name == name)
    return EXCEPTIONS[why][1](case, read_replies()[name])


@dataclass(frozen=True)
class FirstAnswer:
    """A client's request and its answer."""

    body: Wire
    whole: Wire
    ids: Sequence[str]  # of the calls


async def request_first(wire: str, server: Client, number: int, case: Case) -> FirstAnswer | str:
    """Returns the first answer for a client of this wire, or the reason why it could not be read."""
    client, names = CLIENTS[wire], [*dict.fromkeys(call.name for call in get_calls(read_replies()[case.name]))]
    try:
        body = client.ask(f"{make_case_id(case)}/case-{number}", case.streamed, names)
        answer = await server.post(client.url_of(body), body, client.headers)
        raw = await answer.body()
        assert answer.status == 200, raw
        whole = client.assemble(raw) if case.streamed else json.loads(raw)
        return FirstAnswer(body, whole, [call.id or "" for call in client.read_content(whole).calls if not call.hosted])
    except Exception as broken:
        return f"{type(broken).__name__}: {broken}"[:2000]


async def find_difference(
    back: HistoryClient,
    server: Client,
    answered: FirstAnswer | str | None,
    sent: Mapping[int, list[Any]],
    number: int,
    case: Case,
) -> str | None:
    """Returns the first difference from the messages of the server's own tool loop."""
    if not isinstance(answered, FirstAnswer):
        return answered
    client, reply, before = CLIENTS[back.wire], read_replies()[case.name], len(sent[number])
    calls = get_calls(reply)
    results = [write_result(back.wire, id, call.name) for id, call in zip(answered.ids, calls, strict=True)]
    field = FIELDS.get(back.wire, "messages")
    again = {**answered.body, "stream": False}
    again[field] = [*answered.body[field], *back.turn(answered.whole), *write_next_turn(back.wire, results)]
    again.pop("stream_options", None)
    answer = await server.post(client.url_of(again), again, client.headers)
    raw = await answer.body()
    if len(sent[number]) == before:
        return f"{answer.status}: {raw!r}"
    went = sent[number][-1]
    ids = [decode_id(id) for id in answered.ids]  # the engine gets the ids that it gave itself
    mine, theirs = (
        get_messages(went, case),
        write_expected(case, reply, number, ids, back.dialect in ("gemini", "ollama")),
    )
    if not back.ids:
        mine, theirs = drop_ids(mine), drop_ids(theirs)
    for ours, wanted in zip(map(normalise, mine), map(normalise, theirs), strict=False):
        if ours != wanted:
            return f"{json.dumps(ours)[:1500]} is not {json.dumps(wanted)[:1500]}"
    if len(mine) != len(theirs):
        return f"{len(mine)} messages, not {len(theirs)}: {json.dumps(mine)[:1500]}"
    lost = [one for one in read_signatures(case) if calls and json.dumps(one) not in json.dumps(went)]
    return f"signatures that did not come back: {lost}" if lost else None


_SIGNED = ("signature", "thoughtSignature", "thought_signature", "encrypted_content")


# Signed on the message, in an early form of Google's imitation of OpenAI, which needs it back on calls only.
_UNWANTED = frozenset({"google/chat-compatible-api-with-tool-calls-without-id-3c837a#0"})


def read_signatures(case: Case) -> list[str]:
    """Returns the signatures in the recorded bytes, read without the server's readers."""
    if (
        case.engine.dialect == "ollama"
        or case.name in _UNWANTED
        or not any(n.encode() in case.response.body for n in _SIGNED)
    ):
        return []
    values, _, _ = _values(case.response.body.decode().replace("\r\n", "\n"))
    # An item of a response is complete in its last events; when it is added it may have another signature.
    return [one for v in values if not str(v.get("type", "")).startswith("response.") for one in signed(v)] + [
        one for v in values if v.get("type") == "response.output_item.done" for one in signed(v)
    ]


def signed(value: Any) -> Iterator[str]:
    for name, inner in value.items() if isinstance(value, dict) else ():
        if name in _SIGNED and isinstance(inner, str) and inner:
            yield inner
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from signed(inner)


def normalise(message: Any) -> Any:
    """Normalises a message: arguments as JSON values, consecutive texts as one."""
    message = json.loads(json.dumps(message))
    for call in (message, *(message.get("tool_calls") or ())):
        inner = call.get("function", call)
        if isinstance(inner.get("arguments"), str):
            inner["arguments"] = arguments_of(inner["arguments"])
    if message.get("type") in ("message", "function_call"):  # an item
        for name in ("id", "status"):
            message.pop(name, None)
    for field in ("content", "parts"):
        if isinstance(message.get(field), list):
            message[field] = join_texts(message[field])
    return message


def join_texts(parts: Sequence[Wire]) -> Any:
    out: list[Wire] = []
    for part in parts:
        text = part.get("text", part.get("refusal"))
        plain = text is not None and not part.keys() - {"type", "text", "refusal", "annotations", "logprobs"}
        if plain and out and "said" in out[-1]:
            out[-1]["said"] += text
        else:
            out.append({"said": text} if plain else part)
    return out[0]["said"] if len(out) == 1 and "said" in out[0] else out


def drop_ids(value: Any) -> Any:
    if isinstance(value, list):
        return [drop_ids(one) for one in value]
    if isinstance(value, dict):
        ids = ("id", "tool_call_id", "tool_use_id", "call_id")
        return {name: drop_ids(one) for name, one in value.items() if name not in ids}
    return value


REFUSED: tuple[int, Mapping[str, str], list[bytes]] = (400, {}, [b'{"error": {"message": "Enough."}}'])


async def find_faults(wire: str) -> dict[str, dict[str, str]]:
    """Returns faults by client and case name. All clients of a wire get the same answer, so it is requested once."""
    everything, backs = cases(), {name: back for name, back in BACK.items() if back.wire == wire}
    engines = {
        make_case_id(case): replace(case.engine, base_url="https://provider.invalid", always_translate=True)
        for case in everything
    }
    enabled = frozenset(engine.name for engine in engines.values())
    configured = replace(make_config(MAX_RETRIES="0"), engines=engines, enabled=enabled)
    sent: dict[int, list[Any]] = {number: [] for number in range(len(everything))}

    def answer(request: HttpRequest) -> ScriptedReply:
        found = re.search(rb"case-(\d+)", request.url.encode() + (request.body or b""))
        assert found is not None
        number = int(found[1])
        sent[number].append(json.loads(request.body or b""))
        response = everything[number].response
        # The second request is inspected when it is sent; its answer is not needed.
        return ScriptedReply(*(REFUSED if sent[number][1:] else (response.status, response.headers, [response.body])))

    faults: dict[str, dict[str, str]] = {name: {} for name in backs}
    async with run_server(configured, https=ScriptedTransport(answer)) as serves:
        with serves.reuse_connection() as server:
            for number, case in enumerate(everything):  # one by one: some were recorded twice with the same ids
                names = [name for name, back in backs.items() if get_crossing_reply(back, case) is not None]
                answered = await request_first(wire, server, number, case) if names else None
                for name in names:
                    try:
                        fault = await find_difference(backs[name], server, answered, sent, number, case)
                    except Exception as broken:
                        fault = f"{type(broken).__name__}: {broken}"[:2000]
                    if fault is not None:
                        faults[name][case.name] = fault
    return faults


@pytest.mark.parametrize("wire", dict.fromkeys(back.wire for back in BACK.values()))
async def test_t1_a_recorded_answer_returns_to_its_engine_unchanged(wire: str) -> None:
    for name, faults in (await find_faults(wire)).items():
        crossing = [case for case in cases() if get_crossing_reply(BACK[name], case) is not None]
        why = {case.name: found for case in crossing if (found := list_exceptions(name, case))}
        print(f"recorded answers back from a client of {name}: {len(crossing) - len(faults)} of {len(crossing)}")
        new = {case: fault for case, fault in faults.items() if case not in why}
        assert not new, f"{name}: {len(new)} of {len(crossing)}: {json.dumps(new, indent=1)}"
        still = {case: found for case, found in why.items() if case not in faults}
        assert not still, f"{name}: no longer exceptional: {json.dumps(still, indent=1)}"
        assert len(crossing) > 300


def test_each_exception_is_needed() -> None:
    covered = {
        why
        for name, back in BACK.items()
        for case in cases()
        if get_crossing_reply(back, case)
        for why in list_exceptions(name, case)
    }
    assert covered == set(EXCEPTIONS)
