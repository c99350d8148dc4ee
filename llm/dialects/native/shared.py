"""The dialect's name, which marks its provider metadata."""

from typing import Final

NAME: Final = "native"
