"""What readers say of the papers they got: liked, or not; one word for each reader and paper, the last one.

From it is learned which of the papers that a reader *asked for* come first (``service/matching/likeness.py``): papers
whose telling words are those of the liked ones rise, those with the words of the disliked ones sink, always among
papers of the same tier. Nothing else is learned: no paper is added or left out, no interest changes, and nobody's
feedback touches anybody else's mail. What was learned is computed from these rows whenever it is needed and kept
nowhere, so a reset is whole and at once. There is no tracking: a row is made only by a reader's own act.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, cast

from sqlalchemy import CursorResult, delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from service.database.tables import Feedback, Paper
from service.matching import likeness
from service.translation import gettext as _

MOST_LEARNED: Final = 200
"""The newest so many words of a reader count; tastes change, and memory stays bounded."""

_COMPARED: Final = 300


class FeedbackError(Exception):
    """Feedback that cannot be taken. One line: the thing and the remedy."""


@dataclass(frozen=True, slots=True)
class FeedbackView:
    """A reader's word on a paper, as it stands."""

    paper_id: int
    title: str
    liked: bool
    at: datetime


@dataclass(frozen=True, slots=True)
class Learned:
    """The words that raise a paper most among those asked for, and those that lower it; strongest first."""

    toward: tuple[str, ...]
    away: tuple[str, ...]


def give(session: Session, reader_id: int, paper_id: int, liked: bool) -> None:
    """Take a reader's word on a paper, in place of an earlier one. The same word again changes only its time.

    Raises :class:`FeedbackError` where the reader or the paper is gone; the transaction goes on.
    """
    statement = insert(Feedback).values(reader_id=reader_id, paper_id=paper_id, liked=liked)
    latest = {"liked": statement.excluded.liked, "at": func.now()}
    try:
        with session.begin_nested():
            session.execute(
                statement.on_conflict_do_update(index_elements=[Feedback.reader_id, Feedback.paper_id], set_=latest)
            )
    except IntegrityError as error:
        raise FeedbackError(
            _("this paper or this subscription does not exist any more: open a newer digest and try there")
        ) from error


def withdraw(session: Session, reader_id: int, paper_id: int) -> bool:
    """Forget a reader's word on a paper; return whether there was one."""
    statement = delete(Feedback).where(Feedback.reader_id == reader_id, Feedback.paper_id == paper_id)
    return _deleted(session.execute(statement)) > 0


def of(session: Session, reader_id: int) -> list[FeedbackView]:
    """Everything a reader said, newest first."""
    statement = (
        select(Feedback.paper_id, Paper.title, Feedback.liked, Feedback.at)
        .join(Paper, Paper.id == Feedback.paper_id)
        .where(Feedback.reader_id == reader_id)
        .order_by(Feedback.at.desc(), Feedback.paper_id.desc())
    )
    return [FeedbackView(*row) for row in session.execute(statement)]


def on(session: Session, reader_id: int, paper_ids: Sequence[int]) -> dict[int, bool]:
    """What a reader said of these papers: liked or not, by paper; papers without a word are left out."""
    statement = select(Feedback.paper_id, Feedback.liked).where(
        Feedback.reader_id == reader_id, Feedback.paper_id == func.any(list(paper_ids))
    )
    return dict(session.execute(statement).all())


def learned(session: Session, reader_id: int) -> Learned:
    """What the reader's words teach, for showing it to them: the very weights that ranking goes by, as words.

    Rarity is measured against the newest papers.
    """
    said = (
        select(Paper.title, Paper.abstract, Feedback.liked)
        .join(Paper, Paper.id == Feedback.paper_id)
        .where(Feedback.reader_id == reader_id)
        .order_by(Feedback.at.desc(), Feedback.paper_id)
        .limit(MOST_LEARNED)
    )
    found = session.execute(said).all()
    if not found:
        return Learned((), ())
    newest = select(Paper.title, Paper.abstract).order_by(Paper.id.desc()).limit(_COMPARED)
    background = likeness.Background.of([(title, abstract) for title, abstract in session.execute(newest)])
    liked = [(title, abstract) for title, abstract, kind in found if kind]
    disliked = [(title, abstract) for title, abstract, kind in found if not kind]
    toward, away = likeness.learned_words(background, liked, disliked)
    return Learned(tuple(toward), tuple(away))


def reset(session: Session, reader_id: int) -> int:
    """Forget everything a reader said, and so everything learned from it; return how many words that were."""
    return _deleted(session.execute(delete(Feedback).where(Feedback.reader_id == reader_id)))


def _deleted(result: object) -> int:
    return cast("CursorResult[tuple[()]]", result).rowcount
