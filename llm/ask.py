"""One question that is no chat: a request out, its whole JSON answer back, with the same retries."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from llm.call import MAX_REPLY, Services, Trace, read_failure, tried
from llm.codec import loads
from llm.dialects import Outgoing
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines import Target
from llm.errors import Malformed, kept_headers

T = TypeVar("T")


async def ask(
    outgoing: Outgoing,
    read: Callable[[Any], T],
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None = None,
) -> T:
    """What ``read`` makes of the answer's JSON. Raises ``LLMError``; a failure that may pass is tried again."""
    attempts = tried(lambda: _ask(outgoing, read, target, services, trace, headers), target, services, trace)
    async with aclosing(attempts) as answers:
        return await anext(answers)


async def _ask(
    outgoing: Outgoing,
    read: Callable[[Any], T],
    target: Target,
    services: Services,
    trace: Trace,
    headers: Mapping[str, str] | None,
) -> AsyncGenerator[T, None]:
    async with await services.send(target, outgoing, headers) as reply:
        if not 200 <= reply.status < 300:
            raise await read_failure(reply, ENGINE_DIALECTS[target.engine.dialect], target)
        trace.headers = kept_headers(reply.headers)
        raw = await reply.read(MAX_REPLY)
    try:
        value = loads(raw)
    except ValueError:
        raise Malformed("The engine's answer is not JSON.", engine=target.engine.name) from None
    yield read(value)
