from __future__ import annotations

import gzip
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import Interest, Topic
from service.matching.index import IndexedPaper, PaperIndex
from service.matching.language import parse
from service.settings import Settings
from service.subscribers import interests
from service.subscribers.topics import catalogue
from service.subscribers.topics.catalogue import Catalogue, CatalogueError, Group, TopicEntry
from tests import factories


def test_the_shipped_catalogue_is_large_and_in_order() -> None:
    shipped = catalogue.load()
    topics = [topic for group in shipped.groups for topic in group.topics]
    assert len(topics) >= 60
    assert sum(len(group.topics) for group in shipped.archives) == 155 - 6
    assert shipped.find("daily-papers") is not None
    assert shipped.find("arxiv:cs.CL") is not None
    assert len({topic.name for topic in topics}) == len(topics)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[group]]\nname="G"\n[group.topics.x]\nname="X"\ndescription="d"\nquery="("', "topic x: a parenthesis"),
        ('[[group]]\nname="G"\n[group.topics.x]\nname="X"\ndescription="d"', "topic x has no query"),
        ('[[group]]\nname="G"\n[group.topics.x]\nname="X"\ndescription="a\\nb"\nquery="q"', "one line"),
        ("nonsense", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_names_the_topic_and_the_remedy(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(text)
    with pytest.raises(CatalogueError, match=said.replace("(", r"\(")):
        catalogue.read(path)


def test_syncing_at_once_or_again_changes_nothing_more(database: Database) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: catalogue.sync(database), range(4)))
    with database.transaction() as session:
        assert session.scalars(select(func.count()).select_from(Topic)).one() == len(catalogue.load().topics())


def one_topic(query: str, slug: str = "fishes") -> Catalogue:
    return Catalogue((Group("G", (TopicEntry(slug, "Fishes", "All fishes", "G", query),)),), ())


def test_a_changed_query_takes_its_followers_along_and_a_topic_that_is_gone_is_retired(
    database: Database, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(catalogue, "load", lambda: one_topic("fish"))
    first = factories.reader(database, settings, topics=["fishes"])
    both = factories.reader(database, settings, topics=["fishes"], queries=["trout"])
    monkeypatch.setattr(catalogue, "load", lambda: one_topic("trout"))
    catalogue.sync(database)
    with database.transaction() as session:
        assert [(each.topic_slug, each.canonical) for each in interests.of(session, first)] == [("fishes", "trout")]
        assert [each.canonical for each in interests.of(session, both)] == ["trout"]
    monkeypatch.setattr(catalogue, "load", lambda: one_topic("bird", slug="birds"))
    catalogue.sync(database)
    with database.transaction() as session:
        assert session.scalars(select(Topic.retired).where(Topic.slug == "fishes")).one()
        assert session.scalars(select(func.count()).select_from(Interest)).one() == 2
        with pytest.raises(interests.UnknownTopic):
            interests.from_topics(session, ["fishes"])


@pytest.mark.parametrize("month", ["2025-11", "2025-12"])
def test_no_topic_matches_nothing_or_more_than_a_fifth_of_a_month_of_real_papers(shared_data: Path, month: str) -> None:
    papers = []
    with gzip.open(shared_data / "arxiv_papers.jsonl.gz") as lines:
        for number, line in enumerate(lines):
            row = json.loads(line)
            if row["first_seen"].startswith(month):
                papers.append(IndexedPaper(number, row["title"], row["abstract"], categories=tuple(row["categories"])))
    index = PaperIndex.build(papers)
    shares = {
        topic.slug: len(index.search(parse(topic.query))) / len(papers)
        for group in catalogue.load().groups
        for topic in group.topics
        if not topic.query.startswith("source:")
    }
    assert {slug: share for slug, share in shares.items() if not 0 < share < 0.2} == {}
