"""Answers that are made in the background: they go on without their client, which follows or fetches them later.

The events and the state of an answer are in the store, so that every process of the server can show them. The process
that makes the answer renews its row; one that has not moved for ``DEAD_AFTER`` seconds has lost its process.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine
from secrets import token_hex
from typing import Any, Final

from llm import log
from llm.chat.request import ChatRequest
from llm.dialects import openai_responses
from llm.errors import Cancelled, Draining, EngineFailed, Internal, LLMError, RateLimited
from llm.gateway.callers import Caller
from llm.gateway.chat import ChatCall, ChatService
from llm.gateway.responses.background_answer import BackgroundAnswer
from llm.gateway.responses.keeper import Turn
from llm.gateway.responses.references import RUNNING
from llm.storage.responses import NewResponse, ResponseStore, StoredResponse
from llm.storage.threads import Owner
from llm.wire.sse import encode_sse_event

DEAD_AFTER: Final = 60.0  # seconds; a row is renewed six times as often
_POLL: Final = 0.25  # seconds between two looks at an answer that another process makes
_READ_SIZE: Final = 256 * 1024  # bytes of events that are read at a time
_CANCEL_TIME: Final = 5.0  # seconds in which a cancelled answer ends
_DONE: Final = b"data: [DONE]\n\n"


class BackgroundResponses:
    """Makes answers in the background, and follows them.

    ``limit``: answers of one caller at a time in this process; ``max_time``: seconds of one answer.
    """

    def __init__(self, chat: ChatService, store: ResponseStore, limit: int, max_time: float) -> None:
        self._chat = chat
        self._store = store
        self._limit = limit
        self._max_time = max_time
        self._running: dict[str, BackgroundAnswer] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, call: ChatCall, turn: Turn, caller: Caller) -> BackgroundAnswer:
        """Starts an answer. ``call.body`` is the request without references.

        Raises ``RateLimited``, ``StorageFailed``, ``TooLarge``, and the errors of a request that cannot be read.
        """
        if self._limit and sum(1 for one in self._running.values() if one.names & caller.names) >= self._limit:
            message = f"{self._limit} of your answers are made in the background (MAX_BACKGROUND_ANSWERS)."
            raise RateLimited(message, retry_after=10.0)
        body = call.body
        model = body["model"]
        del body["background"]
        body["stream"], call.may_pass = True, False
        kept = openai_responses.KeptFields(
            id=f"resp_{token_hex(16)}", store=True, background=True, previous_response_id=turn.previous_id
        )
        answer = BackgroundAnswer(kept, caller.names, self._store)
        work = self._chat.answer(call, caller, answer)
        try:
            if not answer.has_begun:  # a heavy request is read later
                answer.begin(ChatRequest(model=model, messages=()))
            new = NewResponse(
                id=kept.id,
                engine=turn.target.engine.name,
                background=True,
                status="queued",
                input=turn.items,
                value=answer.queued,
                heavy=call.record.heavy,
            )
            answer.number = await self._store.begin(turn.owner, new)
        except BaseException:
            work.close()
            raise
        turn.items = []
        self._running[kept.id] = answer
        task = answer.task = asyncio.create_task(self._run(answer, work, call))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return answer

    async def follow(self, id: str, owner: Owner, after: int) -> AsyncGenerator[bytes, None]:
        """Yields the events of an answer after the number ``after`` until its end; ``b""`` while nothing happens."""
        while True:
            running = self._running.get(id)
            moved = running.moved if running is not None else None
            stored = await self._store.get(id, owner, with_input=False)
            if stored is None:  # deleted
                break
            events = await self._store.read_events(id, owner, after, _READ_SIZE)
            if events:
                after = events[-1][0]
                yield b"".join([event for _, event in events])
                continue
            value = read_state(stored)
            if stored.status not in RUNNING:
                break
            if value["status"] == "failed":
                event: dict[str, Any] = {"type": "response.failed", "sequence_number": after + 1, "response": value}
                yield encode_sse_event(event, "response.failed")
                break
            yield b""
            await _wait(moved)
        yield _DONE

    async def end(self, stored: StoredResponse, owner: Owner) -> StoredResponse | None:
        """Waits for the end of an answer that was stopped, and returns it; ends one whose process is gone."""
        deadline = time.monotonic() + _CANCEL_TIME
        found: StoredResponse | None = stored
        while found is not None and found.status in RUNNING:
            if time.monotonic() > deadline or read_state(found)["status"] == "failed":
                await self._store.update(found.number, "cancelled", {**found.value, "status": "cancelled"})
            else:
                running = self._running.get(stored.id)
                await _wait(running.moved if running is not None else None)
            found = await self._store.get(stored.id, owner, with_input=False)
        return found

    async def close(self) -> None:
        """Ends all answers."""
        for answer in [*self._running.values()]:
            answer.stop(Draining("The server is shutting down."))
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _run(self, answer: BackgroundAnswer, work: Coroutine[Any, Any, None], call: ChatCall) -> None:
        started, failure = time.monotonic(), None
        try:
            try:
                async with asyncio.timeout(self._max_time):
                    await work
            except TimeoutError:
                raise EngineFailed(
                    f"The answer took longer than {self._max_time:.0f} s (MAX_BACKGROUND_TIME)."
                ) from None
        except LLMError as error:
            failure = error
        except asyncio.CancelledError:
            failure = answer.stopped or Draining("The server is shutting down.")
            asyncio.current_task().uncancel()  # type: ignore[union-attr]
        except Exception as error:  # nobody waits for this task
            log.write("bug", 40, exc_info=error, id=call.id)
            failure = Internal(f"The server failed to handle the request {call.id}; its log has the details.")
        try:
            await answer.finish(failure)
        finally:
            self._running.pop(answer.id, None)
            if answer.on_end is not None:
                answer.on_end()
            _log(answer, call, failure, time.monotonic() - started)


def read_state(stored: StoredResponse, clock: Callable[[], float] = time.time) -> dict[str, Any]:
    """Returns the response object as of now: one whose process is gone has failed."""
    if stored.status not in RUNNING or stored.kept_by_engine or clock() - stored.updated < DEAD_AFTER:
        return stored.value
    error = {"code": "server_error", "message": "The server stopped before the answer was complete."}
    return {**stored.value, "status": "failed", "error": error}


async def _wait(moved: asyncio.Event | None) -> None:
    """Waits until an answer of this process moves, or for a moment."""
    if moved is None:
        await asyncio.sleep(_POLL)
        return
    try:
        async with asyncio.timeout(_POLL):
            await moved.wait()
    except TimeoutError:
        pass


def _log(answer: BackgroundAnswer, call: ChatCall, failure: LLMError | None, seconds: float) -> None:
    record = call.record
    usage, target = record.compute_usage(), record.target
    log.write(
        "background",
        id=call.id,
        response=answer.id,
        engine=target.engine.name if target else None,
        model=target.model if target else None,
        code=failure.code if failure is not None and not isinstance(failure, Cancelled) else None,
        status=answer.status,
        seconds=round(seconds, 3),
        finish_reason=record.finish_reason,
        input_tokens=usage.input if usage else None,
        output_tokens=usage.output if usage else None,
        estimated=True if usage and usage.estimated else None,
    )
