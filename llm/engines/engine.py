"""The record of an engine: data about a provider, asked about by its meaning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from llm.engines.capabilities import ModelRules
from llm.engines.media_limits import Takes
from llm.engines.task_support import Images, Speech, Transcription
from llm.wire.json_codec import Json, in_address

_RESPONSES_PATH: Final = "/responses"


@dataclass(frozen=True, slots=True, kw_only=True)
class Quirks:
    """Where an engine departs from its dialect: data, asked about by its meaning."""

    max_tokens_field: str = "max_tokens"
    seed_field: str = "seed"
    documents: Literal["file", "document_url"] = "file"  # the part that a document travels in
    system_role: str = "system"
    echo_reasoning: Literal["never", "with_tools", "always"] = "never"
    reasoning_field: str = "reasoning_content"  # where thoughts are echoed, and what a client of ours would read
    usage_in_stream: bool = True  # takes stream_options.include_usage
    reasoning_in_output: bool = True  # False: completion_tokens leaves reasoning tokens out (xAI)
    flat_content: bool = False  # wants plain strings where no picture forces a list of parts
    json_schema: bool = True
    schema_fields: Mapping[str, Json] = field(default_factory=dict)  # go along with one, so that it is kept to
    named_results: bool = True  # takes the tool's name beside its result
    forced_tools: bool = True  # takes tool_choice other than auto and none
    barred_tools: bool = True  # takes tool_choice none
    think_tags: bool = False  # thoughts come as <think> in the text
    unknown_fields: bool = True  # False: answers fields it does not know with 400
    refuses: frozenset[str] = frozenset()  # names of ``Options`` that none of its models has
    most_stops: int | None = None  # texts in ``stop``
    most_logprobs: int | None = None  # ``top_logprobs``
    logprobs_count: bool = False  # wants their number in ``logprobs`` itself


@dataclass(frozen=True, slots=True, kw_only=True)
class Responses:
    """That an engine of the Chat Completions wire has the Responses API too, and which models need it (globs)."""

    always: tuple[str, ...] = ()  # not served by Chat Completions at all
    with_tools: tuple[str, ...] = ()  # refuse function tools there while they reason


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """How to reach a provider. Key and base URL come from ``{NAME}_API_KEY`` and ``{NAME}_BASE_URL``."""

    name: str
    label: str  # for people
    dialect: str
    base_url: str = ""  # "" : must be configured
    docs: str = ""  # where the wire is described
    credentials: str = "api-key"  # how its requests are authenticated (``upstream.credentials``)
    auth: str = "Authorization: Bearer {key}"  # of the kind ``api-key``: the header
    headers: Mapping[str, str] = field(default_factory=dict)
    needs_key: bool = True
    path: str = ""  # between the base URL and the dialect's own paths
    api_version: str = ""  # set: addresses name a deployment and this version (Azure's classic form)
    deployment: str = ""  # the one to call there, whatever the model; default: named like the model
    translate: bool = False  # even a client of its own dialect: the owner wants its thoughts cut out of the text
    local: bool = False  # on the owner's machine: has to be enabled, and a client id is needed
    quirks: Quirks = Quirks()
    models: ModelRules = ModelRules()
    takes: Takes = Takes()
    caching: Literal["automatic", "on request", "unknown"] = "unknown"  # of a prompt's beginning
    responses: Responses | None = None  # None: it has no such API
    speech: Speech | None = None
    transcription: Transcription | None = None
    images: Images | None = None
    image_tool: Literal["generations", "text-to-image"] | None = None  # the API that the image tool calls there
    counts: bool = False  # it tells how many tokens a request has (``tasks.counting``)
    issuer: str = ""  # whose opaque data it accepts; default its own name
    example: str = ""  # a model for the first curl, where one may be assumed

    def __post_init__(self) -> None:
        if not self.issuer:
            object.__setattr__(self, "issuer", self.name)

    def url(self, path: str, model: str) -> str:
        """The address of one of its dialect's paths."""
        if not self.api_version:
            return f"{self.base_url}{self.path}{path}"
        version = f"api-version={in_address(self.api_version)}"
        if path.startswith(_RESPONSES_PATH):  # there the body alone names the deployment
            return f"{self.base_url}/openai{path}?{version}"
        deployment = in_address(self.deployment or model)
        return f"{self.base_url}/openai/deployments/{deployment}{path}?{version}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One engine and model that a request may go to, with the key to use."""

    engine: Engine
    model: str
    key: str | None = field(default=None, repr=False)
    own_key: bool = False  # the caller's, not the server's: whoever is refused has to act
