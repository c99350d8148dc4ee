"""The dialect's name, which its modules stamp on what only they understand."""

from typing import Final

NAME: Final = "native"
