from __future__ import annotations

import pytest
from fastapi.testclient import TestClient

from service.database import Database
from service.subscribers.topics import catalogue


@pytest.fixture
def browser(browser: TestClient, database: Database) -> TestClient:
    """A browser without cookies on the whole site, with its topics."""
    catalogue.sync(database)
    return browser
