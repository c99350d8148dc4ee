"""The prompts of this server: the same for each turn of a conversation, so that caches and signed reasoning hold."""

from __future__ import annotations

import time
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from llm.chat.messages import Message, Text
from llm.gateway.prompts import add_dates, date_prompt, default_system_message, read_date
from tests.support.field_cases import field_case
from tests.support.harness import Client, Connection, Request, Upstream, make_config, run_server
from tests.support.threads import create_thread, read_thread
from tests.support.wires import WIRES

MONDAY = date(2026, 11, 30)
TUESDAY = date(2026, 12, 1)
NOON = datetime(2026, 11, 30, 12, tzinfo=UTC).timestamp()
ENGINES = ["openai", "anthropic", "google", "ollama"]


def user(text: str) -> Message:
    return Message("user", (Text(text),))


def test_the_default_prompt_names_the_date_and_no_time_of_day() -> None:
    (text,) = default_system_message(MONDAY).parts
    assert isinstance(text, Text) and text.text.endswith(" The date is Monday, 30 November 2026.")
    assert ":" not in text.text


def test_a_turn_of_a_thread_is_sent_as_it_was_first_sent_whatever_the_day() -> None:
    one = date_prompt((), user("one"), MONDAY)
    two = date_prompt((one,), user("two"), MONDAY)
    assert read_date(one) == MONDAY and two == user("two")
    three = date_prompt((one, two), user("three"), TUESDAY)
    four = date_prompt((one, two, three), user("four"), TUESDAY)
    assert four == user("four")
    sent = add_dates((one, two, three, four))
    assert sent[0] == default_system_message(MONDAY) and sent[1] == one and sent[2] == two and sent[4] == four
    assert sent[3].parts == (Text("three"), Text("\n\nThe date is now Tuesday, 01 December 2026."))
    assert sent[:4] == add_dates((one, two, three))


def test_a_thread_of_an_older_version_names_the_date_in_its_next_prompt() -> None:
    old = (user("one"), Message("assistant", (Text("First."),)))
    prompt = date_prompt(old, user("two"), MONDAY)
    system, *_, last = add_dates((*old, prompt))
    assert system == default_system_message(None)
    assert last.parts == (Text("two"), Text("\n\nThe date is now Monday, 30 November 2026."))


def make_script(engine: str) -> Any:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(WIRES[engine].whole("First."))

    return script


def select_prompt(body: dict[str, Any]) -> dict[str, Any]:
    """Returns what decides a prompt cache: everything but the messages that a later turn adds."""
    return {name: value for name, value in body.items() if name in ("system", "systemInstruction", "tools")}


def list_messages(body: dict[str, Any]) -> list[Any]:
    messages: list[Any] = body.get("messages") or body.get("contents") or []
    return messages


async def ask(server: Client, **body: Any) -> None:
    answer = await server.post("/llm/chat", {"stream": False, **body})
    assert answer.status == 200, await answer.body()
    await answer.body()


@pytest.mark.parametrize("engine", ENGINES)
async def test_nw_61_the_same_chat_a_minute_later_is_the_same_request(
    engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(make_script(engine))
    history = [{"role": "user", "content": "one"}, {"role": "assistant", "content": "ok"}]
    async with upstream.run(), run_server(make_config(**WIRES[engine].environ(upstream, DATA_DIR=str(tmp_path)))) as s:
        for minute in range(2):
            monkeypatch.setattr(time, "time", lambda minute=minute: NOON + 60 * minute)
            await ask(s, engine=engine, model="m", prompt="two", messages=history)
    first, second = (request.json for request in upstream.requests)
    assert first == second


@pytest.mark.parametrize("later", [60, 86400])
@pytest.mark.parametrize("engine", ENGINES)
async def test_nw_58_the_next_turn_of_a_thread_begins_like_the_turn_before(
    engine: str, later: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = Upstream(make_script(engine))
    async with upstream.run(), run_server(make_config(**WIRES[engine].environ(upstream, DATA_DIR=str(tmp_path)))) as s:
        thread = await create_thread(s)
        for turn, prompt in enumerate(["one", "two", "three"]):
            monkeypatch.setattr(time, "time", lambda turn=turn: NOON + later * turn)
            await ask(s, engine=engine, model="m", prompt=prompt, thread=thread)
        stored = await read_thread(s, thread)
    assert [message["content"] for message in stored] == ["one", "First.", "two", "First.", "three", "First."]
    first, second, third = (request.json for request in upstream.requests)
    assert select_prompt(first) == select_prompt(second) == select_prompt(third)
    assert list_messages(second)[: len(list_messages(first))] == list_messages(first)
    assert list_messages(third)[: len(list_messages(second))] == list_messages(second)
    assert ("02 December" in str(third)) == (later == 86400)


async def test_nw_61_the_case_as_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = field_case("nw-61")["request"]["steps"][0]["POST /llm/chat"]
    upstream = Upstream(make_script("openai"))
    async with (
        upstream.run(),
        run_server(make_config(**WIRES["openai"].environ(upstream, DATA_DIR=str(tmp_path)))) as s,
    ):
        for minute in range(2):
            monkeypatch.setattr(time, "time", lambda minute=minute: NOON + 60 * minute)
            await ask(s, **body)
    first, second = (request.json["messages"][0] for request in upstream.requests)
    assert first == second
