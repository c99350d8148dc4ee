"""Settings from environment variables and ``.env``."""

from __future__ import annotations

import pytest

from llm.config.parsers import ConfigError
from llm.config.settings import Config
from llm.engines.records import ENGINES


@pytest.mark.parametrize(
    ("name", "text", "attribute", "value"),
    [
        ("MAX_BODY_SIZE", "32MB", "max_body_size", 32 << 20),
        ("MAX_BODY_SIZE", "1 kb", "max_body_size", 1024),
        ("MAX_BODY_SIZE", "1000", "max_body_size", 1000),
        ("IDLE_TIMEOUT", "0.5", "idle_timeout", 0.5),
        ("IDLE_TIMEOUT", "20 s", "idle_timeout", 20),
        (
            "CORS_ORIGINS",
            "https://a.example, https://b.example",
            "cors_origins",
            ("https://a.example", "https://b.example"),
        ),
        ("MAX_RETRIES", "0", "max_retries", 0),
    ],
)
def test_values_may_have_units_and_spaces(name: str, text: str, attribute: str, value: object) -> None:
    assert getattr(Config.from_env({name: text}), attribute) == value


def test_the_environment_wins_over_the_file() -> None:
    assert Config.from_env({"PORT": "1"}, {"PORT": "2", "HOST": "::1"}).port == 1
    assert Config.from_env({}, {"PORT": "2"}).port == 2


def test_engines_are_enabled_by_a_key_or_a_flag() -> None:
    assert Config.from_env({}).enabled == {"demo"}
    assert Config.from_env({"OPENAI_API_KEY": "k-1234"}).enabled == {"openai"}
    assert Config.from_env({"OLLAMA_ENABLED": "true", "DEMO_ENABLED": "yes"}).enabled == {"ollama", "demo"}
    assert Config.from_env({"OLLAMA_API_KEY": "k-1234"}).enabled == {
        "demo"
    }  # a key alone does not enable a local engine
    assert Config.from_env({"OLLAMA_API_KEY": "k-1234", "OLLAMA_ENABLED": "1"}).keys == {"ollama": "k-1234"}


def test_a_base_url_has_no_slash_at_the_end_no_user_and_no_query() -> None:
    assert Config.from_env({"OPENAI_BASE_URL": "http://x/v1/"}).engines["openai"].base_url == "http://x/v1"
    for bad in ("http://user:pass@x", "http://x/?key=1", "http://x/#a", "x", "http://"):
        with pytest.raises(ConfigError, match="OPENAI_BASE_URL"):
            Config.from_env({"OPENAI_BASE_URL": bad})


def test_an_error_never_shows_a_key() -> None:
    with pytest.raises(ConfigError) as caught:
        Config.from_env({"OPENAI_API_KEY": "sk-geheim-ü"})
    assert "geheim" not in str(caught.value)


def test_the_repr_of_a_config_has_no_keys() -> None:
    assert "sk-hidden-1" not in repr(
        Config.from_env({"OPENAI_API_KEY": "sk-hidden-1", "HTTPS_PROXY": "http://u:sk-hidden-1@p"})
    )


def test_records_are_not_changed_by_a_configuration() -> None:
    Config.from_env({"OPENAI_BASE_URL": "http://x", "OPENAI_THINK_TAGS": "true"})
    assert ENGINES["openai"].base_url == "https://api.openai.com/v1"
    assert not ENGINES["openai"].always_translate
