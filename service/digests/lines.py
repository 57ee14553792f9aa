"""Words in lines, for the text part of a mail. Pure."""

from __future__ import annotations

import re
import textwrap
from typing import Final

WIDTH: Final = 76
"""Columns of a line."""

# Written without spaces, each character two columns wide (Unicode's East Asian Width).
_WIDE: Final = re.compile("[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uff60\U00020000-\U0003ffff]")


def wrapped(text: str, indent: str = "") -> str:
    """``text`` in lines. No word is divided, however long: it is somebody's name for a thing, or an address."""
    wide = _WIDE.search(text) is not None
    return textwrap.fill(
        text,
        WIDTH // 2 if wide else WIDTH,
        initial_indent=indent,
        subsequent_indent=indent,
        break_on_hyphens=False,
        break_long_words=wide,
    )
