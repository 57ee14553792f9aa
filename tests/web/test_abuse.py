"""Sign-up floods, mail bombs, and mail programs that follow links."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from lxml import html
from sqlalchemy import func, select

from service.database import Database
from service.database.tables import (
    AccessToken,
    AddressChange,
    AuditEvent,
    ConsentEvent,
    Delivery,
    DeliveryKind,
    Digest,
    Feedback,
    Interest,
    Operator,
    OperatorRole,
    OperatorSession,
    Reader,
)
from service.digests import plan
from service.operators import accounts as operators
from service.settings import Settings
from service.subscribers import accounts, address_change
from service.subscribers.accounts import Signup
from service.subscribers.tokens import Links, Purpose
from service.subscribers.topics import catalogue
from service.web.app import create_app
from service.web.serving import limits
from tests import factories


def client(settings: Settings, database: Database, **changes: object) -> TestClient:
    catalogue.sync(database)
    app = create_app(settings.model_copy(update=changes), database)
    return TestClient(app, base_url="https://papers.example", client=("198.51.100.7", 1))


def form(email: str = "a@example.org", **fields: str) -> dict[str, str]:
    return {"email": email, "hour": "7", "timezone": "UTC", "every_day": "yes", "limit": "5", **fields}


def mails(database: Database, kind: DeliveryKind) -> int:
    with database.transaction() as session:
        return session.scalars(select(func.count()).where(Delivery.kind == kind)).one()


def test_sign_ups_from_one_address_are_limited_and_told_when_to_come_back(
    settings: Settings, database: Database
) -> None:
    browser = client(settings, database, signups_per_address_hour=2)
    assert [browser.post("/subscribe", data=form(f"{n}@example.org")).status_code for n in range(3)] == [200, 200, 429]
    refused = browser.post("/subscribe", data=form())
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert mails(database, DeliveryKind.CONFIRM) == 2


def test_neighbours_in_one_network_and_one_mail_domain_share_an_allowance(settings: Settings) -> None:
    counted = limits.Limits(settings.model_copy(update={"signups_per_network_hour": 2, "signups_per_domain_hour": 3}))
    assert counted.signup("198.51.100.1", "one.example").allowed
    assert counted.signup("198.51.100.200", "two.example").allowed
    assert not counted.signup("198.51.100.3", "three.example").allowed
    assert counted.signup("198.51.101.3", "three.example").allowed
    assert counted.signup("2001:db8::1", "one.example").allowed
    assert counted.signup("2001:db8:1::1", "one.example").allowed
    assert not counted.signup("2001:db8:2::1", "one.example").allowed, "the domain has had its three"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.77", "192.0.2.0/24"),
        ("::ffff:192.0.2.77", "192.0.2.0/24"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("testclient", None),
        (None, None),
    ],
)
def test_a_network_is_a_24_or_a_64(address: str | None, expected: str | None) -> None:
    assert limits.network(address) == expected


def test_each_process_counts_for_itself_while_redis_is_away(settings: Settings) -> None:
    away = settings.model_copy(update={"broker_url": "redis://127.0.0.1:9/0", "signups_per_address_hour": 1})
    counted = limits.Limits(away)
    assert counted.signup("192.0.2.1", "example.org").allowed
    assert not counted.signup("192.0.2.1", "example.org").allowed
    assert counted.signup("192.0.2.2", "example.org").allowed


WORKER = """
import sys
from service.settings import Settings
from service.web.serving.limits import Limits
limits = Limits(Settings(broker_url=sys.argv[1], site_url="https://papers.example", api_requests_per_minute=30))
print(sum(limits.api("192.0.2.1").allowed for _ in range(40)))
"""


@pytest.mark.redis
def test_two_web_processes_share_their_limits_in_redis(redis_url: str, tmp_path: Path) -> None:
    children = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, redis_url],
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"PAPERROUND_HOME": str(tmp_path), "PAPERROUND_SECRET": "s" * 40},
        )
        for _ in range(2)
    ]
    allowed = [int(child.communicate(timeout=60)[0]) for child in children]
    # A sliding window may end between the two, and then lets a few more through; never twice as many.
    assert 30 <= sum(allowed) < 45
    assert [child.returncode for child in children] == [0, 0]


def test_forwarding_headers_count_only_from_a_listed_proxy(settings: Settings, database: Database) -> None:
    def recorded(**changes: object) -> str | None:
        browser = client(settings, database, **changes)
        browser.post("/subscribe", data=form(), headers={"x-forwarded-for": "203.0.113.9, 192.0.2.50"})
        with database.transaction() as session:
            return session.scalars(select(ConsentEvent.ip).order_by(ConsentEvent.id.desc())).first()

    assert str(recorded()) == "198.51.100.7"
    assert str(recorded(trusted_proxies="203.0.113.0/24")) == "198.51.100.7"
    # The nearest hop that is not ours; what stands before it, anybody may have written.
    assert str(recorded(trusted_proxies="198.51.100.0/24")) == "192.0.2.50"


def test_a_form_sent_back_at_once_or_without_its_stamp_is_asked_for_once_more(
    settings: Settings, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser = client(settings, database, form_seconds=2)
    stamp = html.fromstring(browser.get("/subscribe").text).xpath("string(//input[@name='shown']/@value)")
    for shown in ({}, {"shown": "forged"}, {"shown": stamp}):
        answer = browser.post("/subscribe", data=form(**shown))
        assert answer.status_code == 400
        assert "send it once more" in answer.text
    assert mails(database, DeliveryKind.CONFIRM) == 0
    later = datetime.now(UTC).timestamp() + 4
    monkeypatch.setattr("service.web.serving.limits.time.time", lambda: later)
    assert browser.post("/subscribe", data=form(shown=stamp)).status_code == 200
    assert mails(database, DeliveryKind.CONFIRM) == 1


def test_throw_away_domains_are_refused_only_where_the_operator_minds(settings: Settings, database: Database) -> None:
    assert client(settings, database).post("/subscribe", data=form("a@mailinator.com")).status_code == 200
    minding = client(settings, database, block_disposable=True)
    refused = minding.post("/subscribe", data=form("b@mailinator.com"))
    assert refused.status_code == 400
    assert "throw-away" in refused.text
    assert minding.post("/subscribe", data=form("b@example.org")).status_code == 200
    assert minding.post("/subscribe", data=form("b@any.name.mailinator.com")).status_code == 400
    assert minding.post("/subscribe", data=form("b@mailinator.com.example")).status_code == 200


def test_an_address_gets_one_confirmation_a_day_however_often_and_over_restarts(
    settings: Settings, database: Database
) -> None:
    catalogue.sync(database)
    now = datetime.now(UTC)
    for hours in (0, 1, 12, 23.9):
        # Each time as a new process would: nothing is remembered but the tables.
        with Database(str(settings.database_url)) as fresh, fresh.transaction() as session:
            accounts.subscribe(session, settings, Signup("a@example.org"), now=now + timedelta(hours=hours))
    assert mails(database, DeliveryKind.CONFIRM) == 1
    with database.transaction() as session:
        # As the clock of the database saw it: the row was made now.
        accounts.subscribe(session, settings, Signup("a@example.org"), now=now + timedelta(hours=24.1))
    assert mails(database, DeliveryKind.CONFIRM) == 2


def test_sign_in_mails_are_three_a_day_at_most(settings: Settings, database: Database) -> None:
    reader = factories.reader(database, settings, "a@example.org", queries=["robots"])
    with database.transaction() as session:
        for hours in (2, 5, 9):
            row = Delivery(
                kind=DeliveryKind.SIGN_IN, priority=0, reader_id=reader, message_id=f"{hours}@x", state="sent",
                created_at=datetime.now(UTC) - timedelta(hours=hours),
            )  # fmt: skip
            session.add(row)
    with database.transaction() as session:
        accounts.sign_in(session, settings, "A@example.org")
    assert mails(database, DeliveryKind.SIGN_IN) == 3
    with database.transaction() as session:
        accounts.sign_in(session, settings, "a@example.org", now=datetime.now(UTC) + timedelta(hours=16))
    assert mails(database, DeliveryKind.SIGN_IN) == 4


@pytest.mark.parametrize("purpose", list(Purpose))
def test_a_scanner_that_follows_a_signed_link_changes_nothing(
    browser: TestClient, settings: Settings, database: Database, purpose: Purpose
) -> None:
    """Every purpose there is, one added later among them."""
    browser.post("/subscribe", data=form())
    active = factories.reader(database, settings, "b@example.org", queries=["robots"])
    factories.edition(database, factories.record("Walking Robots"))
    plan.plan_due(database, settings, everyone=True)
    with database.transaction() as session:
        operator = operators.add(session, "olga@example.org", OperatorRole.OWNER, by=None)
    tables = (Reader, Interest, ConsentEvent, Delivery, AccessToken, Feedback, Operator, OperatorSession, AuditEvent)

    def everything() -> list[object]:
        with database.transaction() as session:
            return [
                tuple(sorted((key, repr(value)) for key, value in vars(row).items() if key[0] != "_"))
                for table in tables
                for row in session.scalars(select(table))
            ]

    before = everything()
    with database.transaction() as session:
        digest = session.scalars(select(Digest.id)).one()
    with database.transaction() as session:
        address_change.request(session, settings, active, "c@example.org")
        change = session.scalars(select(AddressChange.id)).one()
    before = everything()
    ids = {Purpose.DIGEST: (digest,), Purpose.ADDRESS: (change,), Purpose.OPERATOR: (operator,)}.get(
        purpose, (1, active)
    )
    place = "admin/enter" if purpose is Purpose.OPERATOR else purpose
    for named in ids:
        word = "/1/up" if purpose is Purpose.FEEDBACK else ""
        path = f"/{place}/{Links(settings).token(purpose, named)}{word}"
        answers = {method: browser.request(method, path).status_code for method in ("GET", "HEAD", "OPTIONS")}
        # Less is offered by a form alone: its address is only posted to.
        if purpose is not Purpose.LESS:
            assert answers["GET"] == 200, "the link leads somewhere"
    assert everything() == before
