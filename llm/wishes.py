"""A request in its engine's words, less what its client can do without.

A coding agent asks for thinking with every request, whatever the model. Where the model does not think, or always does,
that is no reason to refuse the request: the wish is given up, and told. Whatever else is refused stays so (T8).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from llm.chat import ChatRequest
from llm.dialects import Outgoing
from llm.dialects.registry import ENGINE_DIALECTS
from llm.engines import Target
from llm.errors import Unsupported


def written(request: ChatRequest, target: Target) -> Outgoing:
    """Raises ``Unsupported``."""
    dialect = ENGINE_DIALECTS[target.engine.dialect]
    if request.model != target.model:
        request = replace(request, model=target.model)
    given_up: list[str] = []
    while True:
        try:
            outgoing = dialect.write_request(request, target.engine)
        except Unsupported as refusal:
            name = refusal.param or ""
            if name not in request.wishes or getattr(request.options, name) is None:
                raise
            given_up.append(name)
            nothing: dict[str, Any] = {name: None}
            request = replace(request, options=replace(request.options, **nothing))
            continue
        return replace(outgoing, dropped=(*outgoing.dropped, *given_up)) if given_up else outgoing
