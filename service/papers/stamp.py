"""When papers last changed, in one row: for whoever keeps what was made of them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.orm import Session

_STAMP: Final = text("SELECT changed_by FROM paper_stamp")


def read(at: Session | Connection) -> int:
    """A number that is another one after every transaction that wrote papers, their names, coverage or editions.

    Triggers write it with what they watch, so it is neither early nor late. One row is read, however many papers
    there are. Greater does not mean later: compare for equality only.
    """
    return at.execute(_STAMP).scalar() or 0
