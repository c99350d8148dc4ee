"""Errors of the server itself."""

from __future__ import annotations

import pytest

from llm import errors
from llm.errors import LLMError
from tests.support.harness import make_config, run_server
from tests.support.wires import CLIENTS


def test_every_error_has_the_status_and_code_of_its_class() -> None:
    def leaves(kind: type[LLMError]) -> list[type[LLMError]]:
        below = kind.__subclasses__()
        return [leaf for sub in below for leaf in leaves(sub)] if below else [kind]

    drawn = [
        line.split() for line in (errors.__doc__ or "").splitlines() if line.rstrip() and ("├" in line or "└" in line)
    ]
    table = {words[0]: (int(words[1]), words[2]) for words in (
        [w for w in line if w not in "│├└"] for line in drawn
    ) if len(words) > 2 and words[1].isdigit()}  # fmt: skip
    assert table == {leaf.__name__: (leaf.status, leaf.code) for leaf in leaves(LLMError)}


async def test_a_bug_of_ours_is_a_500_with_the_request_s_id_and_no_trace(caplog: pytest.LogCaptureFixture) -> None:
    class Broken:
        async def send(self, request: object) -> object:
            raise ZeroDivisionError("the inside")

        async def close(self) -> None: ...

    async with run_server(make_config(), demo=Broken()) as server:  # type: ignore[arg-type]
        for client in CLIENTS.values():
            answer = await server.post(client.path, client.request("demo", "demo-chat"), client.headers)
            text = (await answer.body()).decode()
            assert answer.status == 500
            assert answer.headers["X-Request-Id"] in text
            assert "inside" not in text and "Traceback" not in text
    assert any("bug" in record.message for record in caplog.records)


async def test_an_unknown_path_and_a_wrong_method_get_json_errors() -> None:
    async with run_server(make_config()) as server:
        nothing = await server.get("/nowhere")
        assert (nothing.status, (await nothing.json())["code"]) == (404, "not_found")
        wrong = await server.get("/llm/chat")
        assert (wrong.status, wrong.headers["Allow"]) == (405, "POST")
        assert (await wrong.json())["code"] == "bad_request"
