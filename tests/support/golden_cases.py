"""The requests whose engine requests are stored in ``tests/golden``: the same for every engine, on models of each kind.

A request is a native one where that API has the feature, else a neutral one (client tools, history with calls, images by
URL).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from llm.chat.messages import Media, Message, Part, Reasoning, Text, ToolCall, ToolResult
from llm.chat.provider_metadata import ProviderMetadata
from llm.chat.request import ChatRequest, JsonFormat, Options, ToolSpec
from llm.engines.engine import Engine
from llm.engines.records import ENGINES


@dataclass(frozen=True, kw_only=True)
class Subject:
    """One golden file: an engine with one of its wires, and a model of each kind."""

    engine: str
    plain: str  # a model without reasoning, with vision if the engine has one
    thinking: tuple[str, ...]  # models with reasoning; where one is enough, the first
    responses: bool = False  # uses OpenAI's Responses API


@dataclass(frozen=True, kw_only=True)
class Case:
    name: str
    model: str
    native: Mapping[str, Any] | None = None  # the body of POST /llm/chat without engine and model
    request: ChatRequest | None = None


SUBJECTS: Final[Mapping[str, Subject]] = {
    "openai": Subject(engine="openai", plain="gpt-4.1-mini", thinking=("gpt-5.4-mini", "o4-mini", "gpt-5")),
    "openai-responses": Subject(
        engine="openai", plain="gpt-4.1-mini", thinking=("gpt-5.6-sol", "o4-mini"), responses=True
    ),
    "anthropic": Subject(
        engine="anthropic",
        plain="claude-3-5-haiku-20241022",
        thinking=("claude-haiku-4-5", "claude-opus-4-6", "claude-opus-4-8", "claude-opus-5-5"),
    ),
    "google": Subject(
        engine="google",
        plain="gemini-2.0-flash",
        thinking=("gemini-3.5-flash", "gemini-2.5-flash", "gemini-2.5-pro", "gemini-4-argon"),
    ),
    "ollama": Subject(engine="ollama", plain="gemma3:4b", thinking=("qwen3:8b", "gpt-oss:20b")),
    "groq": Subject(
        engine="groq",
        plain="meta-llama/llama-4-scout-17b-16e-instruct",
        thinking=("openai/gpt-oss-20b", "qwen/qwen3-32b"),
    ),
    "xai": Subject(engine="xai", plain="grok-4.20-0309-non-reasoning", thinking=("grok-4.5", "grok-3-mini")),
    "cerebras": Subject(engine="cerebras", plain="llama3.1-8b", thinking=("gpt-oss-120b", "zai-glm-4.7")),
    "deepseek": Subject(engine="deepseek", plain="deepseek-chat", thinking=("deepseek-flash",)),
    "openrouter": Subject(
        engine="openrouter", plain="openai/gpt-4.1-mini", thinking=("anthropic/claude-sonnet-4.5", "openai/gpt-5.4-mini")
    ),
    "together": Subject(
        engine="together",
        plain="meta-llama/Llama-4-Scout-17B-16E-Instruct",
        thinking=("openai/gpt-oss-20b", "deepseek-ai/DeepSeek-R1", "Qwen/Qwen3.5-397B-A17B"),
    ),
    "lmstudio": Subject(engine="lmstudio", plain="gemma-3-4b", thinking=("qwen3-8b",)),
    "huggingface": Subject(
        engine="huggingface", plain="meta-llama/Llama-4-Scout-17B-16E-Instruct", thinking=("openai/gpt-oss-20b",)
    ),
    "meta": Subject(engine="meta", plain="Llama-4-Maverick-17B-128E-Instruct-FP8", thinking=("muse-spark-1.3",)),
    "mistralai": Subject(
        engine="mistralai", plain="mistral-large-latest", thinking=("magistral-medium-latest", "mistral-small-latest")
    ),
    "azure": Subject(engine="azure", plain="gpt-4.1-mini", thinking=("gpt-5.4-mini",)),
}  # fmt: skip

SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city", "days"],
    "additionalProperties": False,
}
# Only the first bytes of each file type: no code reads more.
FILES: Final[Mapping[str, dict[str, str]]] = {
    "png": {"mimeType": "image/png", "contents": "iVBORw0KGgo="},
    "jpeg": {"mimeType": "image/jpeg", "contents": "/9j/4A=="},
    "webp": {"mimeType": "image/webp", "contents": "UklGRgAAAABXRUJQ"},
    "gif": {"mimeType": "image/gif", "contents": "R0lGODlh"},
    "pdf": {"mimeType": "application/pdf", "contents": "JVBERi0xLjQ=", "title": "paper.pdf"},
    "text": {"mimeType": "text/plain", "contents": "Two and two is four.", "title": "notes.txt"},
    "markdown": {"mimeType": "text/markdown", "contents": "# Four"},
}

# One option each, as native fields; zeros and false too.
OPTIONS: Final[Mapping[str, dict[str, Any]]] = {
    "maxTokens=5": {"maxTokens": 5},
    "temperature=0": {"temperature": 0},
    "temperature=0.5": {"temperature": 0.5},
    "temperature=1": {"temperature": 1},
    "top_p=0": {"top_p": 0},
    "top_p=0.9": {"top_p": 0.9},
    "temperature=0.5 top_p=0.9": {"temperature": 0.5, "top_p": 0.9},
    "top_k=0": {"top_k": 0},
    "top_k=40": {"top_k": 40},
    "stop=one": {"stop": "END"},
    "stop=two": {"stop": ["END", "STOP"]},
    "stop=five": {"stop": ["a", "b", "c", "d", "e"]},
    "seed=0": {"seed": 0},
    "seed=7": {"seed": 7},
    "logprobs=false": {"logprobs": False},
    "logprobs=true": {"logprobs": True},
    "top_logprobs=0": {"top_logprobs": 0},
    "top_logprobs=3": {"logprobs": True, "top_logprobs": 3},
    "verbosity=low": {"verbosity": "low"},
    "verbosity=medium": {"verbosity": "medium"},
    "serviceTier=auto": {"serviceTier": "auto"},
    "serviceTier=default": {"serviceTier": "default"},
    "serviceTier=flex": {"serviceTier": "flex"},
    "caching=false": {"caching": False},
    "caching=true": {"caching": True},
    "citations=false": {"citations": False},
    "citations=true": {"citations": True},
    "contextWindowSize=4096": {"contextWindowSize": 4096},
    "structuredOutput": {"structuredOutput": {"name": "trip", "schema": SCHEMA}},
    "toolChoice=none": {"toolChoice": {"type": "none"}},
    "toolChoice=required": {"toolChoice": {"type": "required"}},
    "customOpts": {"customOpts": {"x_new": [1]}},
}
# Those that a model may treat differently when it reasons.
WHILE_THINKING: Final = (
    "maxTokens=5", "temperature=0", "temperature=1", "top_p=0", "top_p=0.9", "top_k=0", "stop=one", "seed=0",
    "logprobs=true", "top_logprobs=3", "verbosity=low", "structuredOutput",
)  # fmt: skip

THINKING: Final[Mapping[str, dict[str, Any]]] = {
    "unasked": {},
    "reasoning=false": {"reasoning": False},
    "reasoning=true": {"reasoning": True},
    **{
        f"effort={word}": {"reasoningEffort": word}
        for word in ("none", "minimal", "low", "medium", "high", "xhigh", "max")
    },
    "budget=-1": {"thinkingBudget": -1},
    "budget=0": {"reasoningBudget": 0},
    "budget=2000": {"reasoningBudget": 2000},
    "budget=2000 maxTokens=2500": {"reasoningBudget": 2000, "maxTokens": 2500},
    "budget=9000 effort=low": {"reasoningBudget": 9000, "reasoningEffort": "low"},
    "think=true": {"think": True},
    "think=high": {"think": "high"},
}

# Options that the native API lacks.
NEUTRAL_OPTIONS: Final[Mapping[str, Options]] = {
    "presence_penalty=0": Options(presence_penalty=0),
    "presence_penalty=0.5": Options(presence_penalty=0.5),
    "frequency_penalty=0": Options(frequency_penalty=0),
    "frequency_penalty=0.5": Options(frequency_penalty=0.5),
    "format=any json": Options(format=JsonFormat()),
}

WEATHER = ToolSpec("get_weather", "The weather of the next days", SCHEMA, strict=True)
CLOCK = ToolSpec("get_time", "The time")
TOOLS: Final = (WEATHER, CLOCK)
CHOICES: Final[Mapping[str, Options]] = {
    "unasked": Options(),
    "auto": Options(tool_choice="auto"),
    "none": Options(tool_choice="none"),
    "required": Options(tool_choice="required"),
    "by name": Options(tool_choice="tool:get_weather"),
    "one at a time": Options(parallel_tools=False),
    "in parallel": Options(parallel_tools=True),
    "required one at a time": Options(tool_choice="required", parallel_tools=False),
}

SYSTEM = Message("system", (Text("Be brief."),))
HELLO = Message("user", (Text("Hello"),))
CALL = ToolCall("call_1", "get_weather", '{"city": "Oslo", "days": 1}')
SECOND = ToolCall("call_2", "get_time", "{}")


def user(*parts: Part) -> Message:
    return Message("user", parts)


def assistant(*parts: Part) -> Message:
    return Message("assistant", parts)


def result(call: ToolCall, text: str, failed: bool = False) -> ToolResult:
    return ToolResult(call.id, (Text(text),), failed, call.name)


def cases(subject: Subject) -> Iterator[Case]:
    for case in _cases(subject):
        yield _over_responses(case) if subject.responses else case


def _cases(subject: Subject) -> Iterator[Case]:
    plain, thinking = subject.plain, subject.thinking[0]
    yield from _chats(plain)
    for name, options in OPTIONS.items():
        yield Case(name=f"option {name}", model=plain, native=_native(options=options))
        if name in WHILE_THINKING:
            yield Case(name=f"option {name} @ {thinking}", model=thinking, native=_native(options=options))
    for model in (plain, *subject.thinking):
        for name, options in THINKING.items():
            yield Case(name=f"think {name} @ {model}", model=model, native=_native(options=options))
    yield from _attachments(plain)
    for name, neutral in NEUTRAL_OPTIONS.items():
        yield _neutral(f"option {name}", plain, HELLO, options=neutral)
    yield from _tools(plain)
    yield from _tools(thinking, f" @ {thinking}")
    yield from _reasoning(thinking, ENGINES[subject.engine], subject.responses)


def _native(**more: Any) -> dict[str, Any]:
    return {"prompt": "Hello", "instructions": "Be brief.", "tools": False, "stream": False, **more}


def _neutral(name: str, model: str, *messages: Message, stream: bool = False, **more: Any) -> Case:
    return Case(name=name, model=model, request=ChatRequest(model=model, messages=messages, stream=stream, **more))


def _over_responses(case: Case) -> Case:
    if case.native is not None:
        options = {**case.native.get("options", {}), "useResponsesApi": True}
        return replace(case, native={**case.native, "options": options})
    assert case.request is not None
    return replace(case, request=replace(case.request, options=replace(case.request.options, responses_api=True)))


def _chats(model: str) -> Iterator[Case]:
    history = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "What is two and two?"},
        {"role": "assistant", "content": "Four."},
    ]
    talk = {"prompt": "And three and three?", "tools": False}
    yield _neutral("chat", model, HELLO)
    yield _neutral("chat streamed", model, HELLO, stream=True)
    yield Case(name="chat with instructions", model=model, native=_native())
    yield Case(name="chat with instructions streamed", model=model, native=_native(stream=True))
    yield Case(name="chat with history", model=model, native={**talk, "messages": history, "stream": False})
    yield Case(name="chat with history cached", model=model, native={
        **talk, "messages": history, "stream": False, "options": {"caching": True},
    })  # fmt: skip


def _attachments(model: str) -> Iterator[Case]:
    def case(name: str, **more: Any) -> Case:
        return Case(name=f"attachment {name}", model=model, native=_native(**more))

    for kind, file in FILES.items():
        yield case(kind, attachment=file)
    yield case("several", attachments=[FILES["png"], FILES["pdf"], FILES["text"], FILES["jpeg"]])
    earlier = [
        {"role": "user", "content": "Look", "attachments": [FILES["png"], FILES["text"]]},
        {"role": "assistant", "content": "I see."},
    ]
    yield case("in history", messages=earlier, attachment=FILES["webp"])
    yield case("pdf with citations", attachment=FILES["pdf"], options={"citations": True})
    by_url = Media(mime="image/png", url="https://example.org/cat.png")
    yield _neutral("attachment image by url", model, user(Text("Look"), by_url))
    by_url = Media(mime="application/pdf", url="https://example.org/paper.pdf", name="paper.pdf")
    yield _neutral("attachment pdf by url", model, user(Text("Look"), by_url))


def _tools(model: str, suffix: str = "") -> Iterator[Case]:
    for name, options in CHOICES.items():
        yield _neutral(f"tools {name}{suffix}", model, HELLO, tools=TOOLS, options=options)
    schema = Options(format=JsonFormat(SCHEMA, "trip", True))
    yield _neutral(f"tools and schema{suffix}", model, HELLO, tools=TOOLS, options=schema)
    called = assistant(Text("One moment."), CALL, SECOND)
    answered = user(result(CALL, '{"sky": "clear"}'), result(SECOND, "It is late.", failed=True))
    yield _neutral(f"tools results{suffix}", model, SYSTEM, HELLO, called, answered, tools=TOOLS, stream=True)
    later = (assistant(Text("It is clear.")), user(Text("And tomorrow?")))
    yield _neutral(f"tools results in history{suffix}", model, SYSTEM, HELLO, called, answered, *later, tools=TOOLS)
    said = user(*answered.parts, Text("Hurry."))
    yield _neutral(f"tools results and text{suffix}", model, SYSTEM, HELLO, called, said, tools=TOOLS)


# Metadata of reasoning and of calls that has to be sent back, by wire.
_SIGNED: Final[Mapping[str, tuple[dict[str, Any], dict[str, Any]]]] = {
    "anthropic": ({"signature": "c2ln"}, {}),
    "gemini": ({}, {"thoughtSignature": "c2ln"}),
    "ollama": ({}, {}),
    "openai-chat": ({"reasoning_details": [{"type": "reasoning.text", "text": "Hm.", "signature": "c2ln"}]}, {}),
    "openai-responses": (
        {"type": "reasoning", "id": "rs_1", "summary": [{"type": "summary_text", "text": "Hm."}], "encrypted_content": "c2ln"},
        {"id": "fc_1", "status": "completed"},
    ),
}  # fmt: skip


def _reasoning(model: str, engine: Engine, responses: bool) -> Iterator[Case]:
    wire = "openai-responses" if responses else engine.dialect
    signed = (("signed", engine.issuer), ("signed elsewhere", "another"))
    signs = wire != "openai-chat" or engine.name == "openrouter"  # the only engine of this wire with signatures
    for name, issuer in (("unsigned", ""), *(signed if signs else ())):
        on_thought, on_call = _SIGNED[wire]
        thought = Reasoning("Hm.", (ProviderMetadata(wire, issuer, on_thought),) if issuer and on_thought else ())
        call = replace(CALL, metadata=(ProviderMetadata(wire, issuer, on_call),) if issuer and on_call else ())
        turn = (SYSTEM, HELLO, assistant(thought, Text("One moment."), call), user(result(CALL, "clear")))
        yield _neutral(f"reasoning {name}", model, *turn, tools=TOOLS)
        yield _neutral(f"reasoning {name} of an earlier turn", model, HELLO, assistant(thought, Text("Hi.")), HELLO)
