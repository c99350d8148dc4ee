"""A process that converts HTML on standard input to text on standard output, started by ``llm.tools.web_page``.

It is not a thread, because the parser does not release the GIL: a crafted page (one tag with 150,000 attributes,
1.4 MB) would block the server for 90 seconds. The process imports no other module of this project and gets no
environment variable of the server, so it has no access to keys.
"""

from __future__ import annotations

import re
import resource
import sys
from typing import Final

_MEMORY: Final = 1 << 30  # bytes of address space
_BLANK_LINES: Final = re.compile(r"\n\s*\n\s*\n")
_CPU: Final = 15  # seconds of CPU time, if the server does not end it before


def main() -> None:
    """Converts one page under limits of memory and CPU time."""
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU))
    from resiliparse.extract.html2text import extract_plain_text

    html = sys.stdin.buffer.read().decode("utf-8", "replace")
    text = extract_plain_text(html, preserve_formatting=True, main_content=False, alt_texts=False, links=False)
    sys.stdout.buffer.write(_BLANK_LINES.sub("\n\n", text).strip().encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
