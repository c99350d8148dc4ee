"""Every recorded chat error through the running server has the specified status, code and retry-after (E2)."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from tests.support.harness import CLIENT, Client, make_config, run_server
from tests.support.oracle import Failure
from tests.support.recorded_errors import EXPECTED, OWN_KEY
from tests.support.recorded_server import PROVIDERS, make_case_id, make_transport
from tests.support.recordings import Case, cases, read_expected


@dataclass(frozen=True)
class ClientError:
    """The error that a client gets."""

    status: int
    code: str
    retry_after: float | None = None


def failing() -> tuple[Case, ...]:
    return tuple(c for c in cases() if c.recording.provider in PROVIDERS and isinstance(read_expected(c), Failure))


async def request_error(server: Client, case: Case, number: int, headers: Mapping[str, str]) -> ClientError:
    body = {"engine": make_case_id(case), "model": f"case-{number}", "prompt": "x", "stream": case.streamed}
    answer = await server.post("/llm/chat", body, {**headers, "Accept": "application/x-ndjson"})
    objects = [json.loads(line) for line in (await answer.body()).splitlines() if line]
    answer.close()
    error = objects[-1]
    assert error.get("error"), f"{case.name}: {error}"
    provider = error.get("provider")
    assert provider or error["code"].startswith("upstream_"), f"{case.name}: the provider's own words are gone"
    if answer.status != 200:
        given = answer.headers.get("Retry-After")
        assert (given is None) == (error.get("retry_after") is None), case.name
        assert given is None or abs(float(given) - error["retry_after"]) < 1
        own = {name.lower(): value for name, value in case.response.headers.items()}
        for name in ("retry-after", "x-should-retry"):
            assert answer.headers.get(name) == own.get(name, answer.headers.get(name)), f"{case.name}: {name} (E1)"
    status = answer.status if answer.status != 200 else error["status"]
    return ClientError(status, error["code"], error.get("retry_after"))


async def all_told(headers: Mapping[str, str], keys: Mapping[str, str]) -> dict[str, ClientError]:
    everything = failing()
    engines = {
        make_case_id(c): replace(c.engine, name=make_case_id(c), base_url="https://provider.invalid", local=False)
        for c in everything
    }
    enabled = frozenset() if keys else frozenset(engines)
    own = frozenset(engines)  # all of them take keys of callers
    configured: Any = replace(make_config(MAX_RETRIES="0"), engines=engines, enabled=enabled, own_keys=own)
    async with run_server(configured, https=make_transport(everything, "whole")) as server:
        found = await asyncio.gather(
            *(
                request_error(server, case, number, {**headers, **_own(case, keys)})
                for number, case in enumerate(everything)
            )
        )
    return {case.name: one for case, one in zip(everything, found, strict=True)}


def _own(case: Case, keys: Mapping[str, str]) -> dict[str, str]:
    return {f"X-{make_case_id(case)}-Key": key for key in keys.values()}


async def test_e2_every_recorded_error_has_status_code_and_retry_after() -> None:
    found = await all_told(CLIENT, {})
    wanted = {name: ClientError(*row) for name, row in EXPECTED.items()}
    wrong = {name: (one, wanted.get(name)) for name, one in found.items() if one != wanted.get(name)}
    print(f"recorded errors: {len(found) - len(wrong)} of {len(found)}")
    assert not wrong, "\n".join(f"{name}: {got} is not {want}" for name, (got, want) in wrong.items())
    assert set(wanted) == set(found) or not found


async def test_e2_an_error_of_the_callers_key_is_a_401() -> None:
    found = await all_told({}, {"own": "sk-of-the-caller-1"})
    wanted = {name: ClientError(*OWN_KEY.get(name, row)) for name, row in EXPECTED.items()}
    wrong = {name: (one, wanted.get(name)) for name, one in found.items() if one != wanted.get(name)}
    assert not wrong, "\n".join(f"{name}: {got} is not {want}" for name, (got, want) in wrong.items())
