from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import Feedback, Paper, Reader
from service.settings import Settings
from service.subscribers import feedback
from service.subscribers.feedback import FeedbackError
from tests import factories


def world(database: Database, settings: Settings) -> int:
    """A reader, and the papers 1 and 2."""
    reader = factories.reader(database, settings, queries=["robots"])
    factories.edition(database, factories.record("Robots"), factories.record("More Robots"))
    return reader


def said(database: Database, reader: int) -> list[tuple[int, str, bool]]:
    with database.transaction() as session:
        return [(each.paper_id, each.title, each.liked) for each in feedback.of(session, reader)]


def give(database: Database, reader: int, paper: int, *, liked: bool) -> None:
    with database.transaction() as session:
        feedback.give(session, reader, paper, liked)


def test_the_last_word_on_a_paper_is_the_one_that_counts(database: Database, settings: Settings) -> None:
    reader = world(database, settings)
    give(database, reader, 1, liked=True)
    give(database, reader, 2, liked=True)
    give(database, reader, 1, liked=True)
    give(database, reader, 1, liked=False)
    assert said(database, reader) == [(1, "Robots", False), (2, "More Robots", True)], "newest first"
    with database.transaction() as session:
        assert feedback.on(session, reader, [1, 2, 3]) == {1: False, 2: True}


def test_a_word_is_withdrawn_alone_and_a_reset_forgets_all_of_one_reader(
    database: Database, settings: Settings
) -> None:
    reader = world(database, settings)
    other = factories.reader(database, settings, queries=["fish"])
    for each in (reader, other):
        give(database, each, 1, liked=True)
        give(database, each, 2, liked=False)
    with database.transaction() as session:
        assert feedback.withdraw(session, reader, 1)
        assert not feedback.withdraw(session, reader, 1)
    assert said(database, reader) == [(2, "More Robots", False)]
    with database.transaction() as session:
        assert feedback.reset(session, reader) == 1
        assert feedback.reset(session, reader) == 0
    assert said(database, reader) == []
    assert len(said(database, other)) == 2


@pytest.mark.parametrize(("reader", "paper"), [(1, 999), (999, 1)])
def test_a_word_on_what_is_gone_is_refused_in_one_line_and_the_transaction_goes_on(
    database: Database, settings: Settings, reader: int, paper: int
) -> None:
    assert world(database, settings) == 1
    with database.transaction() as session:
        feedback.give(session, 1, 2, liked=True)
        with pytest.raises(FeedbackError, match="does not exist any more"):
            feedback.give(session, reader, paper, liked=True)
    assert len(said(database, 1)) == 1


def test_two_clicks_at_once_make_one_row(database: Database, settings: Settings) -> None:
    reader = world(database, settings)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: give(database, reader, 1, liked=True), range(12)))
    assert len(said(database, reader)) == 1


def test_feedback_goes_with_its_reader_and_with_its_paper(database: Database, settings: Settings) -> None:
    reader = world(database, settings)
    give(database, reader, 1, liked=True)
    give(database, reader, 2, liked=True)
    with database.transaction() as session:
        session.delete(session.get_one(Paper, 2))
    assert len(said(database, reader)) == 1
    with database.transaction() as session:
        session.delete(session.get_one(Reader, reader))
        session.flush()
        assert session.scalars(select(func.count()).select_from(Feedback)).one() == 0
