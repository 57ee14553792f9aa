"""Who may read the figures, and what the health pages say."""

from __future__ import annotations

import pytest
from fastapi.testclient import TestClient
from pydantic import SecretStr
from sqlalchemy import text

from service.database import Database, migrations
from service.settings import Settings, SettingsError, load
from service.web.app import create_app

TOKEN = "a-token-that-only-tests-know"


def browser(settings: Settings, database: Database, came_from: str = "203.0.113.9", **given: object) -> TestClient:
    app = create_app(settings.model_copy(update=given), database)
    return TestClient(app, base_url="https://papers.example", client=(came_from, 50000))


def test_strangers_are_told_nothing(settings: Settings, database: Database) -> None:
    assert browser(settings, database).get("/metrics").status_code == 404
    assert browser(settings, database, "127.0.0.1").get("/metrics").status_code == 404
    asked = browser(settings, database, metrics_token=SecretStr(TOKEN))
    assert asked.get("/metrics").status_code == 404
    assert asked.get("/metrics", headers={"Authorization": "Bearer wrong"}).status_code == 404
    assert asked.get("/metrics", headers={"Authorization": f"Basic {TOKEN}"}).status_code == 404


def test_the_token_opens(settings: Settings, database: Database) -> None:
    asked = browser(settings, database, metrics_token=SecretStr(TOKEN))
    answer = asked.get("/metrics", headers={"Authorization": f"Bearer {TOKEN}"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/plain; version=")
    assert answer.headers["cache-control"] == "no-store"
    assert "paperround_deliveries_open" in answer.text


def test_two_tokens_open_while_one_is_changed_for_the_other(settings: Settings, database: Database) -> None:
    other = TOKEN[::-1]
    asked = browser(settings, database, metrics_token=SecretStr(f"{other} {TOKEN}"))
    for given, status in ((TOKEN, 200), (other, 200), (f"{other} {TOKEN}", 404), ("", 404)):
        assert asked.get("/metrics", headers={"Authorization": f"Bearer {given}"}).status_code == status


def test_a_named_network_may_read_but_not_through_a_proxy(settings: Settings, database: Database) -> None:
    networks = "127.0.0.1 10.0.0.0/8"
    assert browser(settings, database, "10.1.2.3", metrics_networks=networks).get("/metrics").status_code == 200
    assert browser(settings, database, metrics_networks=networks).get("/metrics").status_code == 404
    near = browser(settings, database, "127.0.0.1", metrics_networks=networks)
    assert near.get("/metrics").status_code == 200
    assert near.get("/metrics", headers={"X-Forwarded-For": "203.0.113.9"}).status_code == 404
    assert near.get("/metrics", headers={"X-Forwarded-For": "10.1.2.3"}).status_code == 404


def test_a_token_that_is_too_short_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAPERROUND_METRICS_TOKEN", "short")
    with pytest.raises(SettingsError, match="PAPERROUND_METRICS_TOKEN"):
        load()


def test_health_and_readiness_tell_the_truth(settings: Settings, database: Database) -> None:
    asked = browser(settings, database)
    assert asked.get("/healthz").text == "ok\n"
    assert asked.get("/readyz").text == "ready\n"

    quiet = browser(settings, database, broker_url="redis://127.0.0.1:1/0").get("/readyz")
    assert quiet.status_code == 200, "the site works without the doorbell"
    assert "the broker does not answer" in quiet.text

    away = Database("postgresql://nobody:@127.0.0.1:1/nothing?connect_timeout=2")
    nowhere = browser(settings, away)
    assert nowhere.get("/healthz").status_code == 200
    answer = nowhere.get("/readyz")
    assert answer.status_code == 503
    assert "the database does not answer" in answer.text
    away.close()


def test_an_older_schema_is_not_ready_and_a_newer_one_is(settings: Settings, database: Database) -> None:
    asked = browser(settings, database)
    with database.connection() as connection:
        newest = migrations.current(connection)
    try:
        for revision, status in (("0001", 503), ("of a later version", 200)):
            with database.connection() as connection:
                connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": revision})
            assert asked.get("/readyz").status_code == status, revision
    finally:
        with database.connection() as connection:
            connection.execute(text("UPDATE alembic_version SET version_num = :to"), {"to": newest})
