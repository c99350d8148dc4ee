"""``/v1/embeddings`` over the three APIs, with hand-written answers and with every recorded one."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llm.engines.records import ENGINES
from llm.errors import LLMError, Malformed
from llm.tasks import embeddings
from tests.support.harness import CLIENT_ID, Connection, Request, Upstream, make_config, run_server
from tests.support.recordings import recordings

BEARER = {"Authorization": f"Bearer {CLIENT_ID}"}
OPENAI = {
    "object": "list",
    "data": [
        {"object": "embedding", "index": 1, "embedding": [0.5, 2]},
        {"object": "embedding", "index": 0, "embedding": [0.25, -1]},
    ],
    "model": "text-embedding-3-small-2",
    "usage": {"prompt_tokens": 4, "total_tokens": 4},
}
GEMINI = {"embeddings": [{"values": [0.25, -1]}, {"values": [0.5, 2]}], "usageMetadata": {"promptTokenCount": 4}}
OLLAMA = {"model": "nomic", "embeddings": [[0.25, -1], [0.5, 2]], "prompt_eval_count": 4}
PACKED = [base64.b64encode(struct.pack("<2f", *v)).decode() for v in ((0.25, -1), (0.5, 2))]


def answering(body: Any, status: int = 200) -> Upstream:
    async def script(request: Request, connection: Connection) -> None:
        answers = body(request) if callable(body) else body
        await connection.respond(answers, status, headers={"x-request-id": "up-1"})

    return Upstream(script)


def environ(engine: str, upstream: Upstream) -> dict[str, str]:
    path = "/v1" if engine == "openai" else ""
    own = {"OLLAMA_ENABLED": "true"} if engine == "ollama" else {f"{engine.upper()}_API_KEY": "sk-12345678"}
    return {f"{engine.upper()}_BASE_URL": upstream.url + path, **own}


@pytest.mark.parametrize(
    ("engine", "answer", "path", "sent", "model"),
    [
        (
            "openai",
            OPENAI,
            "/v1/embeddings",
            {"model": "m", "input": ["a", "b"], "dimensions": 2, "user": "u"},
            "text-embedding-3-small-2",
        ),
        (
            "google",
            GEMINI,
            "/v1beta/models/m:batchEmbedContents",
            {
                "requests": [
                    {"model": "models/m", "content": {"parts": [{"text": text}]}, "outputDimensionality": 2}
                    for text in ("a", "b")
                ]
            },
            "google/m",
        ),
        ("ollama", OLLAMA, "/api/embed", {"model": "m", "input": ["a", "b"], "dimensions": 2}, "nomic"),
    ],
)
async def test_texts_become_vectors_over_every_api(
    engine: str, answer: Any, path: str, sent: dict[str, Any], model: str
) -> None:
    body = {"model": f"{engine}/m", "input": ["a", "b"], "dimensions": 2, "user": "u"}
    async with answering(answer).run() as upstream, run_server(make_config(**environ(engine, upstream))) as server:
        floats = await server.post("/v1/embeddings", body, BEARER)
        got = await floats.json()
        if engine == "openai":
            upstream.requests.pop()
            packed_answer = {**OPENAI, "data": [{"index": n, "embedding": PACKED[n]} for n in (0, 1)]}
            upstream.script = answering(packed_answer).script
        packed = await (await server.post("/v1/embeddings", {**body, "encoding_format": "base64"}, BEARER)).json()
    assert got == {
        "object": "list",
        "data": [
            {"object": "embedding", "index": 0, "embedding": [0.25, -1.0]},
            {"object": "embedding", "index": 1, "embedding": [0.5, 2.0]},
        ],
        "model": model,
        "usage": {"prompt_tokens": 4, "total_tokens": 4},
    }
    assert [one["embedding"] for one in packed["data"]] == PACKED
    request = upstream.requests[0]
    extra = {"encoding_format": "base64"} if engine == "openai" else {}
    assert (request.path, request.json) == (path, {**sent, **extra})
    assert floats.headers["x-request-id"]
    assert floats.headers.get("X-Dropped-Fields") == (None if engine == "openai" else "user")


# --- the same dialect: passed on as it is ---


VERBATIM: dict[str, Any] = {
    "id": "gen-1",
    "object": "list",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.1, 1e-05, -2]}],
    "model": "acme/m-2",
    "provider": "Acme",
    "usage": {"prompt_tokens": 4, "total_tokens": 4, "cost": 0.00002, "prompt_tokens_details": {"audio_tokens": 0}},
}


async def exchanged(body: dict[str, Any], raw: bytes, engine: str = "openai") -> tuple[dict[str, Any], bytes, str]:
    """Returns the request that the provider got, the client's answer and its content type."""

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(raw)

    async with Upstream(script).run() as upstream, run_server(make_config(**environ(engine, upstream))) as server:
        answer = await server.post("/v1/embeddings", {**body, "model": f"{engine}/m"}, BEARER)
        got = await answer.body()
        assert answer.status == 200, got
        return upstream.requests[0].json, got, answer.headers["Content-Type"]


def packed(format_: str, *numbers: float) -> str:
    return base64.b64encode(struct.pack(f"<{len(numbers)}{format_}", *numbers)).decode()


@pytest.mark.parametrize(
    "body",
    [
        {"input": ["x"]}, {"input": "x"}, {"input": [1, 2]}, {"input": [[1, 2]]}, {"input": "x", "encoding_format": None},
        {"input": "x", "encoding_format": "float"}, {"input": "x", "dimensions": 2, "user": None, "new": {"a": []}},
    ],
)  # fmt: skip
async def test_a_request_of_the_same_dialect_is_sent_as_it_is(body: dict[str, Any]) -> None:
    sent, *_ = await exchanged(body, json.dumps(VERBATIM).encode())
    assert sent == {**body, "model": "m"}


async def test_an_answer_of_the_same_dialect_is_passed_on_to_the_byte() -> None:
    for raw in (json.dumps(VERBATIM, indent=1).encode(), json.dumps(VERBATIM, separators=(",", ":")).encode() + b"\n"):
        _, got, kind = await exchanged({"input": ["x"]}, raw)
        assert got == raw
        assert kind.startswith("application/json")


@pytest.mark.parametrize(
    ("asked", "value"),
    [
        ({"encoding_format": "base64"}, packed("f", 0.5, 2)),
        ({"encoding_format": "base64", "output_dtype": "int8"}, packed("b", 1, -2, 3)),
        ({"output_dtype": "int8"}, packed("b", 1, -2, 3, 4)),
        ({"encoding_format": "base64", "output_dtype": "ubinary"}, packed("B", 255, 1)),
        ({"encoding_format": "base64"}, "not base64!"),
        ({"encoding_format": "base64"}, [0.5, 2]),
        ({"output_dtype": "int8"}, [1, -2, 3]),
        ({}, [[0.5, 2], [1, 3]]),
        ({}, {"float": [0.5, 2], "int8": [1, 2]}),
        ({}, packed("b", 1, 2, 3)),
    ],
    ids=["float32", "int8", "int8 unasked", "binary", "text", "floats", "integers", "rows", "several", "odd length"],
)
async def test_values_of_any_kind_are_passed_on(asked: dict[str, Any], value: Any) -> None:
    raw = json.dumps({**VERBATIM, "data": [{"index": 0, "embedding": value}]}).encode()
    assert (await exchanged({"input": "x", **asked}, raw))[1] == raw


@pytest.mark.parametrize("asked", [{}, {"encoding_format": "float"}])
async def test_base64_becomes_numbers_where_numbers_were_asked_for(asked: dict[str, Any]) -> None:
    entry = {"object": "embedding", "index": 0, "embedding": packed("f", 0.5, 2), "more": 1}
    _, got, _ = await exchanged({"input": "x", **asked}, json.dumps({**VERBATIM, "data": [entry]}).encode())
    assert json.loads(got) == {**VERBATIM, "data": [{**entry, "embedding": [0.5, 2.0]}]}


async def test_entries_in_another_order_are_sorted_and_keep_their_fields() -> None:
    entries: list[dict[str, Any]] = [{"index": n, "embedding": [n + 0.5], "more": n} for n in (2, 0, 1)]
    _, got, _ = await exchanged({"input": ["a", "b", "c"]}, json.dumps({**VERBATIM, "data": entries}).encode())
    assert json.loads(got) == {**VERBATIM, "data": sorted(entries, key=lambda one: one["index"])}


@pytest.mark.parametrize(
    "answer", [{}, {"data": []}, {"data": [{"embedding": []}]}, {"data": [{"index": 0}]}, {"data": ["x"]}, [1], "x"]
)
async def test_an_answer_without_a_vector_for_each_text_is_an_error(answer: Any) -> None:
    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(json.dumps(answer).encode())

    async with Upstream(script).run() as upstream:
        async with run_server(make_config(**environ("openai", upstream))) as server:
            got = await server.post("/v1/embeddings", {"model": "openai/m", "input": "a"}, BEARER)
            assert (got.status, (await got.json())["error"]["code"]) == (502, "upstream_malformed")


async def test_many_texts_are_sent_to_google_in_batches() -> None:
    def values(request: Request) -> Any:
        count = len(request.json["requests"])
        return {"embeddings": [{"values": [n + 1]} for n in range(count)], "usageMetadata": {"promptTokenCount": count}}

    async with answering(values).run() as upstream, run_server(make_config(**environ("google", upstream))) as server:
        body = {"model": "google/m", "input": [f"text {n}" for n in range(230)]}
        got = await (await server.post("/v1/embeddings", body, BEARER)).json()
    assert [len(request.json["requests"]) for request in upstream.requests] == [100, 100, 30]
    assert [one["index"] for one in got["data"]] == [*range(230)]
    assert got["usage"]["total_tokens"] == 230


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "input"),
        ({"input": ""}, "input"),
        ({"input": []}, "input"),
        ({"input": ["a", ""]}, "input[1]"),
        ({"input": ["a", 5]}, "input[1]"),
        ({"input": {"a": 1}}, "input"),
        ({"input": [[1, 2], [1.5]]}, "input[1]"),
        ({"input": "a", "encoding_format": "hex"}, "encoding_format"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": ["a"] * 2049}, "input"),
    ],
)
async def test_an_error_names_the_bad_field(body: dict[str, Any], field: str) -> None:
    async with run_server(make_config(OPENAI_API_KEY="sk-12345678")) as server:
        answer = await server.post("/v1/embeddings", {"model": "openai/m", **body}, BEARER)
        error = (await answer.json())["error"]
    assert (answer.status, error["param"]) == (400, field)


async def test_an_unsupported_field_is_refused_by_name() -> None:
    async with run_server(make_config(ANTHROPIC_API_KEY="sk-canary-1", GOOGLE_API_KEY="sk-canary-2")) as server:
        for body, field in (
            ({"model": "anthropic/m", "input": "a"}, "model"),
            ({"model": "google/m", "input": [1, 2]}, "input"),
            ({"model": "google/m", "input": "a", "input_type": "query"}, "input_type"),
        ):
            answer = await server.post("/v1/embeddings", body, BEARER)
            error = (await answer.json())["error"]
            assert (answer.status, error["code"], error["param"]) == (400, "unsupported", field)


async def test_e2_a_provider_s_error_reaches_the_client() -> None:
    failure = {"error": {"message": "No such model.", "type": "invalid_request_error", "code": "model_not_found"}}
    async with (
        answering(failure, 404).run() as upstream,
        run_server(make_config(**environ("openai", upstream))) as server,
    ):
        answer = await server.post("/v1/embeddings", {"model": "openai/m", "input": "a"}, BEARER)
        error = (await answer.json())["error"]
    assert (answer.status, error["code"], error["message"]) == (404, "model_not_found", "No such model.")


_DIALECTS = {"google": "google", "ollama": "ollama"}


def test_every_recorded_answer_has_one_vector_for_each_input() -> None:
    faults: dict[str, str] = {}
    total = 0
    for recording in recordings():
        if recording.api != "embeddings" or recording.provider not in {*ENGINES, "mistral"} - {"cohere"}:  # its own API
            continue
        for number, (request, response) in enumerate(recording.exchanges):
            body = request.body
            if not 200 <= response.status < 300 or not isinstance(body, dict) or "usage/embeddings" in request.path:
                continue
            if request.path == "/api/embeddings":  # Ollama's older API, for one text
                continue
            total += 1
            engine = ENGINES[_DIALECTS.get(recording.provider, "openai")]
            if request.path.startswith("/v1/") and recording.provider == "ollama":
                engine = ENGINES["openai"]
            inputs = body.get("requests", body.get("input"))
            count = len(inputs) if isinstance(inputs, list) and not isinstance(inputs[0], int) else 1
            try:
                reply = embeddings.read_reply(json.loads(response.body), engine, count)
            except LLMError as error:
                faults[f"{recording.name}#{number}"] = str(error)
                continue
            if len({len(vector) for vector in reply.vectors}) != 1:
                faults[f"{recording.name}#{number}"] = "vectors of different sizes"
    print(f"recorded embeddings: {total - len(faults)} of {total}")
    assert not faults, json.dumps(faults, indent=1)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "embedding", "embeddings", "values", "index", "usage"]), inner, max_size=3
        )
    ),
    max_leaves=10,
)


@given(_JSON, st.sampled_from(["openai", "google", "ollama"]), st.integers(1, 2))
def test_s8_odd_answers_are_malformed(body: Any, engine: str, count: int) -> None:
    try:
        reply = embeddings.read_reply(body, ENGINES[engine], count)
    except Malformed:
        return
    assert len(reply.vectors) == count
