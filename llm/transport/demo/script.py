"""What the models of the demo engine answer, as chunks of Chat Completions."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

from llm.transport.demo.schema_sample import make_sample
from llm.wire.json_codec import Json, dumps
from llm.wire.json_lenient import as_dict, as_dicts

MODELS: Final[Mapping[str, str]] = {
    "demo-chat": "answers with what you said; as JSON where a schema is given",
    "demo-reasoning": "thinks, then answers",
    "demo-tools": "calls the first two tools it is given, their arguments interleaved; answers once it has the results",
    "demo-long": "10,000 deltas as fast as they are read",
    "demo-slow": "one delta a second",
    "demo-stall": "starts to answer, then sends nothing more",
    "demo-cut": "closes the stream in the middle of the answer",
    "demo-error": "500 at once",
    "demo-error-midstream": "an error after a few words",
    "demo-limit": "429 with retry-after: 7",
    "demo-flaky": "429 with retry-after: 1, then an answer",
}

LONG_DELTAS: Final = 10_000  # deltas of demo-long
CREATED: Final = 1_760_000_000  # seconds since 1970
_MAX_TEXT: Final = 2_000  # characters of the user's text that are repeated

# One step of a script: a chunk to send, or a pause in seconds.
Step: TypeAlias = "dict[str, Any] | float"


@dataclass(frozen=True, slots=True)
class _Tool:
    """A tool that the request offers. ``schema``: of its arguments; None for a tool whose input is text."""

    name: str
    schema: Mapping[str, Any] | None


class Script:
    """Generates the chunks of one response. ``pace``: seconds between two words."""

    def __init__(self, body: Mapping[str, Any], pace: float) -> None:
        self.model = str(body["model"])
        self._body = body
        self._messages = as_dicts(body.get("messages"))
        self._pace = pace
        self._include_usage = not body.get("stream") or bool(as_dict(body.get("stream_options")).get("include_usage"))
        self._words = 0
        limit = body.get("max_completion_tokens") or body.get("max_tokens")
        self._limit = limit if isinstance(limit, int) else None  # one token is one word
        self._is_cut = False

    def steps(self) -> Iterator[Step]:
        """Yields what is sent, in order."""
        yield self._chunk({"role": "assistant", "content": "", "refusal": None})
        finish = "stop"
        match self.model:
            case "demo-stall":
                yield from self._send_words("One moment, please")
                yield float("inf")
            case "demo-cut":
                yield from self._send_words("This answer ends in the middle of")
                return
            case "demo-error-midstream":
                yield from self._send_words("This answer will not")
                error = {"message": "The demo engine broke down.", "type": "server_error", "code": "demo_broken"}
                yield {"error": error}
                return
            case "demo-long":
                self._words = LONG_DELTAS
                yield from (self._chunk({"content": f"{n} "}) for n in range(LONG_DELTAS))
            case _ if tools := self._choose_tools():
                yield from self._call(tools)
                finish = "tool_calls"
            case "demo-reasoning":
                yield from self._send_words("The user said something. I shall repeat it.", "reasoning_content")
                yield from self._send_words(self._write_answer())
            case "demo-slow":
                for word in self._send_words(self._write_answer()):
                    yield 1.0 if isinstance(word, float) else word
            case _:
                yield from self._send_words(self._write_answer())
        yield self._chunk({}, "length" if self._is_cut else finish)
        if self._include_usage:
            prompt = sum(len(_read_text(message).split()) for message in self._messages)
            usage: dict[str, Json] = {"prompt_tokens": prompt, "completion_tokens": self._words}
            yield {**self._chunk({}), "choices": [], "usage": {**usage, "total_tokens": prompt + self._words}}

    def _choose_tools(self) -> list[_Tool]:
        """Returns the tools to call: those that have to be called, or of demo-tools those that are offered."""
        tools = [_read_tool(wire) for wire in as_dicts(self._body.get("tools"))]
        tools = [tool for tool in tools if tool.name]
        choice = self._body.get("tool_choice")
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            allowed = as_dict(choice.get("allowed_tools"))
            names = [_read_tool(wire).name for wire in as_dicts(allowed.get("tools"))]
            tools, choice = [tool for tool in tools if tool.name in names], allowed.get("mode")
        elif isinstance(choice, dict):
            return [tool for tool in tools if tool.name == _read_tool(choice).name][:1]
        if choice == "none" or (choice not in ("required", "any") and not self._calls_unforced()):
            return []
        several = self.model == "demo-tools" and self._body.get("parallel_tool_calls") is not False
        return tools[: 2 if several else 1]

    def _calls_unforced(self) -> bool:
        """True for demo-tools, but for its answer to results."""
        return self.model == "demo-tools" and not (self._messages and self._messages[-1].get("role") == "tool")

    def _call(self, tools: list[_Tool]) -> Iterator[Step]:
        text = self._last_text()
        # With spaces, unlike this server's own JSON: arguments have to arrive as they were sent.
        inputs = [text if tool.schema is None else json.dumps(make_sample(tool.schema, text)) for tool in tools]
        for index, tool in enumerate(tools):
            kind, field = ("custom", "input") if tool.schema is None else ("function", "arguments")
            start: dict[str, Json] = {"index": index, "id": f"call_demo_{len(self._messages)}_{index}", "type": kind}
            yield self._chunk({"tool_calls": [{**start, kind: {"name": tool.name, field: ""}}]})
        for at in range(0, max(map(len, inputs)), 6):
            for index, (tool, whole) in enumerate(zip(tools, inputs, strict=True)):
                kind, field = ("custom", "input") if tool.schema is None else ("function", "arguments")
                if piece := whole[at : at + 6]:
                    self._words += 1
                    yield self._chunk({"tool_calls": [{"index": index, kind: {field: piece}}]})
            yield self._pace

    def _send_words(self, text: str, name: str = "content") -> Iterator[Step]:
        for word in re.findall(r"\s*\S+|\s+$", text):
            if self._limit is not None and self._words >= self._limit:
                self._is_cut = True
                return
            self._words += 1
            yield self._chunk({name: word})
            yield self._pace

    def _write_answer(self) -> str:
        """Returns the text of the answer: JSON where the request wants it, up to a stop sequence."""
        wanted = as_dict(self._body.get("response_format"))
        text = f"This is the demo engine of llm-server. You said: {self._last_text()}"
        if wanted.get("type") == "json_schema":
            text = dumps(make_sample(as_dict(as_dict(wanted.get("json_schema")).get("schema")), self._last_text()))
        elif wanted.get("type") == "json_object":
            text = dumps({"answer": text})
        stop = self._body.get("stop")
        for end in [stop] if isinstance(stop, str) else stop or ():
            if isinstance(end, str) and end:
                text = text.partition(end)[0]
        return text

    def _last_text(self) -> str:
        """Returns the last text of the user, or the last result of a tool."""
        texts = [_read_text(message) for message in self._messages if message.get("role") in ("user", "tool")]
        return texts[-1][:_MAX_TEXT] if texts else ""

    def _chunk(self, delta: dict[str, Json], finish: str | None = None) -> dict[str, Json]:
        choice: dict[str, Json] = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        base: dict[str, Json] = {"id": "chatcmpl-demo", "object": "chat.completion.chunk", "created": CREATED}
        return {**base, "model": self.model, "choices": [choice]}


def _read_tool(wire: Mapping[str, Any]) -> _Tool:
    """Reads a tool or a reference to one. Its name is empty if it is neither a function nor a custom tool."""
    if wire.get("type") == "custom":
        return _Tool(str(as_dict(wire.get("custom")).get("name") or ""), None)
    function = as_dict(wire.get("function"))
    return _Tool(str(function.get("name") or ""), as_dict(function.get("parameters")))


def _read_text(message: Mapping[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(str(part.get("text", "")) for part in as_dicts(content)).strip()
    return str(content or "")
