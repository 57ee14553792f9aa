from __future__ import annotations

import pytest

from service.database import Database
from service.matching import alike, language, preview, search
from service.matching.preview import Wanted
from tests import factories
from tests.factories import TODAY


@pytest.fixture
def archive(database: Database, monkeypatch: pytest.MonkeyPatch) -> search.Archive:
    monkeypatch.setattr(search, "_FRESH_SECONDS", 0.0)
    return search.Archive(database)


def test_a_query_of_a_paper_has_what_it_repeats_and_others_say_too(database: Database, archive: search.Archive) -> None:
    factories.edition(
        database,
        factories.record("Speculative Decoding for All", abstract="We speed speculative decoding by a zork."),
        factories.record("Faster Speculative Decoding"),
        factories.record("Trout"),
    )
    made = alike.query_like(archive, "Speculative Decoding for All", "We speed speculative decoding by a zork.")
    assert made == '"speculative decoding"'
    assert archive.search(language.parse(made), limit=9).total == 2


@pytest.mark.parametrize("title", ["", "?!", "The of and", "Zork", "题目", "OR", 'A "quoted" (title'])
def test_any_title_makes_a_query_that_is_understood(archive: search.Archive, title: str) -> None:
    made = alike.query_like(archive, title, keywords=["", "!", title])
    assert language.canonical(language.parse(made))


def test_the_window_ends_with_the_newest_papers_and_muted_ones_are_out(
    database: Database, archive: search.Archive
) -> None:
    factories.edition(
        database, factories.record("Robots"), factories.record("Robots, a Survey"), factories.record("Trout")
    )
    wanted = [Wanted("r", language.parse("robots")), Wanted("s", language.parse("survey"), muted=True)]
    made = preview.preview(archive, wanted, days=3)
    assert [(each.day, each.papers) for each in made.days][-1] == (TODAY, 1)
    assert len(made.days) == 3
    assert [(each.paper_id, each.by) for each in made.examples] == [(1, (0,))]
    assert preview.preview(archive, wanted[1:]).days == ()
