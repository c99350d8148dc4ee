"""The contract of ``ThreadStore``, ``SignatureStore`` and ``ResponseStore``. Another implementation is one more entry of a table."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any, Final

import pytest

from llm.chat.messages import Message, Text, ToolCall
from llm.errors import NotFound, ThreadFull, TooLarge
from llm.storage.responses import NewResponse, ResponseStore
from llm.storage.signatures import SignatureStore
from llm.storage.sqlite.responses import SqliteResponses
from llm.storage.sqlite.signatures import SqliteSignatures
from llm.storage.sqlite.threads import SqliteThreads
from llm.storage.threads import Owner, ThreadStore

MAX_SIZE: Final = 10_000  # characters
MAX_AGE: Final = 60.0  # seconds
ME: Final = Owner(frozenset({"me"}), trusted=True)
ANOTHER: Final = Owner(frozenset({"another"}), trusted=True)


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


# Functions that open a store in a folder. Two stores in one folder are two processes of one server.
THREAD_STORES: Final[dict[str, Callable[[Path, Clock], ThreadStore]]] = {
    "sqlite": lambda folder, clock: SqliteThreads(folder, MAX_SIZE, clock),
}
SIGNATURE_STORES: Final[dict[str, Callable[[Path, Clock], SignatureStore]]] = {
    "sqlite": lambda folder, clock: SqliteSignatures(folder, MAX_AGE, MAX_SIZE, clock),
}
RESPONSE_STORES: Final[dict[str, Callable[[Path, Clock], ResponseStore]]] = {
    "sqlite": lambda folder, clock: SqliteResponses(folder, MAX_AGE, MAX_SIZE, clock),
}


@pytest.fixture
def clock() -> Clock:
    return Clock()


OpenThreads = Callable[[], ThreadStore]
OpenSignatures = Callable[[], SignatureStore]
OpenResponses = Callable[[], ResponseStore]


@pytest.fixture(params=[*THREAD_STORES])
async def open_threads(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[OpenThreads]:
    async with AsyncExitStack() as stack:

        def open_one() -> ThreadStore:
            store = THREAD_STORES[request.param](tmp_path, clock)
            stack.push_async_callback(store.close)
            return store

        yield open_one


@pytest.fixture(params=[*SIGNATURE_STORES])
def open_signatures(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> Iterator[OpenSignatures]:
    with ExitStack() as stack:

        def open_one() -> SignatureStore:
            store = SIGNATURE_STORES[request.param](tmp_path, clock)
            stack.callback(store.close)
            return store

        yield open_one


@pytest.fixture(params=[*RESPONSE_STORES])
async def open_responses(request: pytest.FixtureRequest, tmp_path: Path, clock: Clock) -> AsyncIterator[OpenResponses]:
    async with AsyncExitStack() as stack:

        def open_one() -> ResponseStore:
            store = RESPONSE_STORES[request.param](tmp_path, clock)
            stack.push_async_callback(store.close)
            return store

        yield open_one


def text(role: str, words: str) -> Message:
    return Message("user" if role == "user" else "assistant", (Text(words),))


async def test_a_new_thread_is_empty_and_has_its_title(open_threads: OpenThreads, clock: Clock) -> None:
    store = open_threads()
    info = await store.create(ME, "Title ‹›")
    assert (info.title, info.created, info.updated, info.message_count) == ("Title ‹›", clock.now, clock.now, 0)
    assert await store.read_messages(info.id, ME) == ()
    assert await store.list_page(ME, 10) == [info]


async def test_appended_messages_are_read_unchanged_by_any_process(open_threads: OpenThreads) -> None:
    store, other = open_threads(), open_threads()
    id = (await store.create(ME)).id
    first = [text("user", "Hello"), text("assistant", "Ünïcode \u2028 \U0001f600")]
    await store.append(id, ME, first)
    second = [Message("assistant", (ToolCall("call_1", "add", '{"a":1}'),))]
    await other.append(id, ME, second)
    assert await store.read_messages(id, ME) == (*first, *second) == await other.read_messages(id, ME)


async def test_concurrent_appends_are_all_stored_each_in_one_piece(open_threads: OpenThreads) -> None:
    store = open_threads()
    id = (await store.create(ME)).id
    pairs = [[text("user", f"question {n}"), text("assistant", f"answer {n}")] for n in range(20)]
    await asyncio.gather(*(store.append(id, ME, pair) for pair in pairs))
    stored = await store.read_messages(id, ME)
    got = [[*stored[n : n + 2]] for n in range(0, len(stored), 2)]
    assert sorted(got, key=str) == sorted(pairs, key=str)


async def test_an_append_that_is_too_large_changes_nothing(open_threads: OpenThreads) -> None:
    store = open_threads()
    id = (await store.create(ME)).id
    await store.append(id, ME, [text("user", "small")])
    with pytest.raises(ThreadFull):
        await store.append(id, ME, [text("user", "also small"), text("assistant", "x" * MAX_SIZE)])
    assert await store.read_messages(id, ME) == (text("user", "small"),)
    assert store.failed_appends == 1


@pytest.mark.parametrize("missing", [True, False], ids=["missing", "another owner's"])
async def test_a_thread_of_another_owner_counts_as_missing(open_threads: OpenThreads, missing: bool) -> None:
    store = open_threads()
    info = await store.create(ANOTHER, "theirs")
    await store.append(info.id, ANOTHER, [text("user", "private")])
    id = "00000000-0000-0000-0000-000000000000" if missing else info.id
    for work in (
        lambda: store.read_messages(id, ME),
        lambda: store.append(id, ME, [text("user", "mine")]),
        lambda: store.rename(id, ME, "mine"),
        lambda: store.delete(id, ME),
        lambda: store.list_page(ME, 10, after=id),
    ):
        with pytest.raises(NotFound):
            await work()
    assert await store.list_page(ME, 10) == []
    [info] = await store.list_page(ANOTHER, 10)
    assert (info.title, info.message_count) == ("theirs", 1)


async def test_any_name_of_an_owner_is_enough(open_threads: OpenThreads) -> None:
    store = open_threads()
    both = Owner(frozenset({"key one", "key two"}), trusted=False)
    info = await store.create(both)
    for name in both.names:
        assert await store.list_page(Owner(frozenset({name, "a third"}), trusted=False), 10) == [info]


async def test_pages_begin_with_the_last_updated_thread(open_threads: OpenThreads, clock: Clock) -> None:
    store = open_threads()
    ids = []
    for n in range(5):
        clock.now += 1
        ids.append((await store.create(ME, str(n))).id)
    clock.now += 1
    await store.append(ids[1], ME, [text("user", "again")])
    wanted = [ids[1], ids[4], ids[3], ids[2], ids[0]]
    assert [info.id for info in await store.list_page(ME, 10)] == wanted
    found: list[str] = []
    while page := await store.list_page(ME, 2, found[-1] if found else None):
        found += [info.id for info in page]
    assert found == wanted


async def test_a_thread_can_be_renamed_and_deleted(open_threads: OpenThreads) -> None:
    store = open_threads()
    info = await store.create(ME, "old")
    assert (await store.rename(info.id, ME, "new")).title == "new"
    assert [one.title for one in await store.list_page(ME, 10)] == ["new"]
    await store.delete(info.id, ME)
    assert await store.list_page(ME, 10) == []
    with pytest.raises(NotFound):
        await store.delete(info.id, ME)


async def test_values_are_shared_between_processes(open_signatures: OpenSignatures) -> None:
    one, other = open_signatures(), open_signatures()
    await one.put("me", {"call_1": "signed ‹1›", "call_2": "signed 2"})
    assert await other.get("me", ["call_1", "call_3"]) == {"call_1": "signed ‹1›"}
    await other.put("me", {"call_1": "signed anew"})
    assert await one.get("me", ["call_1", "call_2"]) == {"call_1": "signed anew", "call_2": "signed 2"}
    assert await one.get("me", []) == {}


async def test_a_value_is_visible_to_its_owner_only(open_signatures: OpenSignatures) -> None:
    store = open_signatures()
    await store.put("me", {"call_1": "mine"})
    await store.put("another", {"call_1": "theirs", "call_2": "theirs too"})
    assert await store.get("me", ["call_1", "call_2"]) == {"call_1": "mine"}
    assert await store.get("nobody", ["call_1"]) == {}


async def test_ids_may_be_any_text(open_signatures: OpenSignatures) -> None:
    store = open_signatures()
    ids = ["", "\0", "half \ud800", "long" * 1000, "a\0b"]
    await store.put("me", {id: str(number) for number, id in enumerate(ids)})
    assert await store.get("me", ids) == {id: str(number) for number, id in enumerate(ids)}


async def test_old_values_are_not_found(open_signatures: OpenSignatures, clock: Clock) -> None:
    store = open_signatures()
    await store.put("me", {"call_1": "old"})
    clock.now += MAX_AGE - 1
    await store.put("me", {"call_2": "new"})
    clock.now += 2
    assert await store.get("me", ["call_1", "call_2"]) == {"call_2": "new"}


async def test_the_oldest_values_are_deleted_beyond_the_total_size(open_signatures: OpenSignatures) -> None:
    store = open_signatures()
    ids = [f"call_{number}" for number in range(300)]
    for id in ids:
        await store.put("me", {id: "x" * 100})
    found = await store.get("me", ids)
    assert len(found) < 250  # the size is checked from time to time
    assert [*found] and set(found) == set(ids[-len(found) :])


def item(id: str, words: str = "Hi") -> dict[str, Any]:
    return {"id": id, "type": "message", "role": "user", "content": words}


def answer(id: str, *output: dict[str, Any]) -> dict[str, Any]:
    return {"id": id, "object": "response", "output": [*output], "model": "m/Ünï\u2028\ud800"}


async def keep(store: ResponseStore, id: str, words: str = "Hi", owner: Owner = ME) -> int:
    number = await store.begin(owner, NewResponse(id=id, engine="e", input=[item(f"msg_of_{id}", words)]))
    await store.update(number, "completed", answer(id, item(f"out_of_{id}", "Yes")))
    return number


async def test_a_response_is_found_once_it_has_ended_by_any_process(open_responses: OpenResponses) -> None:
    store, other = open_responses(), open_responses()
    number = await store.begin(ME, NewResponse(id="resp_1", engine="e", input=[item("msg_1")]))
    assert await other.get("resp_1", ME) is None
    assert await store.update(number, "completed", answer("resp_1", item("msg_2"), item("msg_3")))
    found = await other.get("resp_1", ME)
    assert found is not None
    assert (found.engine, found.status, found.kept_by_engine, found.background) == ("e", "completed", False, False)
    assert found.value == answer("resp_1", item("msg_2"), item("msg_3"))
    assert found.input == [item("msg_1")]
    items = await other.find_items(["msg_3", "msg_1", "msg_4", "half \ud800"], ME)
    assert {id: one.value for id, one in items.items()} == {"msg_1": item("msg_1"), "msg_3": item("msg_3")}


async def test_a_response_that_its_engine_keeps_is_found_once_it_has_its_id(open_responses: OpenResponses) -> None:
    store = open_responses()
    number = await store.begin(ME, NewResponse(id="", engine="e", input=[item("msg_1")]))
    await store.set_engine_id(number, "resp_theirs", "in_progress")
    found = await store.get("resp_theirs", ME)
    assert found is not None and (found.kept_by_engine, found.status) == (True, "in_progress")
    await store.update(number, "completed", answer("resp_theirs", item("msg_2")), kept_by_engine=True)
    await store.set_engine_id(number, "resp_theirs", "in_progress")
    found = await store.get("resp_theirs", ME)
    assert found is not None and (found.kept_by_engine, found.status) == (True, "completed")
    assert (await store.find_items(["msg_2"], ME))["msg_2"].kept_by_engine
    await store.discard(number)
    assert await store.get("resp_theirs", ME) is None
    assert await store.update(number, "completed", answer("resp_theirs")) is False
    assert await store.append_events(number, 0, [b"late"]) is False


async def test_a_response_of_another_owner_counts_as_missing(open_responses: OpenResponses) -> None:
    store = open_responses()
    await keep(store, "resp_1", owner=ANOTHER)
    await store.begin(ANOTHER, NewResponse(id="resp_2", engine="e", input=[], background=True, status="queued"))
    assert await store.get("resp_1", ME) is None
    assert await store.delete("resp_1", ME) is False
    assert await store.find_items(["msg_of_resp_1", "out_of_resp_1"], ME) == {}
    assert await store.read_events("resp_2", ME, -1, 1000) == []
    assert await store.get("resp_1", ANOTHER) is not None


async def test_two_owners_may_have_responses_with_one_id(open_responses: OpenResponses) -> None:
    store = open_responses()
    await keep(store, "resp_1", "mine")
    await keep(store, "resp_1", "theirs", ANOTHER)
    for owner, words in ((ME, "mine"), (ANOTHER, "theirs")):
        found = await store.get("resp_1", owner)
        assert found is not None and found.input == [item("msg_of_resp_1", words)]


async def test_a_deleted_response_is_gone_and_those_after_it_stay(open_responses: OpenResponses) -> None:
    store = open_responses()
    await keep(store, "resp_1")
    first = await store.get("resp_1", ME)
    assert first is not None
    conversation = [*first.input, *first.value["output"], item("msg_2")]
    number = await store.begin(ME, NewResponse(id="resp_2", engine="e", input=conversation))
    await store.update(number, "completed", answer("resp_2"))
    assert await store.delete("resp_1", ME) is True
    assert await store.delete("resp_1", ME) is False
    assert await store.get("resp_1", ME) is None
    second = await store.get("resp_2", ME)
    assert second is not None and second.input == conversation
    assert await store.delete("resp_2", ME) is True
    assert await store.find_items(["msg_of_resp_1", "msg_2"], ME) == {}


async def test_a_response_is_gone_after_its_time(open_responses: OpenResponses, clock: Clock) -> None:
    store = open_responses()
    await keep(store, "resp_1")
    clock.now += MAX_AGE - 1
    await keep(store, "resp_2")
    assert await store.get("resp_1", ME) is not None
    clock.now += 2
    assert await store.get("resp_1", ME) is None
    assert await store.find_items(["msg_of_resp_1", "msg_of_resp_2"], ME) != {}
    assert set(await store.find_items(["msg_of_resp_1", "msg_of_resp_2"], ME)) == {"msg_of_resp_2"}


async def test_the_oldest_responses_are_deleted_beyond_the_total_size(open_responses: OpenResponses) -> None:
    store = open_responses()
    ids = [f"resp_{number}" for number in range(100)]
    for id in ids:
        await keep(store, id, "x" * 100)
    found = [id for id in ids if await store.get(id, ME) is not None]
    assert 5 < len(found) < 30
    assert found == ids[-len(found) :]
    await keep(store, "resp_large", "x" * (MAX_SIZE - 2000))
    assert await store.get("resp_large", ME) is not None
    assert len([id for id in ids if await store.get(id, ME) is not None]) < 5
    with pytest.raises(TooLarge):
        await keep(store, "resp_larger", "x" * MAX_SIZE)
    assert await store.get("resp_large", ME) is not None


async def test_items_of_a_conversation_are_stored_once(open_responses: OpenResponses) -> None:
    store = open_responses()
    conversation = [item("msg_picture", "x" * (MAX_SIZE // 2))]
    for turn in range(10):
        conversation = [*conversation, item(f"msg_{turn}")]
        number = await store.begin(ME, NewResponse(id=f"resp_{turn}", engine="e", input=conversation))
        await store.update(number, "completed", answer(f"resp_{turn}"))
    assert await store.get("resp_8", ME) is not None
    last = await store.get("resp_9", ME)
    assert last is not None and last.input == conversation


async def test_events_are_read_from_any_number_on(open_responses: OpenResponses) -> None:
    store, other = open_responses(), open_responses()
    new = NewResponse(id="resp_1", engine="e", input=[], background=True, status="queued", value=answer("resp_1"))
    number = await store.begin(ME, new)
    assert await store.append_events(number, 0, [b"a" * 10, b"b" * 10])
    assert await store.append_events(number, 2, [b"c" * 10])
    assert await other.read_events("resp_1", ME, -1, 1000) == [(0, b"a" * 10), (1, b"b" * 10), (2, b"c" * 10)]
    assert await other.read_events("resp_1", ME, 1, 1000) == [(2, b"c" * 10)]
    assert await other.read_events("resp_1", ME, -1, 15) == [(0, b"a" * 10), (1, b"b" * 10)]
    assert await other.read_events("resp_1", ME, 2, 1000) == []


async def test_a_running_response_shows_when_it_last_moved(open_responses: OpenResponses, clock: Clock) -> None:
    store = open_responses()
    new = NewResponse(id="resp_1", engine="e", input=[], background=True, status="queued", value=answer("resp_1"))
    number = await store.begin(ME, new)
    clock.now += 10
    await store.touch([number])
    found = await store.get("resp_1", ME)
    assert found is not None and (found.status, found.updated) == ("queued", clock.now)
