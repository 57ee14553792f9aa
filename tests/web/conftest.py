from __future__ import annotations

from collections.abc import Iterator

import pytest
from fastapi.testclient import TestClient

from service.database import Database
from service.settings import Settings
from service.subscribers.topics import catalogue
from service.web.app import create_app


@pytest.fixture
def browser(settings: Settings, database: Database) -> Iterator[TestClient]:
    """A browser without cookies on the whole site."""
    catalogue.sync(database)
    with TestClient(
        create_app(settings, database), base_url="https://papers.example", follow_redirects=False
    ) as client:
        yield client
