"""The URLs of Gemini's API: names of models in paths, and keys that must not be in a query."""

from __future__ import annotations

from typing import Final

from tornado.httputil import HTTPServerRequest

from llm.errors import InvalidRequest

_VERSIONS: Final = "/(?:v1beta|v1alpha|v1)/"  # the newest SDKs ask at ``/v1``
_TUNED: Final = "tunedModels/"
_URL_KEY: Final = (
    "The key in the URL (?key=) is not read, because URLs are written to logs: send it in the header x-goog-api-key."
)


def make_pattern(*methods: str) -> str:
    """Returns the pattern of the paths of methods of a model, whose name may have slashes and colons."""
    return rf"{_VERSIONS}((?:models|tunedModels)/.+):({'|'.join(methods)})"


def read_model_name(path: str) -> str:
    """Returns the model's name on this server, ``engine/model``.

    >>> read_model_name("models/ollama/qwen3:8b")
    'ollama/qwen3:8b'
    >>> read_model_name("tunedModels/google/mine")
    'google/tunedModels/mine'
    """
    if not path.startswith(_TUNED):
        return path.removeprefix("models/")
    engine, slash, model = path.removeprefix(_TUNED).partition("/")
    return f"{engine}/{_TUNED}{model}" if slash else path


def find_url_key(request: HTTPServerRequest) -> InvalidRequest | None:
    """Returns the error for a request with a key in its URL; None if there is none."""
    return InvalidRequest(_URL_KEY, param="key") if "key" in request.query_arguments else None
