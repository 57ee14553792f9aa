"""The editor's note: on top of the right digests, in both parts, the same at every try, and nothing else of a mail."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from hypothesis import given
from hypothesis import strategies as st
from lxml import html
from sqlalchemy import select, update

from service import translation
from service.database import Database
from service.database.tables import Digest, Reader
from service.digests import notes, plan
from service.mails import note
from service.mails.compose import Composed, Composer
from service.mails.note import NoteError
from service.outbox import rows
from service.settings import Settings
from service.subscribers.accounts import Preferences
from service.subscribers.tokens import Links
from service.web.app import create_app
from tests import factories
from tests.mails.test_compose import mails, part

HOSTILE = '<b>Bold</b> & {{ 7 * 7 }} "quoted"\nsee https://example.org/a?b=1&c=<2>, or (https://example.org/d).'


def round_at(database: Database, settings: Settings, now: datetime) -> None:
    factories.edition(database, factories.record("Walking Robots"), now=now)
    plan.plan_due(database, settings, everyone=True, now=now)


def composed(database: Database, settings: Settings) -> list[Composed]:
    claims = rows.claim(database, owner="test", limit=100, lease=timedelta(minutes=5), now=datetime.now(UTC))
    with database.transaction() as session:
        made = Composer(settings).compose(session, claims)
    return [each for each in made if isinstance(each, Composed)]


def test_a_note_stands_on_top_of_both_parts_escaped_with_its_links_and_in_the_browser(
    database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, "ada@example.org", queries=["robots"])
    german = factories.reader(database, settings, "bert@example.org", queries=["robots"])
    with database.transaction() as session:
        session.execute(update(Reader).where(Reader.id == german).values(language="de"))
        notes.save(session, f"{HOSTILE}\n\nThe second paragraph.")
    round_at(database, settings, datetime.now(UTC))
    for mail in mails(composed(database, settings)):
        page, text = part(mail, "html"), part(mail, "plain")
        tree = html.fromstring(page)
        said = "Anmerkung" if "bert" in str(mail["To"]) else "A note from the editor"
        assert said in page
        assert said in text
        assert page.index(said) < page.index("Walking Robots</a>")
        assert text.index("second paragraph") < text.index("Walking Robots")
        assert "<b>Bold</b> & {{ 7 * 7 }}" in text
        assert not tree.xpath("//b")
        links = tree.xpath("//a[starts-with(@href, 'https://example.org')]/@href")
        assert links == ["https://example.org/a?b=1&c=", "https://example.org/d"]
    with database.transaction() as session:
        (digest, *_) = session.scalars(select(Digest.id))
    with TestClient(create_app(settings, database), base_url="https://papers.example") as browser:
        seen = browser.get(Links(settings).digest(digest).removeprefix("https://papers.example")).text
    assert "&lt;b&gt;Bold&lt;/b&gt;" in seen
    assert '<a href="https://example.org/d" rel="noopener">' in seen


def test_a_retry_carries_the_note_of_the_first_try_whatever_was_saved_or_withdrawn_since(
    database: Database, settings: Settings
) -> None:
    factories.reader(database, settings, queries=["robots"])
    with database.transaction() as session:
        first = notes.save(session, "The first note.")
    now = datetime.now(UTC)
    round_at(database, settings, now)
    with database.transaction() as session:
        notes.withdraw(session, first.id)
        notes.save(session, "The second note.")
    claims = rows.claim(database, owner="killed", limit=9, lease=timedelta(minutes=5), now=now)
    bodies = []
    for _ in range(2):
        with database.transaction() as session:
            (made,) = Composer(settings).compose(session, claims)
        assert isinstance(made, Composed)
        bodies.append(made.content.partition(b"\r\n\r\n")[2])
    assert bodies[0] == bodies[1]
    assert b"The first note." in bodies[0]
    assert b"The second note." not in bodies[0]
    round_at(database, settings, now + timedelta(days=1))
    with database.transaction() as session:
        assert [(each.words, each.digests) for each in notes.listing(session)] == [
            ("The second note.", 1),
            ("The first note.", 1),
        ]


def test_a_note_for_the_next_round_comes_once_to_everybody(database: Database, settings: Settings) -> None:
    now = datetime.now(UTC)
    factories.reader(database, settings, queries=["robots"])
    with database.transaction() as session:
        notes.save(session, "Once.", now=now)
    round_at(database, settings, now)
    late = factories.reader(database, settings, queries=["walking"])
    round_at(database, settings, now + timedelta(days=1))
    round_at(database, settings, now + timedelta(days=9))
    with database.transaction() as session:
        carried = session.execute(select(Digest.reader_id, Digest.note_id).order_by(Digest.id)).all()
    assert [reader for reader, note_id in carried if note_id] == [late - 1, late]
    assert len(carried) == 5


def test_days_are_those_of_the_readers_own_calendar(database: Database, settings: Settings) -> None:
    now = datetime.now(UTC).replace(hour=20, minute=0, second=0, microsecond=0)
    tomorrow = now.date() + timedelta(days=1)
    for zone in ("Pacific/Auckland", "UTC"):
        factories.reader(database, settings, queries=["robots"], preferences=Preferences(timezone=zone))
    with database.transaction() as session:
        notes.save(session, "Tomorrow.", days=(tomorrow, tomorrow), now=now)
    round_at(database, settings, now)
    with database.transaction() as session:
        assert session.scalars(select(Digest.note_id > 0).order_by(Digest.reader_id)).all() == [True, False]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (" \n ", "empty"),
        ("n" * 1_001, "shorten it to 1000"),
        ("see http://example.org", "begin with https://"),
        ("run ftp://example.org", "ftp://"),
        ("a\x02note\x03", r"U\+0002"),
    ],
)
def test_what_cannot_be_a_note_is_refused_with_the_remedy(database: Database, words: str, said: str) -> None:
    with database.transaction() as session:
        with pytest.raises(NoteError, match=said):
            notes.save(session, words)
        with pytest.raises(NoteError, match="swap them"):
            notes.save(session, "A note.", days=(date(2030, 1, 2), date(2030, 1, 1)))
        assert notes.listing(session) == []


@given(st.text(max_size=300))
def test_whatever_is_typed_is_refused_or_shown_as_typed(typed: str) -> None:
    try:
        words = note.check(typed)
    except NoteError:
        return
    assert note.check(words) == words
    shown = html.fromstring(f"<div>{note.encoded(words, translation.current()).html.decode()}</div>")
    assert not shown.xpath("//script | //*[@onload or @onerror] | //img")
    joined = "\n\n".join(
        "\n".join("".join(span.text for span in line) for line in each) for each in note.paragraphs(words)
    )
    assert joined == words
