"""Images and files in tool results, for wires whose tool results hold only text."""

from __future__ import annotations

import json
from typing import Any

import pytest

from llm.chat.history import move_media_out_of_results
from llm.chat.messages import Media, Message, Text, ToolCall, ToolResult
from llm.chat.request import ChatRequest
from llm.dialects.registry import CLIENT_DIALECTS, ENGINE_DIALECTS
from llm.engines.records import ENGINES
from llm.errors import Unsupported

PNG, PDF = Media(mime="image/png", base64="AAAA"), Media(mime="application/pdf", base64="JVBE", name="a.pdf")
NOTE = "Attachments from tool call "
SCREENSHOT: Any = {  # as a coding agent sends a file it has read: an image without text
    "model": "m",
    "max_tokens": 100,
    "messages": [
        {"role": "user", "content": "Look at both"},
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a.png"}},
                {"type": "tool_use", "id": "t2", "name": "Read", "input": {"path": "a.txt"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {
                    "type": "tool_result",
                    "tool_use_id": "t1",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
                    ],
                },
                {"type": "tool_result", "tool_use_id": "t2", "content": "Some text"},
                {"type": "text", "text": "Go on"},
            ],
        },
    ],
}


def write_screenshot(engine: str, model: str = "m") -> Any:
    request = CLIENT_DIALECTS["anthropic"].read_request({**SCREENSHOT, "model": model})
    record = ENGINES[engine]
    body = ENGINE_DIALECTS[record.dialect].write_request(request, record).body
    return json.loads(json.dumps(body))


def test_results_come_first_and_their_media_follows() -> None:
    one = ToolResult("c1", (Text("Here"), PNG, PDF))
    two = ToolResult("c2", (Text("42"),))
    three = ToolResult("c3", (PNG,), is_error=True)
    message = move_media_out_of_results(Message("user", (one, two, three, Text("And?"))))
    assert message.parts == (
        ToolResult("c1", (Text("Here"),)),
        two,
        ToolResult("c3", (Text("Attached below."),), is_error=True),
        Text(f"{NOTE}c1:"),
        PNG,
        PDF,
        Text(f"{NOTE}c3:"),
        PNG,
        Text("And?"),
    )
    kept = move_media_out_of_results(Message("user", (one, two)), lambda media: media.kind == "image")
    assert kept.parts == (ToolResult("c1", (Text("Here"), PNG)), two, Text(f"{NOTE}c1:"), PDF)


@pytest.mark.parametrize("parts", [(Text("Hi"), PNG), (ToolResult("c", (Text("42"),)), Text("And?"))])
def test_a_message_without_media_in_results_stays_unchanged(parts: Any) -> None:
    message = Message("user", parts)
    assert move_media_out_of_results(message) is message
    assert move_media_out_of_results(Message("assistant", (ToolCall("c", "f"),))).parts == (ToolCall("c", "f"),)


def test_to_chat_completions_media_goes_into_the_next_message() -> None:
    assert write_screenshot("openai")["messages"][2:] == [
        {"role": "tool", "tool_call_id": "t1", "content": "Attached below."},
        {"role": "tool", "tool_call_id": "t2", "content": "Some text"},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": f"{NOTE}t1:"},
                {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                {"type": "text", "text": "Go on"},
            ],
        },
    ]


def test_to_ollama_media_goes_into_the_next_message() -> None:
    assert write_screenshot("ollama")["messages"][2:] == [
        {"role": "tool", "tool_name": "Read", "tool_call_id": "t1", "content": "Attached below."},
        {"role": "tool", "tool_name": "Read", "tool_call_id": "t2", "content": "Some text"},
        {"role": "user", "content": f"{NOTE}t1:\n\nGo on", "images": ["AAAA"]},
    ]


def test_to_gemini_media_stays_in_the_result_since_version_3() -> None:
    result = {"id": "t1", "name": "Read", "response": {"result": "Attached below."}}
    other = {"functionResponse": {"id": "t2", "name": "Read", "response": {"result": "Some text"}}}
    picture = {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}
    assert write_screenshot("google", "gemini-3.5-flash")["contents"][2]["parts"] == [
        {"functionResponse": {**result, "response": {"result": ""}, "parts": [picture]}},
        other,
        {"text": "Go on"},
    ]
    assert write_screenshot("google", "gemini-2.5-flash")["contents"][2]["parts"] == [
        {"functionResponse": result},
        other,
        {"text": f"{NOTE}t1:"},
        picture,
        {"text": "Go on"},
    ]


def test_t8_media_that_an_engine_does_not_support_is_refused() -> None:
    request = ChatRequest(model="m", messages=(Message("user", (ToolResult("c1", (PDF,)),)),))
    with pytest.raises(Unsupported, match="accepts only text and base64 images"):
        ENGINE_DIALECTS["ollama"].write_request(request, ENGINES["ollama"])


@pytest.mark.parametrize("engine", ["openai", "google", "ollama"])
@pytest.mark.parametrize("where", ["in a message", "in a result"])
def test_t8_an_unknown_block_is_refused_by_its_type(engine: str, where: str) -> None:
    block: Any = {"type": "container_upload", "file_id": "file_1"}
    if where == "in a result":
        block = {"type": "tool_result", "tool_use_id": "t1", "content": [block]}
    call = {"type": "tool_use", "id": "t1", "name": "f", "input": {}}
    messages = [{"role": "assistant", "content": [call]}, {"role": "user", "content": [block]}]
    request = CLIENT_DIALECTS["anthropic"].read_request({"model": "m", "max_tokens": 5, "messages": messages})
    with pytest.raises(Unsupported, match="does not support the block 'container_upload'") as refused:
        ENGINE_DIALECTS[ENGINES[engine].dialect].write_request(request, ENGINES[engine])
    assert ("in a tool result" in str(refused.value)) == (where == "in a result")
