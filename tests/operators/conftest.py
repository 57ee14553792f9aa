from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient
from lxml import html

from service.database import Database
from service.database.tables import OperatorRole
from service.operators import accounts, second_factor, sessions, sign_in
from service.settings import Settings
from service.subscribers.tokens import Links
from service.web.admin.desk import COOKIE

NOW = datetime.now(UTC)


def operator(database: Database, role: OperatorRole = OperatorRole.OWNER, email: str = "olga@example.org") -> int:
    with database.transaction() as session:
        return accounts.add(session, email, role, by=None)


def enrolled(database: Database, settings: Settings, operator_id: int) -> tuple[str, bytes]:
    """A session with its second factor, given a minute ago: its token, and the secret."""
    with database.transaction() as session:
        token = sessions.begin(session, settings, operator_id, "a browser")
        seat = sessions.read(session, settings, token)
        assert seat is not None
        secret = sessions.enrolment(session, settings, seat)
        moment = datetime.now(UTC) - timedelta(seconds=60)
        verdict, token = sessions.verify(session, settings, seat, second_factor.code(secret, moment), now=moment)
        assert verdict is sessions.Verdict.TAKEN
    return token, secret


@pytest.fixture
def seated(settings: Settings, database: Database, browser: TestClient) -> Callable[[OperatorRole], TestClient]:
    """The browser, signed in with a role."""

    def sit(role: OperatorRole) -> TestClient:
        token, _ = enrolled(database, settings, operator(database, role, f"{role}@example.org"))
        browser.cookies.clear()
        browser.cookies.set(COOKIE, token, domain="papers.example", path="/admin")
        return browser

    return sit


def csrf(page: str) -> str:
    """The hidden field of a page's forms."""
    return str(html.fromstring(page).xpath("string(//input[@name='csrf']/@value)"))


def link(settings: Settings, operator_id: int) -> str:
    """The path of a link as it is mailed."""
    return Links(settings).operator(operator_id).removeprefix(settings.origin)


__all__ = ["NOW", "csrf", "enrolled", "link", "operator", "sign_in"]
