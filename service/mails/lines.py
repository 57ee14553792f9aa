"""Words in lines, for the text part of a mail. Pure."""

from __future__ import annotations

import re
import textwrap
from typing import Final

WIDTH: Final = 76
"""Columns of a line."""

# Written without spaces, each character two columns wide. A line may begin with one of these; not with the punctuation
# between them.
_WIDE: Final = "[\u3041-\u3096\u30a1-\u30fa\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
_HAS_WIDE: Final = re.compile(_WIDE)
_BEFORE_WIDE: Final = re.compile(f"(?={_WIDE})|(?<={_WIDE})(?=[A-Za-z0-9])")


def wrapped(text: str, indent: str = "") -> str:
    """``text`` in lines. No word is divided, however long: it is somebody's name for a thing, or an address."""
    return _Lines(
        WIDTH // 2 if _HAS_WIDE.search(text) else WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=False,
    ).fill(text)


class _Lines(textwrap.TextWrapper):
    def _split(self, text: str) -> list[str]:
        pieces = super()._split(text)
        return [each for piece in pieces for each in _BEFORE_WIDE.split(piece) if each]
