"""The configuration: environment and ``.env`` into one frozen value. Nothing else reads the environment."""

from __future__ import annotations

import difflib
import re
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import urlsplit

from llm.engines.engine import Engine, Responses
from llm.engines.records import ENGINES
from llm.engines.task_support import NAMED_SPEECH, NAMED_TRANSCRIPTION
from llm.transport.egress import read_allowed


class ConfigError(Exception):
    """A value that cannot be. ``str()`` names the variable and the reason, never the value of a secret."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(f"{name}: {reason}")
        self.name = name


IMAGE_ENGINES: Final = tuple(name for name, engine in ENGINES.items() if engine.image_tool)


def _text(value: str) -> str:
    if not value.strip():
        raise ValueError("is empty; set it or remove it")
    return value.strip()


def _whole(value: str) -> int:
    if not re.fullmatch(r"[0-9]+", value.strip()):
        raise ValueError(f"{value!r} is not a whole number")
    return int(value)


def _port(value: str) -> int:
    port = _whole(value)
    if port > 65535:
        raise ValueError(f"{port} is not a port (0 to 65535; 0 lets the system choose)")
    return port


def _seconds(value: str) -> float:
    match = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?)\s*s?", value.strip())
    if not match or float(match[1]) <= 0:
        raise ValueError(f"{value!r} is not a time in seconds above 0")
    return float(match[1])


_TIMES: Final = {"": 1, "S": 1, "M": 60, "H": 3600, "D": 86400}


def _age(value: str) -> float:
    match = re.fullmatch(r"([0-9]+)\s*([SMHD]?)", value.strip().upper())
    if not match or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not an age such as 30d, 12h or 90s")
    return float(int(match[1]) * _TIMES[match[2]])


_UNITS: Final = {"": 1, "B": 1, "KB": 1 << 10, "MB": 1 << 20, "GB": 1 << 30}


def _size(value: str) -> int:
    match = re.fullmatch(r"([0-9]+)\s*([KMG]?B?)", value.strip().upper())
    if not match or match[2] not in _UNITS or int(match[1]) == 0:
        raise ValueError(f"{value!r} is not a size such as 32MB or 1048576")
    return int(match[1]) * _UNITS[match[2]]


def _flag(value: str) -> bool:
    low = value.strip().lower()
    if low in ("true", "yes", "on", "1"):
        return True
    if low in ("false", "no", "off", "0", ""):
        return False
    raise ValueError(f"{value!r} is neither true nor false")


def _names(value: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in value.split(",") if name.strip())


def _image_engine(value: str) -> str:
    name = _text(value)
    if name not in IMAGE_ENGINES:
        raise ValueError(f"{name!r} is not one of {', '.join(IMAGE_ENGINES)}")
    return name


def _fetch_allow(value: str) -> tuple[tuple[str, int], ...]:
    return tuple(read_allowed(entry) for entry in _names(value))


def _client_ids(value: str) -> frozenset[str]:
    ids = frozenset(part.strip() for part in _text(value).split(","))
    if "" in ids:
        raise ValueError("holds an empty id")
    return ids


def _url(value: str) -> str:
    url = _text(value).rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("is not an http:// or https:// address")
    if parts.username or parts.query or parts.fragment:
        raise ValueError("must not hold a user, a query or a fragment")
    return url


def _proxy(value: str) -> str:
    url = value.strip()
    parts = urlsplit(url if "://" in url else f"http://{url}")
    try:
        known = parts.scheme == "http" and parts.hostname and parts.port != 0
    except ValueError:  # a port that is none
        known = False
    if not known:
        raise ValueError("is not the http:// address of a proxy")
    return url


def _key(value: str) -> str:
    key = _text(value)
    if not key.isascii() or not key.isprintable():
        raise ValueError("holds characters that no key has")
    return key


@dataclass(frozen=True, slots=True)
class Setting:
    """One variable: its place in :class:`Config`, its default as one would write it, and what it means."""

    name: str
    attribute: str
    parse: Callable[[str], Any]
    default: str
    meaning: str


SETTINGS: Final = (
    Setting("HOST", "host", _text, "127.0.0.1", "address to listen on; also `--host`"),
    Setting("PORT", "port", _port, "3000", "port; the next free one when nobody chose it; also `--port`"),
    Setting("PROCESSES", "processes", _whole, "1", "workers sharing the port, 0: one per core; also `--processes`"),
    Setting("MAX_BODY_SIZE", "max_body_size", _size, "32MB", "largest request body; beyond it: 413"),
    Setting("MAX_ANSWERS", "max_answers", _whole, "200", "answers at a time of one caller, 0: any number; else 429"),
    Setting("MAX_CONNECTIONS", "max_connections", _whole, "10000", "clients at a time, 0: any number; else 429"),
    Setting("MAX_HEADER_SIZE", "max_header_size", _size, "64KB", "of a request; beyond it the client is hung up on"),
    Setting("MAX_KEPT_BODIES", "max_kept_bodies", _size, "256MB", "bodies of all without a client id; else 429"),
    Setting("HEADER_TIMEOUT", "header_timeout", _seconds, "75", "seconds for a request's headers, and for idling"),
    Setting("BODY_TIMEOUT", "body_timeout", _seconds, "120", "seconds that a request's body may take"),
    Setting("CLIENT_TIMEOUT", "client_timeout", _seconds, "300", "seconds a client may take nothing of its answer"),
    Setting("CONNECT_TIMEOUT", "connect_timeout", _seconds, "10", "seconds to reach a provider"),
    Setting("FIRST_BYTE_TIMEOUT", "first_byte_timeout", _seconds, "600", "seconds until a provider begins to answer"),
    Setting("IDLE_TIMEOUT", "idle_timeout", _seconds, "300", "seconds an answer may stand still; pings do not count"),
    Setting("KEEPALIVE_INTERVAL", "keepalive_interval", _seconds, "15", "longest silence towards a client, in seconds"),
    Setting("MAX_ANSWER_SIZE", "max_answer_size", _size, "64MB", "of a provider's answer, or an event, held in memory"),
    Setting("MAX_RETRIES", "max_retries", _whole, "2", "repeated attempts, only before the first byte"),
    Setting("MAX_RETRY_WAIT", "max_retry_wait", _seconds, "10", "seconds that all repetitions may wait together"),
    Setting("MAX_TOOL_ROUNDS", "max_tool_rounds", _whole, "10", "rounds of the server's tool loop in one answer"),
    Setting("MAX_TOOL_TOKENS", "max_tool_tokens", _whole, "1000000", "tokens that all rounds of it may use together"),
    Setting("MAX_TOOL_TIME", "max_tool_time", _seconds, "900", "seconds that they may take together"),
    Setting("TOOL_TIMEOUT", "tool_timeout", _seconds, "300", "seconds that one tool may take"),
    Setting("DRAIN_TIMEOUT", "drain_timeout", _seconds, "30", "seconds that running answers get after SIGTERM"),
    Setting("DATA_DIR", "data_dir", _text, "data", "folder of what is kept: threads and made images"),
    Setting("THREAD_MAX_SIZE", "thread_max_size", _size, "64MB", "of one thread; an answer beyond it is not kept"),
    Setting("IMAGE_MAX_AGE", "image_max_age", _age, "30d", "age at which made images are deleted"),
    Setting("IMAGE_MAX_SIZE", "image_max_size", _size, "1GB", "of all made images together; the oldest go first"),
    Setting("TTS_ENGINE", "tts_engine", _text, "", "engine that speaks where a request names none; else the first"),
    Setting("TTS_MODEL", "tts_model", _text, "", "its model, instead of its usual one"),
    Setting("TTS_VOICE", "tts_voice", _text, "", "its voice, instead of its usual one"),
    Setting("STT_ENGINE", "stt_engine", _text, "", "engine that listens where a request names none; else the first"),
    Setting("STT_MODEL", "stt_model", _text, "", "its model, instead of its usual one"),
    Setting("TAVILY_API_KEY", "tavily_key", _key, "", "key of the web search, which makes its tool available"),
    Setting("TAVILY_BASE_URL", "tavily_url", _url, "https://api.tavily.com", "where the web search is reached"),
    Setting("IMAGE_ENGINE", "image_engine", _image_engine, "", "`openai` or `huggingface`: who makes images for tools"),
    Setting("IMAGE_MODEL", "image_model", _text, "", "its model; the tool needs both, and the engine's key"),
    Setting("PUBLIC_URL", "public_url", _url, "", "where clients reach this server, for links to made images"),
    Setting("FETCH_ALLOW", "fetch_allow", _fetch_allow, "", "private `host:port` that tools may read, comma separated"),
    Setting("CORS_ORIGINS", "cors_origins", _names, "", "browser origins that may call, comma separated; `*`: any"),
    Setting("CHECK_GRAMMAR", "check_grammar", _flag, "false", "check the grammar of every stream, log what breaks it"),
)  # fmt: skip

_ENGINE_SUFFIXES: Final = {
    "API_KEY": "provider key",
    "BASE_URL": "address of its API",
    "ENABLED": "local engines only",
    "THINK_TAGS": "its models put their thoughts into the text as tags",
    "MODELS": "its models, comma separated, instead of what it lists",
    "API_VERSION": "addresses name a deployment and this version (Azure's classic form)",
    "DEPLOYMENT": "the deployment to call there",
    "LABEL": "custom engines: name for people",
    "DIALECT": "custom engines: wire format",
}
_DIALECTS: Final = ("openai-chat", "openai-responses", "anthropic", "gemini", "ollama")
_ENGINE_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,31}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Times in seconds, sizes in bytes."""

    host: str = "127.0.0.1"
    port: int = 3000
    port_chosen: bool = False
    processes: int = 1
    client_ids: frozenset[str] = frozenset()  # never empty after from_env()
    client_id_minted: bool = False
    open_to_all: bool = False
    engines: Mapping[str, Engine] = field(default_factory=lambda: dict(ENGINES))
    keys: Mapping[str, str] = field(default_factory=dict, repr=False)  # the server's own, by engine
    enabled: frozenset[str] = frozenset()  # engines that whoever has a client id may use
    max_body_size: int = 32 << 20
    max_answers: int = 200
    max_connections: int = 10_000
    max_header_size: int = 64 << 10
    max_kept_bodies: int = 256 << 20
    header_timeout: float = 75
    body_timeout: float = 120
    client_timeout: float = 300
    connect_timeout: float = 10
    first_byte_timeout: float = 600
    idle_timeout: float = 300
    keepalive_interval: float = 15
    max_answer_size: int = 64 << 20
    max_retries: int = 2
    max_retry_wait: float = 10
    max_tool_rounds: int = 10
    max_tool_tokens: int = 1_000_000
    max_tool_time: float = 900
    tool_timeout: float = 300
    drain_timeout: float = 30
    data_dir: str = "data"
    thread_max_size: int = 64 << 20
    image_max_age: float = 30 * 86400
    image_max_size: int = 1 << 30
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
    fetch_allow: tuple[tuple[str, int], ...] = ()  # as ``llm.transport.egress`` compares hosts
    cors_origins: tuple[str, ...] = ()
    check_grammar: bool = False
    proxies: Mapping[str, str] = field(default_factory=dict, repr=False)
    warnings: tuple[str, ...] = ()

    @classmethod
    def from_env(cls, environ: Mapping[str, str], dotenv: Mapping[str, str | None] | None = None) -> Config:
        """Reads ``environ`` over ``dotenv``. Raises :class:`ConfigError`."""
        values = {**{k: v for k, v in (dotenv or {}).items() if v is not None}, **environ}
        found: dict[str, Any] = {}
        for setting in SETTINGS:
            if setting.name in values:
                found[setting.attribute] = _parsed(setting.name, setting.parse, values[setting.name])
        engines = {**ENGINES, **_custom_engines(values)}
        config = cls(**found, port_chosen="PORT" in values, engines=engines)
        config = _with_voice(_with_engines(config, values))
        config = _with_clients(config, values)
        warnings = (*_unknown_names(dotenv or {}, engines), *_tool_warnings(config))
        return replace(config, proxies=_proxies(values), warnings=warnings)

    @property
    def secrets(self) -> frozenset[str]:
        """What must never be seen in an output."""
        tools = (self.tavily_key,) if self.tavily_key else ()
        return frozenset((*self.keys.values(), *tools, *(() if self.open_to_all else self.client_ids)))


def _parsed(name: str, parse: Callable[[str], Any], value: str) -> Any:
    try:
        return parse(value)
    except ValueError as error:
        raise ConfigError(name, str(error)) from None


def _proxies(values: Mapping[str, str]) -> dict[str, str]:
    """As other programs read them: in either case, an empty one is none."""
    proxies = {name: values[name] for name in values if name.upper() in ("HTTPS_PROXY", "HTTP_PROXY") and values[name]}
    found = {name: _parsed(name, _proxy, value) for name, value in proxies.items()}
    return found | {name: values[name] for name in values if name.upper() == "NO_PROXY"}


def variable(engine: str, suffix: str) -> str:
    """``variable("box-2", "API_KEY")`` is ``BOX_2_API_KEY``."""
    return f"{engine.upper().replace('-', '_')}_{suffix}"


def _custom_engines(values: Mapping[str, str]) -> dict[str, Engine]:
    """Engines by configuration alone: ``CUSTOM_ENGINES=vllm,box2`` and their variables."""
    custom: dict[str, Engine] = {}
    for name in _names(values.get("CUSTOM_ENGINES", "")):
        if not _ENGINE_NAME.fullmatch(name):
            raise ConfigError("CUSTOM_ENGINES", f"{name!r} is not a name such as vllm or box-2")
        if name in ENGINES or name in custom:
            raise ConfigError("CUSTOM_ENGINES", f"{name!r} is taken")
        url_name, dialect_name = variable(name, "BASE_URL"), variable(name, "DIALECT")
        if url_name not in values:
            raise ConfigError(url_name, "is needed for a custom engine")
        dialect = values.get(dialect_name, "openai-chat").strip()
        if dialect not in _DIALECTS:
            raise ConfigError(dialect_name, f"{dialect!r} is not one of {', '.join(_DIALECTS)}")
        keyed = variable(name, "API_KEY") in values
        custom[name] = Engine(
            name=name,
            label=values.get(variable(name, "LABEL"), name),
            dialect=dialect,
            needs_key=keyed,
            local=not keyed,
            # It may have them: asked for, they are tried.
            responses=Responses() if dialect == "openai-chat" else None,
            speech=NAMED_SPEECH if dialect == "openai-chat" else None,
            transcription=NAMED_TRANSCRIPTION if dialect == "openai-chat" else None,
        )
    return custom


def _with_engines(config: Config, values: Mapping[str, str]) -> Config:
    engines, keys, enabled = dict(config.engines), dict[str, str](), set[str]()
    custom = frozenset(engines) - frozenset(ENGINES)
    for name, engine in config.engines.items():
        key_name, url_name, tags_name = (variable(name, s) for s in ("API_KEY", "BASE_URL", "THINK_TAGS"))
        if key_name in values:
            keys[name] = _parsed(key_name, _key, values[key_name])
            enabled.add(name)
        if url_name in values:
            engine = replace(engine, base_url=_parsed(url_name, _url, values[url_name]))
        if tags_name in values:
            tags = _parsed(tags_name, _flag, values[tags_name])
            engine = replace(engine, quirks=replace(engine.quirks, think_tags=tags), translate=tags)
        engine = _with_addresses(name, engine, values)
        if engine.local:
            on = _parsed(variable(name, "ENABLED"), _flag, values.get(variable(name, "ENABLED"), str(name in custom)))
            enabled = enabled | {name} if on else enabled - {name}
        engines[name] = engine
    demo = _parsed("DEMO_ENABLED", _flag, values.get("DEMO_ENABLED", str(not enabled)))
    if demo:
        enabled.add("demo")
    return replace(config, engines=engines, keys=keys, enabled=frozenset(enabled))


def _with_addresses(name: str, engine: Engine, values: Mapping[str, str]) -> Engine:
    """The models to list, and Azure's two forms of address."""
    models_name, version_name, deployment_name = (variable(name, s) for s in ("MODELS", "API_VERSION", "DEPLOYMENT"))
    if models_name in values:
        engine = replace(
            engine, models=replace(engine.models, fixed=_names(_parsed(models_name, _text, values[models_name])))
        )
    if version_name in values:
        engine = replace(engine, api_version=_parsed(version_name, _text, values[version_name]))
        engine = replace(engine, base_url=engine.base_url.removesuffix("/openai"))
    if deployment_name in values:
        engine = replace(engine, deployment=_parsed(deployment_name, _text, values[deployment_name]))
    if engine.path and engine.base_url.endswith(engine.path):  # the base URL may hold it already
        engine = replace(engine, base_url=engine.base_url.removesuffix(engine.path))
    return engine


def _with_voice(config: Config) -> Config:
    config = _with_task(config, "TTS", config.tts_engine, "speech", model=config.tts_model, voice=config.tts_voice)
    return _with_task(config, "STT", config.stt_engine, "transcription", model=config.stt_model)


def _with_task(config: Config, prefix: str, name: str, task: str, **choice: str) -> Config:
    """The owner's choice of model and voice, on the record of the engine that is to do the task."""
    chosen = {what: value for what, value in choice.items() if value}
    if not name:
        if chosen:
            raise ConfigError(f"{prefix}_ENGINE", f"is needed for {prefix}_{next(iter(chosen)).upper()}")
        return config
    engine = config.engines.get(name)
    if engine is None or getattr(engine, task) is None:
        raise ConfigError(f"{prefix}_ENGINE", f"{name!r} is not an engine with a {task} API")
    changes: dict[str, Any] = {task: replace(getattr(engine, task), **chosen)}
    return replace(config, engines={**config.engines, name: replace(engine, **changes)})


def _with_clients(config: Config, values: Mapping[str, str]) -> Config:
    if "AUTHORIZED_CLIENT_ID" not in values:
        return replace(config, client_ids=frozenset({secrets.token_urlsafe(18)}), client_id_minted=True)
    ids = _parsed("AUTHORIZED_CLIENT_ID", _client_ids, values["AUTHORIZED_CLIENT_ID"])
    return replace(config, client_ids=ids, open_to_all="*" in ids)


def _tool_warnings(config: Config) -> list[str]:
    """Half a configuration is no reason not to start: chats need no images."""
    needed = {"IMAGE_ENGINE": config.image_engine, "IMAGE_MODEL": config.image_model}
    if config.image_engine:
        needed[variable(config.image_engine, "API_KEY")] = config.keys.get(config.image_engine, "")
    missing = [name for name, value in needed.items() if not value]
    if missing and (config.image_engine or config.image_model):
        return [f"no images are made: {' and '.join(missing)} missing"]
    return []


def known_names(engines: Mapping[str, Engine]) -> frozenset[str]:
    """Every variable that means something."""
    of_engines = (variable(name, suffix) for name in engines for suffix in _ENGINE_SUFFIXES)
    proxies = ("HTTPS_PROXY", "HTTP_PROXY", "NO_PROXY", "https_proxy", "http_proxy", "no_proxy")
    return frozenset((*(s.name for s in SETTINGS), *of_engines, *proxies, "AUTHORIZED_CLIENT_ID", "CUSTOM_ENGINES"))


def _unknown_names(dotenv: Mapping[str, str | None], engines: Mapping[str, Engine]) -> list[str]:
    known = known_names(engines)
    warnings = []
    for name in dotenv:
        if name not in known:
            near = difflib.get_close_matches(name, known, 1)
            hint = f"; did you mean {near[0]}?" if near else ""
            warnings.append(f"{name} in .env means nothing here{hint}")
    return warnings
