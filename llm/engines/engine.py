"""The record of an engine: data about a provider, and the request's target."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, TypeAlias

from llm.chat.request import WebKind
from llm.engines.capabilities import NO_FACTS, ModelFacts, ModelRules
from llm.engines.globs import matches
from llm.engines.media_limits import MediaLimits
from llm.engines.task_support import CompletionSupport, ImageSupport, RerankSupport, SpeechSupport, TranscriptionSupport
from llm.wire.json_codec import Json, quote_url_part

RESPONSES_PATH: Final = "/responses"
# Paths that name no deployment in Azure's classic form: the body does, or nothing.
_WITHOUT_DEPLOYMENT: Final = (RESPONSES_PATH, "/files", "/uploads", "/batches")
_LONG_CONTEXT: Final = re.compile(r"(?:\[1m\])+$", re.I)
_CHAT: Final = "openai-chat"
# Ends of a base URL that the paths of a dialect contain themselves: other programs want them in it.
_OWN_PATHS: Final[Mapping[str, tuple[str, ...]]] = {
    "anthropic": ("/v1/messages", "/v1"),
    "gemini": ("/v1beta/models", "/v1beta", "/v1"),
    "ollama": ("/api/chat", "/api/generate", "/api", "/v1"),
    "openai-chat": ("/chat/completions",),
    "openai-responses": ("/responses",),
}


def trim_base_url(url: str, dialect: str) -> str:
    """Returns a configured base URL without the end that the paths of the dialect contain.

    >>> trim_base_url("http://127.0.0.1:11434/v1", "ollama")
    'http://127.0.0.1:11434'
    """
    end = next((end for end in _OWN_PATHS.get(dialect, ()) if url.endswith(end)), "")
    return url.removesuffix(end).rstrip("/")


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Differences between an engine and its dialect. Code asks for a quirk, never for the engine's name."""

    max_tokens_field: str = "max_tokens"
    refuses_max_tokens: tuple[str, ...] = ()  # globs of models that accept ``max_completion_tokens`` only
    seed_field: str = "seed"
    document_part: Literal["file", "document_url"] = "file"  # type of the part for a document
    system_role: str = "system"
    # Which reasoning goes back to the engine, in the field in which it came: "if_sent": what the engine has sent with
    # tool calls; "with_tools": all of messages with tool calls.
    echo_reasoning: Literal["never", "if_sent", "with_tools", "always"] = "if_sent"
    reasoning_field: str = "reasoning_content"  # field of an assistant message for reasoning whose field is unknown
    unsigned_reasoning: bool = False  # reasoning of calls goes back as its text alone
    # Of the fields that OpenAI's two APIs share, those that a host of Chat Completions alone knows.
    shared_fields: frozenset[str] = frozenset()
    cache_key_header: str = ""  # in Chat Completions, the header for the client's ``prompt_cache_key``
    accepts_include_usage: bool = True  # accepts stream_options.include_usage
    reasoning_in_output: bool = True  # False: completion_tokens excludes reasoning tokens (xAI)
    flat_content: bool = False  # content is a plain string unless an image requires a list of parts
    json_schema: bool = True  # accepts response_format json_schema
    json_schema_fields: Mapping[str, Json] = field(
        default_factory=dict
    )  # sent with a JSON schema so that it is enforced
    tool_name_in_results: bool = True  # accepts the tool's name in a tool result
    accepts_forced_tools: bool = True  # accepts tool_choice other than auto and none
    accepts_tool_choice_none: bool = True  # accepts tool_choice none
    call_id_length: int | None = None  # of an id of a tool call at most; with 9 exactly that, letters and digits
    custom_tools: bool = False  # accepts tools whose input is text (``llm.chat.freeform``) in its OpenAI APIs
    accepts_allowed_tools: bool = False  # accepts tool_choice allowed_tools
    think_tags: bool = False  # reasoning comes in <think> tags in the text
    accepts_unknown_fields: bool = True  # False: rejects unknown fields with 400
    unsupported_options: frozenset[str] = frozenset()  # fields of ``Options`` that none of its models supports
    service_tiers: Mapping[str, str] | None = (
        None  # the tiers that it knows, to its names; None: as the client wrote them
    )
    max_stop_sequences: int | None = None  # number of texts in ``stop``
    embedding_fields: Mapping[str, str] = field(default_factory=dict)  # fields of embedding requests to its own names
    max_top_logprobs: int | None = None  # highest value of ``top_logprobs``
    logprobs_is_number: bool = False  # ``logprobs`` is the number, not a flag beside ``top_logprobs``


MarkField: TypeAlias = Literal["cache_control", "prompt_cache_breakpoint"]  # of parts, for prompt caches


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheMarks:
    """The cache marks that an engine with one of OpenAI's APIs takes. ``models``: globs of those that have them."""

    field: MarkField
    models: tuple[str, ...] = ("*",)


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponsesSupport:
    """The Responses API of an engine whose dialect is Chat Completions. Fields are globs of models that need it."""

    required: tuple[str, ...] = ()  # not available in Chat Completions
    required_with_tools: tuple[str, ...] = ()  # in Chat Completions they reject function tools together with reasoning
    required_with_max_effort: tuple[str, ...] = ()  # in Chat Completions they reject the effort "max"
    phases: tuple[str, ...] = ()  # texts go back marked as commentary or answer, else they work less well
    only_functions: bool = False  # other tools are refused there: such requests go to Chat Completions
    forced: bool = False  # by the owner: its errors are never a reason to ask by Chat Completions
    keeps_answers: bool = False  # it keeps its answers, and finds them again by their ids


# The tool of Chat Completions that searches the web, which each host has in its own words.
WebForm: TypeAlias = Literal["web_search_options", "openrouter", "browser_search", "compound"]
_NO_SETTINGS: Final[frozenset[str]] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class WebSupport:
    """The hosted tools of an engine that search the web (``search``) and fetch pages. Tuples are globs of models."""

    search: tuple[str, ...] = ("*",)
    fetch: tuple[str, ...] = ()
    alone: tuple[str, ...] = ()  # these have them only in requests without functions
    responses: bool = False  # its Responses API has them; its Chat Completions only for the models of ``forms``
    forms: Mapping[str, WebForm] = field(default_factory=dict)  # in Chat Completions, by glob; the first one counts
    own_form_only: bool = False  # its Chat Completions refuses the tool in the words of others
    settings: frozenset[str] = _NO_SETTINGS  # names of the settings of ``WebTool`` that it takes
    blocked_domains: str = ""  # the name of that setting in its Responses API
    lists_sources: bool = False  # its Responses API lists all sources of a search on request
    can_force: bool = True  # accepts such a tool as a tool choice

    def find_form(self, model: str) -> WebForm | None:
        """Returns the form of the tool in Chat Completions; None if this API does not have it for the model."""
        return next((form for glob, form in self.forms.items() if matches(model, (glob,))), None)

    def has(self, kind: WebKind, model: str, dialect: str, *, beside_functions: bool) -> bool:
        """True if a model has the tool in an API of the engine, named by its dialect."""
        if not matches(model, self.search if kind == "search" else self.fetch):
            return False
        if dialect == _CHAT and self.find_form(model) is None:
            return False
        return not (beside_functions and matches(model, self.alone))


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """A provider: URLs, dialect, limits and models. ``{NAME}_API_KEY`` and ``{NAME}_BASE_URL`` set key and base URL."""

    name: str
    label: str  # display name
    dialect: str
    base_url: str = ""  # "": must be configured
    docs: str = ""  # URL of the API reference
    credentials: str = "api-key"  # how its requests are authenticated (``upstream.credentials``)
    auth: str = "Authorization: Bearer {key}"  # header with the key, for the kind ``api-key``
    headers: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = True
    path: str = ""  # between the base URL and the paths of the dialect
    api_version: str = ""  # set: URLs name a deployment and this version (Azure's classic form)
    deployment: str = ""  # name in such URLs; default: the model
    chats: bool = True  # False: it has no chat API here
    always_translate: bool = False  # no passthrough: the owner wants <think> tags removed from the text
    local: bool = False  # on the owner's machine: must be enabled, and callers need a client id
    quirks: Quirks = Quirks()
    models: ModelRules = ModelRules()
    media_limits: MediaLimits = MediaLimits()
    caching: Literal["automatic", "on request", "unknown"] = "unknown"  # of prompt prefixes
    cache_marks: CacheMarks | None = None  # None: it has none, or caches on its own
    responses: ResponsesSupport | None = None  # None: it does not have this API
    rerank: RerankSupport | None = None
    web: WebSupport | None = None  # hosted tools for the web; None: it has none
    completions: CompletionSupport | None = None  # completes texts; None: it has no API for it
    speech: SpeechSupport | None = None
    transcription: TranscriptionSupport | None = None
    key_starts: tuple[str, ...] = ()  # with which its keys begin
    image_generation: ImageSupport | None = None
    keeps: frozenset[str] = frozenset()  # APIs that it has: files, uploads, batches (``llm.tasks.engine_ids``)
    moderates: bool = False  # has OpenAI's ``/moderations``
    image_tool: Literal["generations", "text-to-image"] | None = None  # the API that the image tool calls
    counts_tokens: bool = False  # has an API that counts tokens (``llm.tasks.token_count``)
    issuer: str = ""  # name in ``ProviderMetadata`` that it accepts; default: its own
    example_model: str = ""  # model for the example curl at the start; "": none
    facts: ModelFacts = NO_FACTS  # in the record of one request: what the engine's list reports about its model

    def __post_init__(self) -> None:
        if not self.issuer:
            object.__setattr__(self, "issuer", self.name)

    def build_url(self, path: str, model: str) -> str:
        """Returns the URL for a path of the dialect."""
        if not self.api_version:
            return f"{self.base_url}{self.path}{path}"
        mark = "&" if "?" in path else "?"
        version = f"{mark}api-version={quote_url_part(self.api_version)}"
        if path.startswith(_WITHOUT_DEPLOYMENT):
            return f"{self.base_url}/openai{path}{version}"
        deployment = quote_url_part(self.deployment or model)
        return f"{self.base_url}/openai/deployments/{deployment}{path}{version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """An engine and a model to send a request to, with the key."""

    engine: Engine
    model: str
    key: str | None = field(default=None, repr=False)
    is_callers_key: bool = False  # the key is the caller's, not the server's: its owner gets the key errors
    facts: ModelFacts = NO_FACTS  # of the model, as the engine's last model list reports them
    long_context: bool = False  # the client asked for the model's longest context


def split_long_context(model: str) -> tuple[str, bool]:
    """Returns a model's name without the mark with which Claude Code selects a long context, and whether it had one.

    >>> split_long_context("claude-sonnet-4-5[1M]")
    ('claude-sonnet-4-5', True)
    """
    name = _LONG_CONTEXT.sub("", model)
    return name, name != model


def guess_key_engine(text: str, engines: Iterable[Engine]) -> Engine | None:
    """Returns the engine whose keys look like the text; None if there is none. The longest beginning counts.

    >>> guess_key_engine("sk-ant-api03-x", ENGINES.values()).name
    'anthropic'
    """
    found = [(len(start), one) for one in engines for start in one.key_starts if text.startswith(start)]
    return max(found, key=lambda pair: pair[0])[1] if found else None
