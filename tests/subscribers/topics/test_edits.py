"""The operators' word on topics: above the file's, for followers from the next digest on, never undone by a release."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from service import rounds
from service.database import Database
from service.database.tables import Digest
from service.matching.language import QueryError
from service.settings import Settings
from service.subscribers import interests
from service.subscribers.topics import catalogue, edits
from service.subscribers.topics.catalogue import Catalogue, CatalogueError, Group, TopicEntry
from service.subscribers.topics.edits import Origin
from tests import factories

FISHES = TopicEntry("fishes", "Fishes", "All fishes", "Animals", "fish")
BIRDS = TopicEntry("birds", "Birds", "All birds", "Animals", "bird")
TREES = TopicEntry("trees", "Trees", "All trees", "Plants", "tree")


def ship(monkeypatch: pytest.MonkeyPatch, *topics: TopicEntry) -> None:
    groups = dict.fromkeys(topic.group for topic in topics)
    shipped = Catalogue(
        tuple(Group(name, tuple(topic for topic in topics if topic.group == name)) for name in groups), ()
    )
    monkeypatch.setattr(catalogue, "load", lambda: shipped)


@pytest.fixture(autouse=True)
def shipped(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    ship(monkeypatch, FISHES, BIRDS, TREES)
    catalogue.sync(database)


def slugs(database: Database) -> list[tuple[str, list[str]]]:
    with database.transaction() as session:
        return [(group.name, [topic.slug for topic in group.topics]) for group in catalogue.current(session).groups]


def test_an_edited_query_serves_followers_from_their_next_digest_and_leaves_sent_ones_alone(
    database: Database, settings: Settings
) -> None:
    reader = factories.reader(database, settings, topics=["fishes"])
    factories.edition(database, factories.record("A Fish"), factories.record("A Trout"))
    rounds.cut_and_match(database)
    rounds.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        before = session.scalars(select(Digest)).one()
        sent = (before.paper_ids, before.reason_queries)
        edits.edit(session, TopicEntry("fishes", "Trouts", "Only trouts", "Animals", "trout"))
        assert [(each.label, each.canonical) for each in interests.of(session, reader)] == [("Trouts", "trout")]
        assert edits.find(session, "fishes").followers == 1
    factories.edition(database, factories.record("Another Fish"), factories.record("Another Trout"))
    rounds.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        first, second = session.scalars(select(Digest).order_by(Digest.id))
        assert (first.paper_ids, first.reason_queries) == sent
        assert len(second.paper_ids) == 1


def test_a_new_release_does_not_undo_the_operators_word_and_says_that_it_differs(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    with database.transaction() as session:
        edits.edit(session, TopicEntry("fishes", "Fishes", "All fishes", "Plants", "trout"))
        edits.add(session, TopicEntry("moss", "Moss", "All moss", "Fungi", "moss"))
        edits.retire(session, "birds")
        assert not edits.find(session, "fishes").shipped_is_new
    moved = [("Plants", ["trees", "fishes"]), ("Fungi", ["moss"])]
    assert slugs(database) == moved
    ship(monkeypatch, TopicEntry("fishes", "Fishes", "All fishes", "Animals", "salmon"), BIRDS, TREES)
    catalogue.sync(database)
    assert slugs(database) == moved
    with database.transaction() as session:
        fishes, birds, moss = (edits.find(session, slug) for slug in ("fishes", "birds", "moss"))
        assert (fishes.entry.query, fishes.origin, fishes.shipped_is_new) == ("trout", Origin.EDITED, True)
        assert fishes.shipped is not None
        assert fishes.shipped.query == "salmon"
        assert (birds.retired, birds.shipped_is_new) == (True, False)
        assert (moss.origin, moss.shipped) == (Origin.ADDED, None)
        with pytest.raises(interests.UnknownTopic):
            interests.from_topics(session, ["birds"])
        assert [wish.query_text for wish in interests.from_topics(session, ["fishes", "moss"])] == ["trout", "moss"]

        edits.as_shipped(session, "fishes")
        edits.edit(session, BIRDS)
        with pytest.raises(CatalogueError, match="retire it instead"):
            edits.as_shipped(session, "moss")
        assert edits.find(session, "fishes").entry.query == "salmon"
    assert slugs(database) == [("Animals", ["fishes", "birds"]), ("Plants", ["trees"]), ("Fungi", ["moss"])]


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (TopicEntry("Moss!", "Moss", "All moss", "Plants", "moss"), "small letters"),
        (TopicEntry("moss", " ", "All moss", "Plants", "moss"), "has no name"),
        (TopicEntry("moss", "Moss", "m" * 161, "Plants", "moss"), "161 characters: shorten it to 160"),
        (TopicEntry("moss", "trees", "All moss", "Plants", "moss"), "trees is called “trees” already"),
        (TopicEntry("trees", "Trees", "All trees", "Plants", "tree"), "there is a topic trees already"),
        (TopicEntry("moss", "Moss", "All moss", "Plants", "moss AND ("), r"\(at character 10\)"),
    ],
)
def test_what_cannot_be_a_topic_is_refused_with_the_remedy_and_changes_nothing(
    database: Database, entry: TopicEntry, said: str
) -> None:
    with pytest.raises((CatalogueError, QueryError), match=said), database.transaction() as session:
        edits.add(session, entry)
    assert slugs(database) == [("Animals", ["fishes", "birds"]), ("Plants", ["trees"])]


def test_what_readers_follow_who_choose_nothing_is_not_retired(database: Database) -> None:
    with pytest.raises(CatalogueError, match="choose nothing"), database.transaction() as session:
        edits.retire(session, interests.DEFAULT_TOPIC)
