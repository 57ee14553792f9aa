"""What an enhanced status code (RFC 3463) says about an address. Pure.

Meaning comes from codes, never from the words behind them: words change with every server, language and release.

==============================  ============  =========================================================
code                            kind          why
==============================  ============  =========================================================
5.1.0, .1, .2, .3, .6, .10      hard bounce   the address or its domain does not exist (RFC 7505: .10)
5.2.1                           hard bounce   the mailbox is disabled
5.7.x, 5.6.x, 5.5.x, 5.3.x,     refusal       policy, content, protocol, size or our own sender: says nothing
5.1.7, .8, .9, 5.2.3                          about the reader's address
every other 5.x.x, every 4.x.x  soft bounce   full, unreachable, undefined: may pass
==============================  ============  =========================================================
"""

from __future__ import annotations

import re
from typing import Final

from service.database.tables import ReturnKind

_CODE = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")
_REPLY = re.compile(r"(?<!\d)([45])\d\d(?=[ \-#]|$)")
_ADDRESS_DETAILS: Final = frozenset({0, 1, 2, 3, 6, 10})
_SENDER_DETAILS: Final = frozenset({7, 8, 9})
_NOT_THE_ADDRESS: Final = frozenset({3, 5, 6, 7})
"""Subjects: system, protocol, content, policy."""


def kind_of(code: str) -> ReturnKind | None:
    """The kind of a code such as ``5.1.1``; None for success and for what is no code."""
    match = _CODE.fullmatch(code)
    if match is None or match[1] == "2":
        return None
    subject, detail = int(match[2]), int(match[3])
    if match[1] == "4":
        return ReturnKind.SOFT_BOUNCE
    if (subject == 1 and detail in _ADDRESS_DETAILS) or (subject, detail) == (2, 1):
        return ReturnKind.HARD_BOUNCE
    if subject in _NOT_THE_ADDRESS or (subject == 1 and detail in _SENDER_DETAILS) or (subject, detail) == (2, 3):
        return ReturnKind.REFUSAL
    return ReturnKind.SOFT_BOUNCE


def found_in(text: str) -> str | None:
    """The most telling code in a diagnostic: the first enhanced one that is not X.0.0; then any; then a bare SMTP reply
    code as X.0.0. None: there is none."""
    codes = [match[0] for match in _CODE.finditer(text) if match[1] != "2"]
    for code in codes:
        if not code.endswith(".0.0"):
            return code
    if codes:
        return codes[0]
    reply = _REPLY.search(text)
    return f"{reply[1]}.0.0" if reply else None


def most_telling(status: str, diagnostic: str) -> str | None:
    """The code of a report with a Status field and a diagnostic: many servers write 5.0.0 into the one and the remote
    server's own code into the other."""
    match = _CODE.search(status)
    if match is not None and not match[0].endswith(".0.0"):
        return match[0]
    return found_in(diagnostic) or (match[0] if match else None)
