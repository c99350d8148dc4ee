"""Pictures and sources in an answer: every client gets them, or a text in their place."""

from __future__ import annotations

from typing import Any

import pytest

from llm.chat.messages import Citation, Text, list_sources
from llm.dialects.registry import CLIENT_DIALECTS
from tests.support.field_cases import field_case
from tests.support.harness import Connection, Request, Upstream, make_config, run_server
from tests.support.one_answer import CLIENTS, Seen, ask
from tests.support.threads import create_thread

BOTH = [pytest.param(False, id="whole"), pytest.param(True, id="stream")]
PICTURE = "iVBORw0KGgo="
MODEL = "google/gemini-3-pro-image"
LINE: dict[str, Any] = {"model": "m", "done": True, "done_reason": "stop", "prompt_eval_count": 1, "eval_count": 1}
NO_FORM = "was made, which this API cannot carry"


def gemini(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "content": {"role": "model", "parts": [*parts]}, "finishReason": "STOP"}
    usage = {"promptTokenCount": 5, "candidatesTokenCount": 3, "totalTokenCount": 8}
    return {"responseId": "r1", "modelVersion": "g", "candidates": [{**candidate, **more}], "usageMetadata": usage}


def picture(data: str = PICTURE, mime: str = "image/png", **more: Any) -> dict[str, Any]:
    return {"inlineData": {"mimeType": mime, "data": data}, **more}


def chat(**message: Any) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "", **message}, "finish_reason": "stop"}
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    return {"id": "c1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def texts(client: str, seen: Seen) -> str:
    """Returns the text that a client shows."""
    out = ""
    for one in seen.objects:
        match client:
            case "native":
                out += one.get("content", one.get("text", "")) if one["type"] in ("text", "content") else ""
            case "openai-chat":
                out += "".join((c.get("message") or c.get("delta") or {}).get("content") or "" for c in one["choices"])
            case "openai-responses":
                out += one["delta"] if one.get("type") == "response.output_text.delta" else ""
                out += "".join(p["text"] for i in one.get("output", ()) for p in i.get("content", ()))
            case "anthropic":
                out += "".join(block.get("text", "") for block in one.get("content", ()))
                out += one.get("delta", {}).get("text", "")
            case "ollama":
                out += one["message"]["content"]
            case _:
                out += one["response"]
    return out


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize(
    ("model", "body"),
    [
        (MODEL, gemini(picture())),
        (
            "together/x",
            chat(images=[{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PICTURE}"}}]),
        ),
        ("ollama/m", {**LINE, "message": {"role": "assistant", "content": "", "images": [PICTURE]}}),
        ("ollama/m", {**LINE, "response": "", "image": PICTURE}),
    ],
    ids=["google", "chat", "ollama", "ollama generate"],
)
async def test_gw_21_nw_25_a_picture_reaches_the_client_or_a_text_tells_of_it(
    model: str, body: dict[str, Any], client: str, stream: bool
) -> None:
    seen = await ask(client, model, body, stream=stream)
    assert seen.status == 200
    if client == "anthropic":
        assert texts(client, seen) == f"[A picture (image/png) {NO_FORM}.]"
    else:
        assert PICTURE in seen.text
        assert NO_FORM not in seen.text


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "native"])
async def test_a_recording_as_the_answer_is_named_where_it_cannot_be(client: str, stream: bool) -> None:
    seen = await ask(client, "google/gemini-2.5-flash", gemini(picture("UklGRg==", "audio/wav")), stream=stream)
    assert texts(client, seen) == f"[A recording (audio/wav) {NO_FORM}.]"
    native = await ask("native", "google/gemini-2.5-flash", gemini(picture("UklGRg==", "audio/wav")), stream=stream)
    assert '{"mimeType": "audio/wav", "contents": "UklGRg=="}' in native.text


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
async def test_a_picture_by_its_address_is_a_picture_or_a_text_with_the_address(client: str, stream: bool) -> None:
    if client == "openai-chat":
        return  # passed through
    body = chat(images=[{"type": "image_url", "image_url": {"url": "https://e.example/a.png"}}])
    seen = await ask(client, "together/x", body, stream=stream)
    if client == "native":
        assert '{"mimeType": "image/png", "url": "https://e.example/a.png"}' in seen.text
    else:
        assert texts(client, seen) == "[image/png: https://e.example/a.png]"


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
async def test_nw_24_draft_pictures_are_no_part_of_the_answer(client: str, stream: bool) -> None:
    draft = picture("RFJBRlQ=", thought=True)
    for drafts in ([draft], [draft, {**draft, "thoughtSignature": "c2ln"}]):
        final = picture("RklOQUw=", thoughtSignature="S")
        seen = await ask(client, MODEL, gemini(*drafts, final), stream=stream)
        assert "RFJBRlQ=" not in seen.text
        assert "RklOQUw=" in seen.text or client == "anthropic"


@pytest.mark.parametrize("name", ["nw-24", "nw-25", "gw-21", "nw-43", "nw-56"])
@pytest.mark.parametrize("stream", BOTH)
async def test_field_cases_of_pictures_and_sources(name: str, stream: bool) -> None:
    case = field_case(name)
    asked = {**case["request"]}
    model = asked.pop("model")
    if case["client_dialect"] == "native":
        model = f"{asked.pop('engine')}/{model}"
        asked.pop("stream")
    seen = await ask(case["client_dialect"], model, case["provider_response"]["body"], stream=stream, **asked)
    if name == "nw-24":
        assert "RklOQUw=" in seen.text and "RFJBRlQ=" not in seen.text
    elif name in ("nw-43", "nw-56"):
        assert "https://e.example" in seen.text
    else:
        assert NO_FORM in seen.text


SOURCES: dict[str, tuple[str, dict[str, Any]]] = {
    "annotation": (
        "openrouter/x/y",
        chat(
            content="half an answer",
            annotations=[
                {"type": "url_citation", "url_citation": {"url": "https://e.example", "title": "T", "content": "c"}}
            ],
        ),
    ),
    "executed tools": (
        "groq/groq/compound",
        chat(
            content="half an answer",
            executed_tools=[
                {"index": 0, "type": "search", "arguments": "{}", "search_results": {"results": []}},
                {
                    "index": 0,
                    "type": "search",
                    "arguments": "{}",
                    "output": "o",
                    "search_results": {"results": [{"title": "T", "url": "https://e.example", "content": "c"}]},
                },
                {"type": "visit", "arguments": "{}", "browser_results": [{"title": "T", "url": "https://e.example"}]},
            ],
        ),
    ),
    "tool reference": (
        "mistralai/mistral-large-latest",
        chat(
            content=[
                {"type": "text", "text": "half an answer"},
                {"type": "tool_reference", "tool": "web_search", "title": "T", "url": "https://e.example"},
            ]
        ),
    ),
    "search results": (
        "together/sonar",
        {**chat(content="half an answer"), "search_results": [{"title": "T", "url": "https://e.example"}]},
    ),
    "web search": (
        "together/glm-4.6",
        {**chat(content="half an answer"), "web_search": [{"title": "T", "link": "https://e.example"}]},
    ),
    "own data": (
        "together/gpt-4.1",
        chat(content="half an answer", context={"citations": [{"title": "T", "url": "https://e.example"}]}),
    ),
    **{
        name: ("google/gemini-2.5-flash", gemini({"text": "half an answer"}, groundingMetadata=grounding))
        for name, grounding in {
            "web": {
                "groundingChunks": [{"web": {"uri": "https://e.example", "title": "T"}}],
                "groundingSupports": [
                    {"segment": {"endIndex": 4, "text": "half"}, "groundingChunkIndices": [0]},
                ],
            },
            "maps": {
                "groundingChunks": [{"maps": {"uri": "https://e.example", "title": "T", "placeId": "places/1"}}],
                "groundingSupports": [{"segment": {"endIndex": 4}, "groundingChunkIndices": [0]}],
            },
            "images": {
                "groundingChunks": [
                    {"image": {"sourceUri": "https://e.example", "imageUri": "https://i.example/a.png", "title": "T"}}
                ],
                "imageSearchQueries": ["foxes"],
            },
        }.items()
    },
}


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("kind", SOURCES)
async def test_nw_43_nw_56_sources_reach_every_client(kind: str, client: str, stream: bool) -> None:
    model, body = SOURCES[kind]
    if client == "openai-chat" and "choices" in body:
        return  # passed through
    if client == "openai-responses" and model.startswith(("openrouter", "groq")):
        return  # passed through, over the Responses API of the provider
    seen = await ask(client, model, body, stream=stream)
    assert seen.status == 200
    if client in ("anthropic", "ollama", "generate"):
        assert (
            texts(client, seen).replace("\n\n", "")
            == "half an answerSources given by the engine:\n- [T](https://e.example)"
        )
    else:
        assert "https://e.example" in seen.text and texts(client, seen) == "half an answer"


@pytest.mark.parametrize("stream", BOTH)
async def test_pages_that_gemini_has_read_are_sources(stream: bool) -> None:
    pages = [
        {"retrievedUrl": "https://e.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_SUCCESS"},
        {"retrievedUrl": "https://lost.example", "urlRetrievalStatus": "URL_RETRIEVAL_STATUS_ERROR"},
    ]
    body = gemini({"text": "half an answer"}, urlContextMetadata={"urlMetadata": pages})
    seen = await ask("openai-chat", "google/gemini-2.5-flash", body, stream=stream)
    assert '"url": "https://e.example"' in seen.text and "lost.example" not in seen.text


@pytest.mark.parametrize("stream", BOTH)
async def test_sources_are_not_listed_behind_json(stream: bool) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    model, body = SOURCES["web"]
    asked: dict[str, dict[str, Any]] = {
        "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "ollama": {"format": schema},
    }
    for client, fields in asked.items():
        seen = await ask(client, model, body, stream=stream, **fields)
        assert texts(client, seen) == "half an answer"


@pytest.mark.parametrize("stream", BOTH)
@pytest.mark.parametrize("client", ["anthropic", "ollama"])
async def test_no_sources_are_listed_behind_a_call(client: str, stream: bool) -> None:
    call = {"functionCall": {"id": "c1", "name": "f", "args": {}}}
    grounding = SOURCES["web"][1]["candidates"][0]["groundingMetadata"]
    body = gemini({"text": "half an answer"}, call, groundingMetadata=grounding)
    seen = await ask(client, "google/gemini-2.5-flash", body, stream=stream)
    assert texts(client, seen) == "half an answer"
    assert stream or seen.headers["X-Dropped-Fields"] == "citations"


def test_each_source_is_listed_once() -> None:
    one = Citation("https://a.example", "A", "q", 0, 3)
    listed = list_sources([one, one, Citation("https://b.example"), Citation(title="Book"), Citation(), Citation()])
    assert listed == "\n\nSources given by the engine:\n- [A](https://a.example)\n- https://b.example\n- Book"
    assert list_sources([Citation()]) == list_sources([]) == ""


@pytest.mark.parametrize("client", ["anthropic", "ollama"])
def test_listed_sources_are_removed_from_the_history(client: str) -> None:
    listed = list_sources([Citation("https://a.example", "A"), Citation(title="Book")])
    dialect = CLIENT_DIALECTS[client]

    def read(content: Any) -> tuple[Any, ...]:
        messages = [{"role": role, "content": content} for role in ("assistant", "user")]
        request = dialect.read_request({"model": "m", "max_tokens": 9, "messages": messages})
        return tuple(message.parts for message in request.messages)

    assert read(f"Yes.{listed}") == ((Text("Yes."),), (Text(f"Yes.{listed}"),))
    own = f"Sources given by the engine:\n- A\nand more{listed}"
    assert read(own)[0] == (Text("Sources given by the engine:\n- A\nand more"),)
    if client == "anthropic":
        blocks = [{"type": "text", "text": "Yes."}, {"type": "text", "text": listed}]
        assert read(blocks)[0] == (Text("Yes."),)


async def test_nw_56_a_file_that_openrouter_has_parsed_goes_back_to_it(tmp_path: Any) -> None:
    parsed = {"type": "file", "file": {"hash": "h1", "name": "a.pdf", "content": [{"type": "text", "text": "x"}]}}
    answers = [chat(content="Yes.", annotations=[parsed]), chat(content="No.")]

    async def script(request: Request, connection: Connection) -> None:
        await connection.respond(answers.pop(0))

    upstream = Upstream(script)
    environ = {
        "OPENROUTER_API_KEY": "sk-canary-O",
        "DATA_DIR": str(tmp_path),
    }
    async with upstream.run():
        environ["OPENROUTER_BASE_URL"] = upstream.url + "/v1"
        async with run_server(make_config(**environ)) as server:
            thread = await create_thread(server)
            base = {"engine": "openrouter", "model": "x/y", "stream": False, "tools": False, "thread": thread}
            for prompt in ("What does it say?", "Again?"):
                await (await server.post("/llm/chat", {**base, "prompt": prompt})).body()
    history = upstream.requests[1].json["messages"]
    assert history[-2] == {"role": "assistant", "content": "Yes.", "annotations": [parsed]}


@pytest.mark.parametrize("client", CLIENTS)
async def test_what_a_whole_answer_loses_is_named(client: str) -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    formats: dict[str, dict[str, Any]] = {
        "anthropic": {"output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "ollama": {"format": schema},
        "generate": {"format": schema},
    }
    code = {"executableCode": {"language": "PYTHON", "code": "1"}}
    done = {"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}}
    grounding = SOURCES["web"][1]["candidates"][0]["groundingMetadata"]
    body = gemini(code, done, picture(), picture(mime="audio/wav"), {"text": "half"}, groundingMetadata=grounding)
    asked = formats.get(client, {})
    seen = await ask(client, "google/gemini-2.5-flash", body, stream=False, **asked)
    named = {name for name in (seen.headers.get("X-Dropped-Fields") or "").split(", ") if "/" not in name}
    expected: dict[str, set[str]] = {
        "native": set(),
        "anthropic": {"executableCode", "codeExecutionResult", "image", "audio", "citations"},
        "ollama": {"executableCode", "codeExecutionResult", "audio", "citations"},
        "generate": {"executableCode", "codeExecutionResult", "audio", "citations"},
    }
    assert named - {""} == expected.get(client, {"executableCode", "codeExecutionResult", "audio"})


async def test_a_hosted_call_of_another_wire_is_named() -> None:
    call = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
    result = {"type": "web_search_tool_result", "tool_use_id": "srvtoolu_1", "content": []}
    head = {"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "stop_reason": "end_turn"}
    body = {
        **head,
        "stop_sequence": None,
        "content": [call, result, {"type": "text", "text": "a"}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    seen = await ask("openai-chat", "anthropic/claude-sonnet-4-5", body, stream=False)
    assert seen.headers["X-Dropped-Fields"] == "server_tool_use, web_search_tool_result"
