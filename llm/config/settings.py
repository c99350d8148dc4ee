"""The configuration: reads environment and ``.env`` into one frozen value. No other module reads the environment."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final

from llm.config.engines import SUFFIXES, read_custom_engines, read_engines, set_task_defaults, variable_name
from llm.config.own_keys import read_own_keys
from llm.config.parsers import (
    parse_age,
    parse_client_ids,
    parse_fetch_allow,
    parse_flag,
    parse_image_engine,
    parse_int,
    parse_key,
    parse_names,
    parse_port,
    parse_proxy_url,
    parse_reasoning_field,
    parse_seconds,
    parse_size,
    parse_size_or_zero,
    parse_text,
    parse_url,
    parse_variable,
)
from llm.engines.engine import Engine
from llm.engines.records import ENGINES


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its attribute of :class:`Config`, its default as text, and its meaning for the README."""

    name: str
    attribute: str
    parse: Callable[[str], Any]
    default: str
    meaning: str


_REASONING_FIELD_MEANING: Final = "reasoning of Chat Completions in `both` fields, `reasoning_content` or `reasoning`"
_HEADER_SIZE_MEANING: Final = "headers of a request; beyond it 431 (414 for its first line), and the connection closes"

_TABLE: Final[tuple[tuple[str, str, Callable[[str], Any], str, str], ...]] = (
    ("HOST", "host", parse_text, "127.0.0.1", "address to listen on, or several, comma separated; also `--host`"),
    ("PORT", "port", parse_port, "3000", "port; if not set, the next free one; also `--port`"),
    ("PROCESSES", "processes", parse_int, "1", "worker processes on one port, 0: one per core; also `--processes`"),
    ("MAX_BODY_SIZE", "max_body_size", parse_size, "32MB", "largest request body, else 413"),
    ("MAX_ANSWERS", "max_answers", parse_int, "200", "concurrent answers per caller, 0: no limit; else 429"),
    ("MAX_CONNECTIONS", "max_connections", parse_int, "10000", "concurrent client connections, 0: no limit; else 429"),
    ("MAX_HEADER_SIZE", "max_header_size", parse_size, "64KB", _HEADER_SIZE_MEANING),
    ("MAX_KEPT_BODIES", "max_kept_bodies", parse_size, "256MB", "bodies of all callers without a client id, else 429"),
    ("MAX_UPLOAD_SIZE", "max_upload_size", parse_size, "512MB", "largest form or file that is passed on, else 413"),
    ("MAX_KEPT_UPLOADS", "max_kept_uploads", parse_size, "2GB", "all of these at a time, per process, else 429"),
    ("MAX_WEBSOCKETS", "max_websockets", parse_int, "1000", "WebSockets to `/v1/responses`, 0: none; else 426"),
    ("WEBSOCKET_MAX_AGE", "websocket_max_age", parse_age, "1h", "age at which a WebSocket is closed"),
    ("WEBSOCKET_IDLE_TIMEOUT", "websocket_idle_timeout", parse_age, "10m", "time without a message, then it is closed"),
    ("WEBSOCKET_MAX_SIZE", "websocket_max_size", parse_size, "256MB", "conversations kept by all WebSockets"),
    ("HEADER_TIMEOUT", "header_timeout", parse_seconds, "75", "seconds to receive headers; also for idle connections"),
    ("BODY_TIMEOUT", "body_timeout", parse_seconds, "120", "seconds without a byte of a request body, else 408"),
    ("CLIENT_TIMEOUT", "client_timeout", parse_seconds, "300", "seconds without the client reading its answer"),
    ("CONNECT_TIMEOUT", "connect_timeout", parse_seconds, "10", "seconds to connect to a provider"),
    ("FIRST_BYTE_TIMEOUT", "first_byte_timeout", parse_seconds, "600", "seconds to the first byte of an answer"),
    ("IDLE_TIMEOUT", "idle_timeout", parse_seconds, "300", "seconds between data of an answer; pings do not count"),
    ("KEEPALIVE_INTERVAL", "keepalive_interval", parse_seconds, "15", "seconds of silence before a keep-alive is sent"),
    ("MAX_ANSWER_SIZE", "max_answer_size", parse_size, "64MB", "largest provider answer, or event of one, in memory"),
    ("MAX_CONTINUATIONS", "max_continuations", parse_int, "32", "requests to go on with one long answer (Gemini 4)"),
    ("MAX_RETRIES", "max_retries", parse_int, "2", "retries of a request, only before the first byte of the answer"),
    ("MAX_RETRY_WAIT", "max_retry_wait", parse_seconds, "10", "seconds of waiting for all retries together"),
    ("MAX_TOOL_ROUNDS", "max_tool_rounds", parse_int, "10", "rounds of the tool loop per answer"),
    ("MAX_TOOL_TOKENS", "max_tool_tokens", parse_int, "1000000", "tokens of all rounds per answer"),
    ("MAX_TOOL_TIME", "max_tool_time", parse_seconds, "900", "seconds for all rounds per answer"),
    ("TOOL_TIMEOUT", "tool_timeout", parse_seconds, "300", "seconds for one tool call"),
    ("DRAIN_TIMEOUT", "drain_timeout", parse_seconds, "30", "seconds for running answers to finish after SIGTERM"),
    ("DATA_DIR", "data_dir", parse_text, "data", "folder for threads and generated images"),
    ("THREAD_MAX_SIZE", "thread_max_size", parse_size, "64MB", "largest thread; answers beyond it are not saved"),
    ("FILES_MAX_AGE", "files_max_age", parse_age, "90d", "age at which owners of files and batches are forgotten"),
    ("FILES_MAX_COUNT", "files_max_count", parse_int, "100000", "remembered files and batches of all clients"),
    ("RESPONSES_MAX_AGE", "responses_max_age", parse_age, "1d", "age at which kept responses are deleted"),
    ("RESPONSES_MAX_SIZE", "responses_max_size", parse_size_or_zero, "256MB", "all kept responses; 0: none are kept"),
    ("MAX_BACKGROUND_ANSWERS", "max_background_answers", parse_int, "20", "responses in the background per caller"),
    ("MAX_BACKGROUND_TIME", "max_background_time", parse_seconds, "3600", "seconds of a response in the background"),
    ("IMAGE_MAX_AGE", "image_max_age", parse_age, "30d", "age at which generated images are deleted"),
    ("IMAGE_MAX_SIZE", "image_max_size", parse_size, "1GB", "all generated images; the oldest are deleted first"),
    ("IDEMPOTENCY_MAX_AGE", "idempotency_max_age", parse_age, "10m", "age at which an answer is no longer repeated"),
    ("IDEMPOTENCY_MAX_SIZE", "idempotency_max_size", parse_size, "64MB", "answers kept for that; the oldest go first"),
    ("TTS_ENGINE", "tts_engine", parse_text, "", "default engine for speech; if not set, the first one"),
    ("TTS_MODEL", "tts_model", parse_text, "", "its model, instead of the default one"),
    ("TTS_VOICE", "tts_voice", parse_text, "", "its voice, instead of the default one"),
    ("STT_ENGINE", "stt_engine", parse_text, "", "default engine for transcription; if not set, the first one"),
    ("STT_MODEL", "stt_model", parse_text, "", "its model, instead of the default one"),
    ("TAVILY_API_KEY", "tavily_key", parse_key, "", "key for web search; makes its tool available"),
    ("TAVILY_BASE_URL", "tavily_url", parse_url, "https://api.tavily.com", "base URL of the web search API"),
    ("IMAGE_ENGINE", "image_engine", parse_image_engine, "", "engine of the image tool: `openai` or `huggingface`"),
    ("IMAGE_MODEL", "image_model", parse_text, "", "its model; the tool needs both and the engine's key"),
    ("PUBLIC_URL", "public_url", parse_url, "", "URL of this server for clients, for links to generated images"),
    ("FETCH_ALLOW", "fetch_allow", parse_fetch_allow, "", "private `host:port` open to tools, comma separated"),
    ("OWN_KEYS", "own_keys_text", parse_text, "", "engines that take callers' own keys, or `true`, `false`"),
    ("CORS_ORIGINS", "cors_origins", parse_names, "", "allowed browser origins, comma separated; `*`: any"),
    ("CHAT_REASONING_FIELD", "chat_reasoning_fields", parse_reasoning_field, "both", _REASONING_FIELD_MEANING),
    ("PATH_IDS", "path_ids", parse_flag, "false", "read client ids from paths too: `/c/<client id>/…`"),
    ("CHECK_GRAMMAR", "check_grammar", parse_flag, "false", "check the events of every stream, log violations"),
)  # fmt: skip
SETTINGS: Final = tuple(Setting(*row) for row in _TABLE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The configuration of one server. Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 3000
    port_chosen: bool = False  # PORT is set: no other port is tried
    processes: int = 1
    client_ids: frozenset[str] = frozenset()  # not empty after from_env()
    client_id_generated: bool = False  # the only client id is random
    open_to_all: bool = False  # AUTHORIZED_CLIENT_ID has "*"
    engines: Mapping[str, Engine] = field(default_factory=lambda: dict(ENGINES))
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # the server's keys by engine
    enabled: frozenset[str] = frozenset()  # engines for callers with a client id
    max_body_size: int = 32 << 20
    max_answers: int = 200
    max_connections: int = 10_000
    max_header_size: int = 64 << 10
    max_kept_bodies: int = 256 << 20
    max_upload_size: int = 512 << 20
    max_kept_uploads: int = 2 << 30
    max_websockets: int = 1000
    websocket_max_age: float = 3600
    websocket_idle_timeout: float = 600
    websocket_max_size: int = 256 << 20
    header_timeout: float = 75
    body_timeout: float = 120
    client_timeout: float = 300
    connect_timeout: float = 10
    first_byte_timeout: float = 600
    idle_timeout: float = 300
    keepalive_interval: float = 15
    max_answer_size: int = 64 << 20
    max_continuations: int = 32
    max_retries: int = 2
    max_retry_wait: float = 10
    max_tool_rounds: int = 10
    max_tool_tokens: int = 1_000_000
    max_tool_time: float = 900
    tool_timeout: float = 300
    drain_timeout: float = 30
    data_dir: str = "data"
    thread_max_size: int = 64 << 20
    files_max_age: float = 90 * 86400
    files_max_count: int = 100_000
    responses_max_age: float = 86400
    responses_max_size: int = 256 << 20
    max_background_answers: int = 20
    max_background_time: float = 3600
    image_max_age: float = 30 * 86400
    image_max_size: int = 1 << 30
    idempotency_max_age: float = 600
    idempotency_max_size: int = 64 << 20
    tts_engine: str = ""
    tts_model: str = ""
    tts_voice: str = ""
    stt_engine: str = ""
    stt_model: str = ""
    tavily_key: str = field(default="", repr=False)
    tavily_url: str = "https://api.tavily.com"
    image_engine: str = ""
    image_model: str = ""
    public_url: str = ""
    fetch_allow: tuple[tuple[str, int], ...] = ()  # hosts in the form of ``llm.transport.egress``
    own_keys_text: str = ""  # OWN_KEYS as it was set
    own_keys: frozenset[str] = frozenset()  # engines that take the own key of a caller without a client id
    cors_origins: tuple[str, ...] = ()
    chat_reasoning_fields: tuple[str, ...] = ("reasoning_content", "reasoning")
    path_ids: bool = False
    check_grammar: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str], dotenv: Mapping[str, str | None] | None = None) -> Config:
        """Reads the settings; ``environ`` wins over ``dotenv``. Raises :class:`ConfigError`."""
        values = {**{k: v for k, v in (dotenv or {}).items() if v is not None}, **environ}
        found: dict[str, Any] = {}
        for setting in SETTINGS:
            if setting.name in values:
                found[setting.attribute] = parse_variable(setting.name, setting.parse, values[setting.name])
        engines, keys, enabled = read_engines({**ENGINES, **read_custom_engines(values)}, values)
        own_keys = read_own_keys(values.get("OWN_KEYS"), engines, keys)
        config = cls(
            **found,
            port_chosen="PORT" in values,
            engines=engines,
            keys=keys,
            enabled=enabled,
            own_keys=own_keys,
        )
        config = _add_client_ids(_set_voice_defaults(config), values)
        warnings = (*_unknown_name_warnings(dotenv or {}, engines), *_tool_warnings(config))
        return replace(config, proxies=_read_proxies(values), warnings=warnings)

    @property
    def secrets(self) -> frozenset[str]:
        """Texts that must not appear in any output."""
        tools = (self.tavily_key,) if self.tavily_key else ()
        return frozenset((*self.keys.values(), *tools, *(() if self.open_to_all else self.client_ids)))


def _read_proxies(values: Mapping[str, str]) -> dict[str, str]:
    """Reads the proxy variables like other programs: names in either case, an empty value is not set."""
    proxies = {name: values[name] for name in values if name.upper() in ("HTTPS_PROXY", "HTTP_PROXY") and values[name]}
    found = {name: parse_variable(name, parse_proxy_url, value) for name, value in proxies.items()}
    return found | {name: values[name] for name in values if name.upper() == "NO_PROXY"}


def _set_voice_defaults(config: Config) -> Config:
    speech = {"model": config.tts_model, "voice": config.tts_voice}
    engines = set_task_defaults(config.engines, "TTS", config.tts_engine, "speech", **speech)
    engines = set_task_defaults(engines, "STT", config.stt_engine, "transcription", model=config.stt_model)
    return replace(config, engines=engines)


def _add_client_ids(config: Config, values: Mapping[str, str]) -> Config:
    if "AUTHORIZED_CLIENT_ID" not in values:
        return replace(config, client_ids=frozenset({secrets.token_urlsafe(18)}), client_id_generated=True)
    ids = parse_variable("AUTHORIZED_CLIENT_ID", parse_client_ids, values["AUTHORIZED_CLIENT_ID"])
    return replace(config, client_ids=ids, open_to_all="*" in ids)


def _tool_warnings(config: Config) -> list[str]:
    """Warns of an incomplete configuration of the image tool; chats work without it."""
    needed = {"IMAGE_ENGINE": config.image_engine, "IMAGE_MODEL": config.image_model}
    if config.image_engine:
        needed[variable_name(config.image_engine, "API_KEY")] = config.keys.get(config.image_engine, "")
    missing = [name for name, value in needed.items() if not value]
    if missing and (config.image_engine or config.image_model):
        return [f"the image tool is off: {' and '.join(missing)} missing"]
    return []


def list_variables(engines: Mapping[str, Engine]) -> frozenset[str]:
    """Lists the names of all variables that the server reads."""
    engine_variables = (variable_name(name, suffix) for name in engines for suffix in SUFFIXES)
    proxies = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")
    return frozenset(
        (*(s.name for s in SETTINGS), *engine_variables, *proxies, "AUTHORIZED_CLIENT_ID", "CUSTOM_ENGINES")
    )


def _unknown_name_warnings(dotenv: Mapping[str, str | None], engines: Mapping[str, Engine]) -> list[str]:
    known = list_variables(engines)
    warnings = []
    for name in dotenv:
        if name not in known:
            import difflib  # only for a misspelled name

            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} in .env is not a known setting{hint}")
    return warnings
