"""Problems that users met, read from the folder beside the checkout (described in its ``field-cases/README.md``).

Nothing of it is copied into the repository. Where the folder is absent the tests that need it are skipped, but in CI
(``CI=true``) its absence is a failure, as for ``tests/support/recordings.py``.
"""

from __future__ import annotations

import json
import os
from typing import Any, Final

import pytest

from tests.support import recordings

FOLDER: Final = recordings.FOLDER.parent / "field-cases"


def field_case(name: str) -> dict[str, Any]:
    """Returns a case by its id, such as ``gw-01``. Skips the test if the folder is absent."""
    path = FOLDER / f"{name}.json"
    if not path.is_file():
        reason = f"no field case at {path} (LLM_SERVER_SHARED names the folder above its folder)"
        if os.environ.get("CI") == "true":
            pytest.fail(reason, pytrace=False)
        pytest.skip(reason)
    found: dict[str, Any] = json.loads(path.read_text())
    return found
