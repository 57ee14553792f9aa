"""How much a page weighs: with its style, script and icon, without images."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from fastapi.testclient import TestClient

from service.database import Database
from service.settings import Settings
from service.subscribers.tokens import Links, Purpose
from tests import factories

MOST = 60_000
"""Bytes."""
WITH_ALL_TOPICS = 72_000
"""Uncompressed, where every topic, category and time zone can be chosen without a script."""
BESIDE = ("/static/style.css", "/static/site.js", "/static/icon.svg")
WORDS = " ".join(f"word{number % 700}" for number in range(220))

Weight = Callable[[str, str], int]


@pytest.fixture
def weight(browser: TestClient, settings: Settings, database: Database) -> Weight:
    """The bytes of a page sent in an encoding; the site holds a full day and a reader with every topic."""
    factories.edition(database, *(factories.record(f"Paper {n} {WORDS[:60]}", abstract=WORDS) for n in range(60)))
    reader = factories.reader(database, settings, "a@example.org", queries=["word1"], topics=["music"])
    preferences = f"/preferences/{Links(settings).token(Purpose.PREFERENCES, reader)}"

    def weighed(path: str, encoding: str) -> int:
        sent = 0
        for each in (path.replace("/preferences", preferences), *BESIDE):
            with browser.stream("GET", each, headers={"accept-encoding": encoding}) as answer:
                assert answer.status_code == 200, each
                sent += sum(len(part) for part in answer.iter_raw())
        return sent

    return weighed


@pytest.mark.parametrize(
    ("path", "plain"),
    [
        ("/", MOST),
        (f"/day/{factories.TODAY}", MOST),
        ("/days", MOST),
        ("/papers/1", MOST),
        ("/topics/music", MOST),
        ("/month", MOST),
        ("/authors/Invented%20Author", MOST),
        ("/search", MOST),
        ("/search?q=word1", MOST),
        ("/topics", MOST),
        ("/subscribe", WITH_ALL_TOPICS),
        ("/preferences", WITH_ALL_TOPICS),
    ],
)
def test_every_page_is_light(weight: Weight, path: str, plain: int) -> None:
    assert weight(path, "gzip") <= MOST / 2, "what a browser is sent"
    assert weight(path, "identity") <= plain, "the same before it is compressed"
