"""HTML on standard input, its text on standard output: a process that ``llm.tools.web_page`` runs.

Not a thread: the parser keeps the interpreter's lock, and a page made for it (one tag with 150,000 attributes, 1.4 MB)
takes it 90 seconds, in which a server with it in a thread would stand still. Nothing else of ours is imported here, and
no variable of the server's is handed on, so there is no key to be found.
"""

from __future__ import annotations

import re
import resource
import sys
from typing import Final

_MEMORY: Final = 1 << 30  # bytes of address space
_BLANK_LINES: Final = re.compile(r"\n\s*\n\s*\n")
_CPU: Final = 15  # seconds, should nobody be there to end it


def main() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU, _CPU))
    from resiliparse.extract.html2text import extract_plain_text

    html = sys.stdin.buffer.read().decode("utf-8", "replace")
    text = extract_plain_text(html, preserve_formatting=True, main_content=False, alt_texts=False, links=False)
    sys.stdout.buffer.write(_BLANK_LINES.sub("\n\n", text).strip().encode("utf-8", "replace"))


if __name__ == "__main__":
    main()
